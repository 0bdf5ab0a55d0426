"""Stories as ZIPs: their items, and the archives of their takes."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Annotated, Any, BinaryIO

import orjson
from pydantic import Field

from voicelab.errors import BadArchive, Conflict, InvalidInput
from voicelab.library.archives.missing import Missing
from voicelab.library.archives.takes import (
    ArchivedTake,
    export_archive,
    keep_takes,
    kept_sounds,
    read_takes,
)
from voicelab.library.archives.zips import Budget, ManifestModel, entry, manifest, opened
from voicelab.library.files.local import Files
from voicelab.library.profiles import Profiles
from voicelab.library.stories import Stories
from voicelab.library.takes import History
from voicelab.library.versions import Versions
from voicelab.store import Store
from voicelab.text import clean_name

__all__ = ["export_story", "import_story"]

Record = dict[str, Any]
Id = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+\z")]
KEPT = (
    *("generation_id", "start_time_ms", "track", "trim_start_ms", "trim_end_ms", "volume"),
    *("fade_in_ms", "fade_out_ms"),
)


class _Item(ManifestModel):
    generation_id: Id
    version: Annotated[int, Field(ge=0, le=200)] | None = None
    start_time_ms: int
    track: int = 0
    trim_start_ms: int = 0
    trim_end_ms: int = 0
    volume: float = 1.0
    fade_in_ms: int = 0
    fade_out_ms: int = 0


class _Story(ManifestModel):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: Annotated[str, Field(max_length=500)] = ""


class _Manifest(ManifestModel):
    version: Annotated[str, Field(pattern=r"^1\.\d{1,3}\z")] = "1.0"
    kind: Annotated[str, Field(pattern=r"^story\z")]
    story: _Story
    items: list[_Item] = Field(max_length=2000)


def export_story(story: Record, history: History, files: Files, sink: BinaryIO) -> Missing:
    """A story from `Stories.get` as a ZIP, written to `sink`; what was left out.

    A take without any file is left out with its items; the manifest lists it.

    Raises:
        Conflict: there are too many takes.
        NotFound, Conflict, StorageError: of the first take, when none can be exported.
    """
    ids = list(dict.fromkeys(item["generation_id"] for item in story["items"]))
    if len(ids) > 199:
        raise Conflict("A story of more than 199 takes cannot be exported as one ZIP.")
    missing, takes = Missing(), {}
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for id in ids:
            with missing.skipping(id, "take"):
                take, lost = history.get(id), Missing()
                archive.writestr(f"takes/{id}.voicebox.zip", export_archive(take, files, lost))
                available = [v for v in take["versions"] if v["id"] not in lost.ids]
                takes[id] = take | {"versions": available}
                missing.entries += lost.entries
        missing.check_any_left(takes)
        items = [item for item in story["items"] if item["generation_id"] in takes]
        described = {
            "version": "1.0",
            "kind": "story",
            "story": {key: story[key] for key in ("name", "description")},
            "items": [_item(item, takes[item["generation_id"]]) for item in items],
            "missing": missing.entries,
        }
        archive.writestr("manifest.json", orjson.dumps(described, option=orjson.OPT_INDENT_2))
    return missing


def import_story(
    file: BinaryIO,
    *,
    store: Store,
    files: Files,
    profiles: Profiles,
    versions: Versions,
    stories: Stories,
) -> Record:
    """Add a story with its takes under new ids, all or nothing; the story.

    Raises:
        BadArchive: not a story's ZIP, hostile, or a value is wrong; nothing is left.
        TooLarge, StoreFull, StorageError: nothing is left.
    """
    with opened(file) as archive:
        if "manifest.json" not in archive.namelist():
            raise BadArchive("The archive has no manifest.json.", param="file")
        described = manifest(archive, "manifest.json", _Manifest)
        budget = Budget()
        takes = {id: _take(archive, id, budget) for id in _wanted(described)}
    read = list(takes.values())
    with kept_sounds(read, files) as rows, store.batch():
        ids = keep_takes(read, rows, store=store, profiles=profiles)
        renamed = dict(zip(takes, ids, strict=True))
        story = _made(described, renamed, versions, stories)
    return stories.get(story["id"])


def _item(item: Record, take: Record) -> Record:
    numbers = {version["id"]: number for number, version in enumerate(_ordered(take))}
    pinned = numbers.get(item["version_id"]) if item["version_id"] else None
    return {key: item[key] for key in KEPT} | {"version": pinned}


def _ordered(take: Record) -> list[Record]:
    """The versions in the order of a take's archive: the default first."""
    return sorted(take["versions"], key=lambda version: not version["is_default"])


def _wanted(described: _Manifest) -> list[str]:
    return list(dict.fromkeys(item.generation_id for item in described.items))


def _take(archive: zipfile.ZipFile, id: str, budget: Budget) -> ArchivedTake:
    content = entry(archive, f"takes/{re.sub(r'[^A-Za-z0-9._-]', '', id)}.voicebox.zip")
    budget.spend(len(content))
    (take, *more) = read_takes(io.BytesIO(content), budget)
    if more:
        raise BadArchive(f"takes/{id} holds more than one take.", param="file")
    return take


def _made(
    described: _Manifest, renamed: dict[str, str], versions: Versions, stories: Stories
) -> Record:
    try:
        story = stories.create(
            clean_name(described.story.name, "Imported story"), described.story.description
        )
        for item in described.items:
            fields = item.model_dump(exclude={"generation_id", "version"})
            id = renamed[item.generation_id]
            if item.version is not None:
                rows = _ordered({"versions": versions.of(id)})
                fields["version_id"] = rows[min(item.version, len(rows) - 1)]["id"]
            stories.add_item(story["id"], id, **fields)
    except InvalidInput as error:
        raise BadArchive(f"manifest.json: {error.message}", param="file") from error
    return story
