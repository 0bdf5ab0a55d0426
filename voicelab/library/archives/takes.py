"""Takes as ZIPs: exported in the studio's layout, imported in that or the documented one.

An import checks names and sizes, then every field, then decodes every audio file, and only then
writes: a refused archive changes nothing. A ZIP of many takes has the archive of each as an entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from uuid import uuid4

import orjson

from voicelab.audio import read, wav_bytes, wav_chunks
from voicelab.errors import BadArchive, Conflict
from voicelab.library.archives.manifests import Manifest, ManifestVersion, PageManifest
from voicelab.library.archives.missing import Missing
from voicelab.library.archives.zips import (
    Budget,
    Sound,
    add_sound,
    decoded,
    entry,
    manifest,
    opened,
)
from voicelab.library.descriptions import described
from voicelab.library.files.local import Files
from voicelab.library.profiles import Profiles
from voicelab.library.takes import History, Record
from voicelab.library.versions import GENERATIONS, VERSIONS
from voicelab.records import Generation, SpokenChunk, now
from voicelab.store import Store
from voicelab.text import clean_name

__all__ = [
    "ArchivedTake",
    "archive_name",
    "export_archive",
    "export_many",
    "import_archive",
    "keep_takes",
    "kept_sounds",
    "read_takes",
]

MANIFEST, PAGE_MANIFEST, TAKES_MANIFEST = "manifest.json", "generation.json", "takes.json"
SUFFIX = ".voicebox.zip"


@dataclass(frozen=True)
class ArchivedTake:
    """A take that was read from an archive and validated, but not saved."""

    manifest: Manifest
    sounds: list[tuple[ManifestVersion, Sound]]


def archive_name(text: str) -> str:
    """The studio's name for the archive of a take."""
    stem = re.sub(r"[^\w \-]", "", text[:200]).strip()[:30].strip()
    return f"generation-{stem or 'take'}{SUFFIX}"


def export_archive(record: Record, files: Files, missing: Missing | None = None) -> bytes:
    """The ZIP of a take from `History.get`: manifest first, the default version's audio next.

    Args:
        record: of the take.
        files: of the lab.
        missing: gets the versions whose file is missing; the manifest lists them, too.

    Raises:
        Conflict: the take has no audio (yet).
        NotFound, StorageError: all of its audio files are missing or unreadable.
    """
    versions = sorted(record["versions"], key=lambda version: not version["is_default"])
    if not versions:
        raise Conflict("This take has no audio to export.")
    lost, audio = Missing(), {}
    for version in versions:
        with lost.skipping(version["id"], "version", take=record["id"], label=version["label"]):
            audio[version["id"]] = _wav(files.path(version["audio_path"]))
    lost.check_any_left(audio)
    if missing is not None:
        missing.entries += lost.entries
    versions = [version for version in versions if version["id"] in audio]
    entries = [_version_entry(version, audio[version["id"]]) for version in versions]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        content = _manifest(record, entries) | {"missing": lost.entries}
        archive.writestr(MANIFEST, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        for version, each in zip(versions, entries, strict=True):
            add_sound(archive, f"audio/{each['filename']}", audio[version["id"]])
    return sink.getvalue()


def export_many(ids: Sequence[str], history: History, files: Files, sink: BinaryIO) -> Missing:
    """Many takes as one ZIP, written to `sink`; each entry can be imported alone.

    Returns:
        What was left out: takes that are gone or have no audio, versions whose file is gone. The
        last entry, takes.json, names them and says which take is which entry.

    Raises:
        NotFound, Conflict, StorageError: of the first take, when none can be exported.
    """
    missing, names = Missing(), {}
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for number, id in enumerate(dict.fromkeys(ids), 1):
            with missing.skipping(id, "take"):
                record = history.get(id)
                content = export_archive(record, files, missing)
                names[id] = f"{number:04d}-{archive_name(record['text'])}"
                archive.writestr(names[id], content)
        missing.check_any_left(names)
        takes = [{"id": id, "filename": name} for id, name in names.items()]
        document = {"version": "1.0", "kind": "takes", "takes": takes, "missing": missing.entries}
        archive.writestr(TAKES_MANIFEST, orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return missing


def read_takes(file: BinaryIO, budget: Budget | None = None) -> list[ArchivedTake]:
    """The takes of a ZIP, every field checked and every audio file decoded.

    Args:
        file: seekable; the archive of one take, or one of many.
        budget: shared with other archives of the same import.

    Raises:
        BadArchive: not a ZIP, hostile, or a field or audio file is wrong.
        TooLarge: too many entries or bytes.
    """
    budget = budget or Budget()
    with opened(file) as archive:
        inner = [name for name in archive.namelist() if name.endswith(SUFFIX)]
        if MANIFEST in archive.namelist() or not inner:
            return [_read_take(archive, budget)]
        takes = []
        for name in inner:
            content = entry(archive, name)
            budget.spend(len(content))
            with opened(io.BytesIO(content)) as one:
                takes.append(_read_take(one, budget))
        return takes


def import_archive(
    file: BinaryIO, *, store: Store, files: Files, profiles: Profiles, history: History
) -> list[Record]:
    """Add the takes of a ZIP under new ids, all or none; their records.

    Args:
        file: see `read_takes`.
        store, files, profiles, history: of the lab.

    Raises:
        BadArchive, TooLarge, StoreFull, StorageError: nothing is left.
    """
    takes = read_takes(file)
    with kept_sounds(takes, files) as versions, store.batch():
        ids = keep_takes(takes, versions, store=store, profiles=profiles)
    return [history.get(id) for id in ids]


@contextlib.contextmanager
def kept_sounds(takes: Sequence[ArchivedTake], files: Files) -> Iterator[list[list[Record]]]:
    """Write the files of takes; they stay when the block, which records them, succeeds.

    Called outside of a batch, so that others need not wait for the disk or the network. Yields the
    version rows of each take.

    Raises:
        StoreFull, StorageError.
    """
    with files.kept() as written:
        versions = []
        for take in takes:
            owner: Record = {"generation_id": str(uuid4())}
            rows = [owner | _version_row(take, version, files) for version, _ in take.sounds]
            _link_sources(take, rows)
            for row, (_, sound) in zip(rows, take.sounds, strict=True):
                written.append(row["audio_path"])
                chunks = wav_chunks(described(_future_record(take, rows), row))
                row["size_bytes"] += len(chunks)
                with files.writer(row["audio_path"], sound.sample_rate) as wav:
                    wav.write(sound.pcm)
                    wav.commit(chunks)
            versions.append(rows)
        yield versions


def keep_takes(
    takes: Sequence[ArchivedTake],
    versions: Sequence[Sequence[Record]],
    *,
    store: Store,
    profiles: Profiles,
) -> list[str]:
    """Add takes within the caller's batch; their new ids. Raises StoreFull, StorageError.

    Args:
        takes: from `read_takes`.
        versions: of each, from `kept_sounds`.
        store, profiles: of the lab.
    """
    ids: list[str] = []
    for take, rows in zip(takes, versions, strict=True):
        record = _record(take, rows, profiles)
        store.insert(GENERATIONS, record.document())
        for row in rows:
            store.insert(VERSIONS, row)
        ids.append(record.id)
    return ids


def _wav(path: Path) -> bytes:
    """Convert FLAC to WAV, the only format that the studio reads."""
    return path.read_bytes() if path.suffix == ".wav" else wav_bytes(*read(path))


def _version_entry(version: Record, audio: bytes) -> Record:
    ours = ("id", "label", "is_default", "effects_chain", "source_version_id", "seed", "chunks")
    return {key: version.get(key) for key in ours} | {
        "filename": PurePosixPath(version["audio_path"]).stem + ".wav",
        "sha256": hashlib.sha256(audio).hexdigest(),
    }


def _manifest(record: Record, versions: list[Record]) -> Record:
    ours = ("engine", "model_size", "parameters", "chunks", "is_favorited", "tags", "label")
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


def _read_take(archive: zipfile.ZipFile, budget: Budget) -> ArchivedTake:
    described = _read_manifest(archive)
    return ArchivedTake(described, _read_sounds(archive, described, budget))


def _read_manifest(archive: zipfile.ZipFile) -> Manifest:
    names = archive.namelist()
    if MANIFEST in names:
        return manifest(archive, MANIFEST, Manifest)
    if PAGE_MANIFEST not in names:
        raise BadArchive("The archive has no manifest.json or generation.json.", param="file")
    page = manifest(archive, PAGE_MANIFEST, PageManifest)
    if page.generation is None and "text" not in page.model_fields_set:
        raise BadArchive("generation.json: text: is missing.", param="file")
    return Manifest(generation=page.generation or page, profile=page.profile)


def _read_sounds(
    archive: zipfile.ZipFile, described: Manifest, budget: Budget
) -> list[tuple[ManifestVersion, Sound]]:
    names = [name for name in archive.namelist() if name.lower().endswith((".wav", ".flac"))]
    by_base = {PurePosixPath(name).name: name for name in names}
    versions = described.versions
    if not versions:
        if not names:
            raise BadArchive("The archive has no audio: the take was never finished.", param="file")
        versions = [ManifestVersion(filename=PurePosixPath(names[0]).name, is_default=True)]
    found = []
    for version in versions:
        if version.filename not in by_base:
            raise BadArchive(f"The archive lacks audio/{version.filename[:100]}.", param="file")
        content = entry(archive, by_base[version.filename])
        if version.sha256 and hashlib.sha256(content).hexdigest() != version.sha256:
            raise BadArchive(f"{version.filename[:100]} is not the file it was.", param="file")
        sound = decoded(version.filename, content)
        budget.spend(sound.pcm.nbytes)
        found.append((version, sound))
    return found


def _future_record(take: ArchivedTake, rows: Sequence[Record]) -> Record:
    """The future record of a take, for the metadata of its files."""
    given = take.manifest.generation.model_dump()
    default = next(row for row in rows if row["is_default"])
    owner = {
        "id": default["generation_id"],
        "voice": clean_name(take.manifest.profile.name, "Imported voice"),
    }
    return given | owner | {"created_at": default["created_at"], "source": "import"}


def _record(take: ArchivedTake, rows: Sequence[Record], profiles: Profiles) -> Generation:
    given = take.manifest.generation
    default = next(row for row in rows if row["is_default"])
    profile = profiles.named(clean_name(take.manifest.profile.name, "Imported voice"))
    sounds = dict(
        zip((row["id"] for row in rows), (sound for _, sound in take.sounds), strict=True)
    )
    return Generation(
        id=default["generation_id"],
        profile_id=profile["id"],
        text=given.text,
        language=given.language,
        audio_path=default["audio_path"],
        duration=default["duration"],
        seed=given.seed,
        instruct=given.instruct,
        engine=given.engine,
        model_size=given.model_size,
        status="completed",
        error=None,
        is_favorited=given.is_favorited,
        created_at=default["created_at"],
        parameters=given.parameters,
        chunks=tuple(SpokenChunk(**chunk.model_dump()) for chunk in given.chunks),
        sample_rate=sounds[default["id"]].sample_rate,
        size_bytes=sum(row["size_bytes"] for row in rows),
        source="import",
        tags=tuple(tag for each in given.tags if (tag := clean_name(each, ""))),
        label=clean_name(given.label or "", "") or None,
        voice=profile["name"],
        active_version_id=default["id"],
    )


def _version_row(take: ArchivedTake, version: ManifestVersion, files: Files) -> dict[str, Any]:
    id = str(uuid4())
    default = next((v for v, _ in take.sounds if v.is_default), take.sounds[0][0])
    sound = next(sound for other, sound in take.sounds if other is version)
    chain = version.effects_chain
    given = take.manifest.generation
    chunks = given.chunks if version.chunks is None else version.chunks
    return {
        "id": id,
        "label": clean_name(version.label, "original"),
        "audio_path": files.take_path(id),
        "effects_chain": None if chain is None else [effect.model_dump() for effect in chain],
        "source_version_id": version.source_version_id,
        "is_default": version is default,
        "created_at": now(),
        "duration": round(sound.duration_s, 4),
        "size_bytes": 44 + sound.pcm.nbytes,
        "seed": given.seed if version.seed is None else version.seed,
        "chunks": [chunk.model_dump() for chunk in chunks],
    }


def _link_sources(take: ArchivedTake, rows: list[Record]) -> None:
    """Replace the archive's version ids by the new ones."""
    ids = {version.id: row["id"] for (version, _), row in zip(take.sounds, rows, strict=True)}
    for row in rows:
        row["source_version_id"] = ids.get(row["source_version_id"])
