"""One take as a ZIP: the studio's layout out; that layout and the documented one in.

Import reads names and sizes first, then every field, then decodes every audio file, and only
then writes: a refused archive leaves nothing.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO
from uuid import uuid4

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voicelab.audio import WavWriter, to_pcm16
from voicelab.codecs import decode
from voicelab.errors import BadArchive, BadClip, Conflict, TooLarge
from voicelab.library.files import Files
from voicelab.library.history import GENERATIONS, VERSIONS, History, Record
from voicelab.library.voices import Voices
from voicelab.records import MAX_SEED, Generation, SpokenChunk, now
from voicelab.store import Store

__all__ = ["archive_name", "export_archive", "import_archive"]

MAX_ENTRIES = 200
MAX_UNPACKED_BYTES = 200 * 2**20
MAX_RATIO = 100
MANIFEST, PAGE_MANIFEST = "manifest.json", "generation.json"


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


Text = Annotated[str, Field(min_length=1, max_length=200_000, pattern=r"^[^\x00]*\z")]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*\z")]
Short = Annotated[str, Field(max_length=2000)]


class _Chunk(_Lenient):
    index: int = Field(ge=0)
    text: str = Field(max_length=10_000)
    start_s: float = Field(ge=0)
    duration_s: float = Field(ge=0)
    seed: int = Field(ge=0, le=MAX_SEED)


class _Generation(_Lenient):
    text: Text
    language: Annotated[str, Field(max_length=20)] = "en"
    duration: Annotated[float, Field(ge=0, le=1e6)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    instruct: Short | None = None
    created_at: Annotated[str, Field(max_length=40)] | None = None
    engine: Annotated[str, Field(min_length=1, max_length=60)] = "imported"
    model_size: Annotated[str, Field(max_length=60)] | None = None
    parameters: dict[str, float | int | str | bool | None] = Field(
        default_factory=dict, max_length=100
    )
    chunks: list[_Chunk] = Field(default_factory=list, max_length=20_000)
    is_favorited: bool = False
    tags: list[Annotated[str, Field(max_length=50)]] = Field(default_factory=list, max_length=50)


class _Profile(_Lenient):
    name: Name = "Default"
    language: Annotated[str, Field(max_length=20)] = "en"


class _Effect(_Lenient):
    type: Annotated[str, Field(max_length=60)]
    enabled: bool = True
    params: dict[str, float | int] = Field(default_factory=dict, max_length=50)


class _Version(_Lenient):
    id: Annotated[str, Field(max_length=100)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=200)] = "original"
    is_default: bool = False
    effects_chain: Annotated[list[_Effect], Field(max_length=50)] | None = None
    filename: Annotated[str, Field(min_length=1, max_length=300)]
    source_version_id: Annotated[str, Field(max_length=100)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")] | None = None


class _Manifest(_Lenient):
    version: Annotated[str, Field(pattern=r"^1\.\d{1,3}\z")] = "1.0"
    generation: _Generation
    profile: _Profile = Field(default_factory=_Profile)
    versions: list[_Version] = Field(default_factory=list, max_length=MAX_ENTRIES)


@dataclass(frozen=True)
class _Audio:
    pcm: NDArray[np.int16]
    sample_rate: int


def archive_name(text: str) -> str:
    """The studio's name for the archive of a take."""
    stem = re.sub(r"[^\w \-]", "", text[:200]).strip()[:30].strip()
    return f"generation-{stem or 'take'}.voicebox.zip"


def export_archive(record: Record, files: Files) -> bytes:
    """The ZIP of a take from `History.get`: manifest first, the default version's audio next.

    Raises:
        Conflict: the take has no audio (yet).
        NotFound: an audio file is gone.
    """
    versions = sorted(record["versions"], key=lambda version: not version["is_default"])
    if record["status"] != "completed" or not versions:
        raise Conflict("This take has no audio to export.")
    audio = {version["id"]: files.path(version["audio_path"]).read_bytes() for version in versions}
    entries = [_version_entry(version, audio[version["id"]]) for version in versions]
    manifest = _manifest(record, entries)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        for version, entry in zip(versions, entries, strict=True):
            archive.writestr(f"audio/{entry['filename']}", audio[version["id"]])
    return sink.getvalue()


def _version_entry(version: Record, audio: bytes) -> Record:
    return {
        "id": version["id"],
        "label": version["label"],
        "is_default": version["is_default"],
        "effects_chain": version["effects_chain"],
        "filename": PurePosixPath(version["audio_path"]).name,
        "source_version_id": version["source_version_id"],
        "sha256": hashlib.sha256(audio).hexdigest(),
    }


def _manifest(record: Record, versions: list[Record]) -> Record:
    ours = ("engine", "model_size", "parameters", "chunks", "is_favorited", "tags")
    theirs = ("id", "text", "language", "duration", "seed", "instruct", "created_at")
    return {
        "version": "1.0",
        "generation": {key: record[key] for key in (*theirs, *ours)},
        "profile": {
            "id": record["profile_id"],
            "name": record["profile_name"],
            "description": "",
            "language": record["language"],
        },
        "versions": versions,
    }


def import_archive(
    file: BinaryIO, *, store: Store, files: Files, voices: Voices, history: History
) -> Record:
    """Add the take of a ZIP under new ids; its record.

    Args:
        file: seekable, the archive.
        store, files, voices, history: of the lab.

    Raises:
        BadArchive: not a ZIP, hostile, or a field or audio file is wrong; nothing is left.
        TooLarge: too many entries or bytes.
    """
    with _opened(file) as archive:
        manifest = _read_manifest(archive)
        audio = _read_audio(archive, manifest)
    return _keep(manifest, audio, store=store, files=files, voices=voices, history=history)


def _opened(file: BinaryIO) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise BadArchive("The file is not a ZIP archive.", param="file") from error
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"The archive has {len(entries)} entries; {MAX_ENTRIES} are allowed.")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise BadArchive("The archive has two entries of one name.", param="file")
    for entry in entries:
        _check_entry(entry)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES:
        raise TooLarge(
            f"The archive unpacks to {unpacked >> 20} MiB; {MAX_UNPACKED_BYTES >> 20} are allowed."
        )
    return archive


def _check_entry(entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", entry.filename):
        raise BadArchive("The archive has an entry that points outside of it.", param="file")
    if (entry.external_attr >> 16) & 0o170000 == 0o120000:
        raise BadArchive("The archive has a symbolic link in it.", param="file")
    if entry.flag_bits & 1:
        raise BadArchive("The archive is encrypted.", param="file")
    if entry.file_size > 4096 and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
        raise BadArchive("The archive is compressed beyond belief.", param="file")


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        size = archive.getinfo(name).file_size
        with archive.open(name) as file:
            # A header may lie about the size, so the reading is bounded too.
            content = file.read(size + 1)
    except KeyError as error:
        raise BadArchive(f"The archive lacks {name[:100]}.", param="file") from error
    except Exception as error:  # zipfile raises whatever its decompressors raise
        raise BadArchive(f"{name[:100]} in the archive is damaged.", param="file") from error
    if len(content) != size:
        raise BadArchive(f"{name[:100]} in the archive is not as long as it says.", param="file")
    return content


def _read_manifest(archive: zipfile.ZipFile) -> _Manifest:
    names = archive.namelist()
    name = MANIFEST if MANIFEST in names else PAGE_MANIFEST
    if name not in names:
        raise BadArchive("The archive has no manifest.json or generation.json.", param="file")
    content = _entry(archive, name)
    try:
        document = orjson.loads(content)
        if name == PAGE_MANIFEST and isinstance(document, dict):
            document = document if "generation" in document else {"generation": document}
        return _Manifest.model_validate(document)
    except orjson.JSONDecodeError as error:
        raise BadArchive(f"{name} in the archive is not JSON.", param="file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        raise BadArchive(f"{name}: {where}: {first['msg'][:200]}.", param="file") from error


def _read_audio(archive: zipfile.ZipFile, manifest: _Manifest) -> list[tuple[_Version, _Audio]]:
    files = [name for name in archive.namelist() if name.lower().endswith((".wav", ".flac"))]
    by_base = {PurePosixPath(name).name: name for name in files}
    versions = manifest.versions
    if not versions:
        if not files:
            raise BadArchive("The archive has no audio: the take was never finished.", param="file")
        versions = [_Version(filename=PurePosixPath(files[0]).name, is_default=True)]
    found = []
    for version in versions:
        if version.filename not in by_base:
            raise BadArchive(f"The archive lacks audio/{version.filename[:100]}.", param="file")
        content = _entry(archive, by_base[version.filename])
        if version.sha256 and hashlib.sha256(content).hexdigest() != version.sha256:
            raise BadArchive(f"{version.filename[:100]} is not the file it was.", param="file")
        found.append((version, _decoded(version.filename, content)))
    return found


def _decoded(name: str, content: bytes) -> _Audio:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audio")
        path.write_bytes(content)
        try:
            samples, rate = decode(path)
        except BadClip as error:
            raise BadArchive(f"{name[:100]}: {error.message}", param="file") from error
    return _Audio(to_pcm16(samples), rate)


def _keep(
    manifest: _Manifest,
    audio: list[tuple[_Version, _Audio]],
    *,
    store: Store,
    files: Files,
    voices: Voices,
    history: History,
) -> Record:
    ids = {version.id or version.filename: str(uuid4()) for version, _ in audio}
    default = next((pair for pair in audio if pair[0].is_default), audio[0])
    written: list[str] = []
    try:
        sizes = {}
        for version, sound in audio:
            relative = files.take_path(ids[version.id or version.filename])
            sizes[relative] = _write(files, relative, sound)
            written.append(relative)
        with store.batch():
            record = _record(manifest, default, ids, files, sizes, voices)
            store.insert(GENERATIONS, record.document())
            for version, sound in audio:
                row = _version_row(version, sound, record.id, ids, files, sizes)
                store.insert(VERSIONS, row | {"is_default": version is default[0]})
    except BaseException:
        for relative in written:
            files.delete(relative)
        raise
    return history.get(record.id)


def _write(files: Files, relative: str, sound: _Audio) -> int:
    with WavWriter(files.target(relative), sound.sample_rate) as wav:
        wav.write(sound.pcm)
        wav.commit()
    return files.path(relative).stat().st_size


def _record(
    manifest: _Manifest,
    default: tuple[_Version, _Audio],
    ids: dict[str, str],
    files: Files,
    sizes: dict[str, int],
    voices: Voices,
) -> Generation:
    given = manifest.generation
    version, sound = default
    path = files.take_path(ids[version.id or version.filename])
    profile = voices.named(manifest.profile.name)
    return Generation(
        id=str(uuid4()),
        profile_id=profile["id"],
        text=given.text,
        language=given.language,
        audio_path=path,
        duration=len(sound.pcm) / sound.sample_rate,
        seed=given.seed,
        instruct=given.instruct,
        engine=given.engine,
        model_size=given.model_size,
        status="completed",
        error=None,
        is_favorited=given.is_favorited,
        created_at=now(),
        parameters=given.parameters,
        chunks=tuple(SpokenChunk(**chunk.model_dump()) for chunk in given.chunks),
        sample_rate=sound.sample_rate,
        size_bytes=sum(sizes.values()),
        source="import",
        tags=tuple(given.tags),
        voice=profile["name"],
        active_version_id=ids[version.id or version.filename],
    )


def _version_row(
    version: _Version,
    sound: _Audio,
    generation_id: str,
    ids: dict[str, str],
    files: Files,
    sizes: dict[str, int],
) -> dict[str, Any]:
    id = ids[version.id or version.filename]
    path = files.take_path(id)
    chain = version.effects_chain
    return {
        "id": id,
        "generation_id": generation_id,
        "label": version.label,
        "audio_path": path,
        "effects_chain": None if chain is None else [effect.model_dump() for effect in chain],
        "source_version_id": ids.get(version.source_version_id or ""),
        "created_at": now(),
        "duration": len(sound.pcm) / sound.sample_rate,
        "size_bytes": sizes[path],
    }
