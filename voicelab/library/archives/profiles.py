"""Profiles as ZIPs in the studio's layout: manifest, clips, their texts, picture."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field, RootModel

from voicelab.audio import check_chain, prepare_clip
from voicelab.errors import BadArchive, BadClip, InvalidInput, NotFound
from voicelab.library.archives.missing import GONE, Missing
from voicelab.library.archives.zips import ManifestModel, add_sound, entry, manifest, opened
from voicelab.library.clips import written_avatar, written_sample
from voicelab.library.files.local import Files
from voicelab.library.pictures import check_picture
from voicelab.library.profiles import Profiles
from voicelab.store import Store
from voicelab.text import clean_name

__all__ = ["export_profile", "import_profile"]

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*\z")]
Record = dict[str, Any]


class _Profile(ManifestModel):
    name: Name
    description: Annotated[str, Field(max_length=500)] | None = None
    language: Annotated[str, Field(min_length=1, max_length=20)] = "en"
    default_engine: Annotated[str, Field(max_length=60)] | None = None
    effects_chain: Annotated[list[dict[str, Any]], Field(max_length=20)] | None = None


class _Manifest(ManifestModel):
    version: Annotated[str, Field(pattern=r"^1\.[01]\z")] = "1.0"
    profile: _Profile
    has_avatar: bool = False


@dataclass(frozen=True)
class _Clip:
    samples: NDArray[np.float32]
    reference_text: str


def export_profile(
    profile: Record, profiles: Profiles, files: Files, missing: Missing | None = None
) -> tuple[str, bytes]:
    """File name and ZIP of a profile from `Profiles.get`.

    Args:
        profile: its record.
        profiles, files: of the lab.
        missing: gets clips and picture whose file is missing; the manifest lists them, too.

    Raises:
        NotFound: it has clips, and all of their files are missing.
    """
    missing = missing or Missing()
    clips: dict[str, bytes] = {}
    picture = None
    for sample in (samples := profiles.samples(profile["id"])):
        with missing.skipping(sample["id"], "clip"):
            clips[sample["id"]] = _content(files, sample["audio_path"])
    missing.check_any_left(clips)
    if profile["avatar_path"]:
        with missing.skipping(profile["id"], "picture"):
            picture = _content(files, profile["avatar_path"])
    keys = ("name", "description", "language", "default_engine", "effects_chain")
    described = {
        "version": "1.0",
        "profile": {key: profile[key] for key in keys},
        "has_avatar": picture is not None,
        "missing": missing.entries,
    }
    texts = {f"{s['id']}.wav": s["reference_text"] for s in samples if s["id"] in clips}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", orjson.dumps(described, option=orjson.OPT_INDENT_2))
        for id, audio in clips.items():
            add_sound(archive, f"samples/{id}.wav", audio)
        archive.writestr("samples.json", orjson.dumps(texts, option=orjson.OPT_INDENT_2))
        if picture is not None:
            archive.writestr("avatar.png", picture)
    stem = re.sub(r"[^\w \-]", "", profile["name"]).strip()[:30].strip()
    return f"profile-{stem or 'voice'}.voicebox.zip", sink.getvalue()


def _content(files: Files, relative: str) -> bytes:
    try:
        return files.path(relative).read_bytes()
    except (NotFound, OSError) as error:
        raise NotFound(GONE) from error


def import_profile(file: BinaryIO, *, store: Store, profiles: Profiles, files: Files) -> Record:
    """Add the profile of a ZIP; the profile. A taken name gets a number behind it.

    Raises:
        BadArchive: not a ZIP, hostile, or a field, clip or picture is wrong; nothing is left.
        TooLarge: too many entries or bytes.
        StoreFull, StorageError: nothing is left.
    """
    with opened(file) as archive:
        if "manifest.json" not in archive.namelist():
            raise BadArchive("The archive has no manifest.json.", param="file")
        described = manifest(archive, "manifest.json", _Manifest).profile
        _check_chain(described.effects_chain)
        clips = _read_clips(archive)
        picture = _read_picture(archive)
    fields = described.model_dump() | {"description": described.description or ""}
    named = clean_name(described.name, "Imported voice")
    with files.kept() as written:
        rows = []
        for clip in clips:
            rows.append(written_sample(files, clip.samples, clip.reference_text))
            written.append(rows[-1]["audio_path"])
        avatar = written_avatar(files, picture) if picture else None
        written += [avatar] if avatar else []
        with store.batch():  # nobody takes the name meanwhile
            name = profiles.free_name(named)
            profile = profiles.create(**(fields | {"name": name}))
            for row in rows:
                profiles.insert_sample(profile["id"], row)
            if avatar:
                profiles.show_avatar(profile["id"], avatar)
    return profiles.get(profile["id"])


def _check_chain(chain: Any) -> None:
    try:
        check_chain(chain)
    except InvalidInput as error:
        raise BadArchive(f"manifest.json: {error.message}", param="file") from error


def _read_clips(archive: zipfile.ZipFile) -> list[_Clip]:
    names = [name for name in archive.namelist() if re.match(r"samples/[^/]+\Z", name)]
    if len(names) > 20:
        raise BadArchive("The archive has more than 20 clips.", param="file")
    texts: dict[str, str] = {}
    if "samples.json" in archive.namelist():
        texts = manifest(archive, "samples.json", _Texts).root
    return [
        _Clip(_prepared(name, entry(archive, name)), texts.get(PurePosixPath(name).name, ""))
        for name in names
    ]


class _Texts(RootModel[dict[str, Annotated[str, Field(max_length=2000)]]]):
    """File name of a clip -> what is said in it."""


def _prepared(name: str, content: bytes) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")
        path.write_bytes(content)
        try:
            return prepare_clip(path)
        except BadClip as error:
            raise BadArchive(f"{name[:100]}: {error.message}", param="file") from error


def _read_picture(archive: zipfile.ZipFile) -> bytes | None:
    name = next((n for n in archive.namelist() if re.match(r"avatar\.\w{1,5}\Z", n)), None)
    if name is None:
        return None
    content = entry(archive, name)
    try:
        check_picture(content)
    except InvalidInput as error:
        raise BadArchive(f"{name}: {error.message}", param="file") from error
    return content
