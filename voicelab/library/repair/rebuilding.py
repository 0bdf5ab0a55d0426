"""Rebuilds records from audio files: each file without a record becomes a version of its take.

Metadata of files are validated like an imported archive. A file without metadata becomes a take of
its own, with the text NO_TEXT. Names and ids are derived from the file alone, so that a second run
adds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

from pydantic import Field, ValidationError

from voicelab.audio import Metadata, blocks, check_chain, read_metadata
from voicelab.errors import InvalidInput, VoicelabError
from voicelab.library.archives.manifests import ManifestTake, ManifestVersion
from voicelab.library.archives.zips import ManifestModel
from voicelab.library.files.local import TAKES, AudioFile, Files
from voicelab.library.profiles import PROFILES, SAMPLES, Profiles, profile_row
from voicelab.library.versions import GENERATIONS, VERSIONS, Versions
from voicelab.records import Generation
from voicelab.store import Store
from voicelab.text import clean_name

__all__ = [
    "NO_TEXT",
    "RECOVERED",
    "RebuiltTake",
    "Rebuilt",
    "rebuild_take",
    "ensure_profile",
    "rebuild",
    "unrecorded_files",
]

NO_TEXT = "(The text of this recording is not known.)"
RECOVERED = "Recovered voice"
SUFFIXES = (".wav", ".flac")
MAX_TEXT = 200_000
Record = dict[str, Any]

ID = r"[0-9A-Za-z_-]{1,64}"
Id = Annotated[str, Field(pattern=rf"^{ID}\z")]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\z")]
Short = Annotated[str, Field(max_length=100)]


class _Take(ManifestTake):
    id: Id
    profile_id: Id | None = None
    created_at: Moment | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    source: Annotated[str, Field(max_length=40)] = "import"
    voice: Short = "Default"
    voice_source: Annotated[str, Field(max_length=40)] = "default"
    clip: Annotated[str, Field(pattern=r"^clips/[0-9a-f]{64}\.wav\z")] | None = None
    software: dict[Short, Short] = Field(default_factory=dict, max_length=50)


class _Version(ManifestVersion):
    filename: str = ""
    source_version_id: Id | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    created_at: Moment | None = None


class _Document(ManifestModel):
    generation: _Take
    versions: list[_Version] = Field(min_length=1, max_length=1)


@dataclass
class Rebuilt:
    """Result of `rebuild`.

    Attributes:
        takes, versions, profiles, clips: number of records added.
        without_metadata: number of those takes whose file has no metadata.
        skipped: files that could not be used, with the reason.
    """

    takes: int = 0
    versions: int = 0
    profiles: int = 0
    clips: int = 0
    without_metadata: int = 0
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RebuiltTake:
    """Records rebuilt from a file: its version, and its take.

    Attributes:
        has_metadata: whether the file has our metadata.
    """

    version: Record
    take: Record
    has_metadata: bool


def rebuild(
    store: Store, files: Files, progress: Callable[[int], object] = lambda _: None
) -> Rebuilt:
    """Add records for all files without one, in one commit.

    Args:
        store, files: of a lab.
        progress: called with the size of each file that was checked.

    Raises:
        StorageError: nothing was added.
    """
    done = Rebuilt()
    with store.batch():
        profiles, versions = Profiles(store, files), Versions(store, files)
        takes: dict[str, list[RebuiltTake]] = {}
        for found in _rebuild_unrecorded(store, files, done, progress):
            takes.setdefault(found.take["id"], []).append(found)
        # Takes with a profile id first: others find that profile by its name.
        for found in sorted(takes.values(), key=lambda each: each[0].take["profile_id"] is None):
            _add_take(found, store, profiles, versions, done)
        _add_clips(store, files, profiles, done, progress)
    return done


def unrecorded_files(store: Store, files: Files) -> tuple[int, int]:
    """Number of files of takes and clips without a record, and number of all."""
    clips = {path for (path,) in store.values(SAMPLES, ("audio_path",))}
    named = _named(store) | clips
    sounds = [*_sounds(files, TAKES), *_sounds(files, PROFILES)]
    return sum(path not in named for path, _, _ in sounds), len(sounds)


def rebuild_take(path: str, moment: str, files: Files) -> RebuiltTake:
    """Rebuild the records of a take from its file.

    Args:
        path: relative to the folder of audio.
        moment: created_at for files whose metadata have none.
        files: of a lab.

    Raises:
        VoicelabError, OSError: the file cannot be read or is truncated.
    """
    file_path = files.path(path)
    pieces, rate, frames = blocks(file_path)
    # Read to the end, to detect truncated files.
    if sum(len(piece) for piece in pieces) != frames or not frames:
        raise InvalidInput("it is cut off, or has no sound")
    stem = PurePosixPath(path).stem
    id = stem if _is_id(stem) else str(uuid5(NAMESPACE_URL, path))
    metadata = read_metadata(file_path)
    document = _checked(metadata)
    audio_fields = {"audio_path": path, "duration": round(frames / rate, 4)}
    audio_fields["size_bytes"] = file_path.stat().st_size
    if document is None:
        document = _from_tags(metadata, str(uuid5(NAMESPACE_URL, f"take of {path}")))
    version = _version(document, id, moment) | audio_fields
    take = _take(document, moment) | audio_fields | {"active_version_id": id, "sample_rate": rate}
    return RebuiltTake(version, take, document.versions[0].created_at is not None)


def ensure_profile(id: str, name: str, store: Store, profiles: Profiles) -> bool:
    """Create a missing profile that takes or clips refer to; False when it exists."""
    if store.get(PROFILES, id) is not None:
        return False
    name = clean_name(name, RECOVERED)[:100]
    row = profile_row(id, profiles.free_name(name), "Made again: its record was lost.")
    store.insert(PROFILES, row)
    return True


def _rebuild_unrecorded(
    store: Store, files: Files, done: Rebuilt, progress: Callable[[int], object]
) -> list[RebuiltTake]:
    named = _named(store)
    ids = {id for (id,) in store.values(VERSIONS, ("id",))}
    found = []
    for entry in _sounds(files, TAKES):
        if entry[0] not in named and (one := _try_rebuild(entry, files, done)):
            if one.version["id"] in ids:
                done.skipped.append(f"{entry[0]}: the same version has another file")
            else:
                ids.add(one.version["id"])
                found.append(one)
        progress(entry[1])
    return found


def _named(store: Store) -> set[str]:
    tables = (VERSIONS, GENERATIONS)
    return {path for table in tables for (path,) in store.values(table, ("audio_path",))}


def _try_rebuild(entry: AudioFile, files: Files, done: Rebuilt) -> RebuiltTake | None:
    try:
        return rebuild_take(entry[0], _moment(entry[2]), files)
    except (VoicelabError, OSError) as error:
        done.skipped.append(f"{entry[0]}: {error}")
        return None


def _sounds(files: Files, folder: str) -> list[AudioFile]:
    entries = files.audio_files((folder,))
    return sorted(entry for entry in entries if entry[0].endswith(SUFFIXES))


def _add_take(
    found: list[RebuiltTake], store: Store, profiles: Profiles, versions: Versions, done: Rebuilt
) -> None:
    found.sort(key=lambda one: (one.version["created_at"], one.version["id"]))
    active = next((one for one in reversed(found) if one.version["is_default"]), found[-1])
    id = active.take["id"]
    before = store.get(GENERATIONS, id)
    if before is None:
        take = active.take | {"profile_id": _profile(active.take, store, profiles, done)}
        store.insert(GENERATIONS, Generation.from_document(take).document())
        done.takes += 1
        done.without_metadata += not active.has_metadata
    rows = [one.version | {"is_default": one is active and before is None} for one in found]
    _link_sources(rows, versions.of(id))
    versions.insert(id, rows)
    done.versions += len(rows)


def _profile(take: Record, store: Store, profiles: Profiles, done: Rebuilt) -> str:
    """Profile id of a take: as stored, or of the profile of its voice's name, which is created."""
    id, name = take["profile_id"], take["voice"]
    if id is not None:
        done.profiles += ensure_profile(id, name, store, profiles)
        return id
    same = [id for id, other in profiles.names().items() if other.casefold() == name.casefold()]
    if same:
        return same[0]
    id = str(uuid5(NAMESPACE_URL, f"profile named {name}"))
    done.profiles += ensure_profile(id, name, store, profiles)
    return id


def _link_sources(rows: list[Record], others: list[Record]) -> None:
    known = {row["id"] for row in (*rows, *others)}
    for row in rows:
        if row["source_version_id"] not in known:
            row["source_version_id"] = None


def _add_clips(
    store: Store,
    files: Files,
    profiles: Profiles,
    done: Rebuilt,
    progress: Callable[[int], object],
) -> None:
    """Add a profile for each clip: clips have no metadata of their profile."""
    named = {path for (path,) in store.values(SAMPLES, ("audio_path",))}
    for path, size_bytes, changed in _sounds(files, PROFILES):
        progress(size_bytes)
        if path in named:
            continue
        try:
            pieces, rate, frames = blocks(files.path(path))
            frames = sum(len(piece) for piece in pieces)
        except (VoicelabError, OSError) as error:
            done.skipped.append(f"{path}: {error}")
            continue
        profile = str(uuid5(NAMESPACE_URL, f"profile of {path}"))
        done.profiles += ensure_profile(profile, RECOVERED, store, profiles)
        row = {"id": str(uuid5(NAMESPACE_URL, path)), "audio_path": path, "reference_text": ""}
        row |= {
            "duration": round(frames / rate, 3),
            "created_at": _moment(changed),
            "profile_id": profile,
        }
        store.insert(SAMPLES, row)
        done.clips += 1


def _moment(changed: float) -> str:
    return datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_id(text: str) -> bool:
    return re.fullmatch(ID, text) is not None


def _checked(metadata: Metadata) -> _Document | None:
    """The document of our metadata; None when it is missing or invalid."""
    if not metadata.document:
        return None
    try:
        return _Document.model_validate_json(metadata.document)
    except ValidationError:
        return None


def _from_tags(metadata: Metadata, id: str) -> _Document:
    """A document from the tags of a file of another program."""
    text = metadata.tags.get("comment") or metadata.tags.get("title") or ""
    text = text.replace("\0", " ").strip()[:MAX_TEXT] or NO_TEXT
    return _Document(generation=_Take(id=id, text=text, engine="imported"), versions=[_Version()])


def _version(document: _Document, id: str, moment: str) -> Record:
    given, own = document.generation, document.versions[0]
    chunks = given.chunks if own.chunks is None else own.chunks
    return {
        "id": id,
        "generation_id": given.id,
        "label": clean_name(own.label, "original"),
        "effects_chain": _chain(own),
        "source_version_id": own.source_version_id,
        "is_default": own.is_default,
        "created_at": own.created_at or moment,
        "seed": given.seed if own.seed is None else own.seed,
        "chunks": [chunk.model_dump() for chunk in chunks],
    }


def _chain(own: _Version) -> list[Record] | None:
    if own.effects_chain is None:
        return None
    try:
        return check_chain([effect.model_dump() for effect in own.effects_chain])
    except InvalidInput:
        return None


def _take(document: _Document, moment: str) -> Record:
    given = document.generation.model_dump()
    own = document.versions[0]
    return {
        **given,
        "label": given["label"] and clean_name(given["label"], ""),
        "tags": [tag for tag in (clean_name(tag, "") for tag in given["tags"]) if tag],
        "seed": given["seed"] if own.seed is None else own.seed,
        "status": "completed",
        "error": None,
        "created_at": given["created_at"] or moment,
    }
