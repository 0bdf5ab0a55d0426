"""Stories: takes arranged in time on tracks, trimmed, faded, and mixed to one file.

An item refers to a take and has no copy of its audio. It plays the take's default version, unless
one is pinned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from voicelab.audio import Cue, write_whole
from voicelab.errors import Conflict, InvalidInput, NotFound
from voicelab.library.archives.missing import Missing
from voicelab.library.files.local import Files
from voicelab.library.profiles import check_text
from voicelab.library.story_items import (
    RANGES,
    StoryItems,
    check_field,
    check_within,
    ordered_by_takes,
    starts_by_takes,
)
from voicelab.library.story_sound import StorySound
from voicelab.library.takes import STORY_ITEMS, History
from voicelab.library.versions import Versions
from voicelab.records import now
from voicelab.store import Query, Store
from voicelab.text import check_name

__all__ = ["STORIES", "Stories"]

STORIES = "stories"
GAP_MS = 200
"""Silence between an item and one that is appended to its track."""

MAX_ITEMS = 2000
MIN_LENGTH_MS = 10
Record = dict[str, Any]


class Stories:
    """The stories of a store.

    Args:
        store, files, history, versions: of the lab.
    """

    def __init__(self, store: Store, files: Files, history: History, versions: Versions):
        self._store = store
        self._items = StoryItems(store, history, versions)
        self._sound = StorySound(self._items, files)

    def list(self) -> list[Record]:
        """All stories without their items, the newest first."""
        stories, _ = self._store.page(STORIES, Query())
        counts: dict[str, int] = {}
        for (id,) in self._store.values(STORY_ITEMS, ("story_id",)):
            counts[id] = counts.get(id, 0) + 1
        return [story | {"item_count": counts.get(story["id"], 0)} for story in stories]

    def create(self, name: str, description: str = "") -> Record:
        """A new story.

        Args:
            name: 1-100 characters.
            description: at most 500.

        Raises:
            InvalidInput.
        """
        moment = now()
        story = {
            "id": str(uuid4()),
            "name": check_name("name", name, 1, 100),
            "description": check_text("description", description, 0, 500),
            "created_at": moment,
            "updated_at": moment,
        }
        self._store.insert(STORIES, story)
        return self.get(story["id"])

    def get(self, id: str) -> Record:
        """A story with its items in time order; raises NotFound."""
        story = self._store.get(STORIES, id)
        if story is None:
            raise NotFound(f"There is no story {id[:40]}.", param="story_id")
        items = self._items.shown(*self._items.of(id))
        ends = [item["start_time_ms"] + item["duration_ms"] for item in items]
        return story | {
            "item_count": len(items),
            "duration_ms": max(ends, default=0),
            "items": items,
        }

    def update(self, id: str, name: str | None = None, description: str | None = None) -> Record:
        """Set what is not None; raises NotFound, InvalidInput."""
        self.get(id)
        fields = {}
        if name is not None:
            fields["name"] = check_name("name", name, 1, 100)
        if description is not None:
            fields["description"] = check_text("description", description, 0, 500)
        self._store.patch(STORIES, id, {**fields, "updated_at": now()})
        return self.get(id)

    def delete(self, id: str) -> None:
        """Remove a story; its takes stay. Raises NotFound."""
        self.get(id)
        with self._store.batch():
            for item in self._items.of(id):
                self._store.delete(STORY_ITEMS, item["id"])
            self._store.delete(STORIES, id)

    def add_item(self, id: str, generation_id: str, **fields: Any) -> Record:
        """Add a take to a story, and return the item.

        Args:
            id: of the story.
            generation_id: of a take with audio.
            **fields: version_id, start_time_ms (after the last item of the track + 200 ms when
                None), track, trim_start_ms, trim_end_ms, volume, fade_in_ms, fade_out_ms.

        Raises:
            NotFound; InvalidInput: a value out of range.
            Conflict: the take has no audio, or the story is full.
        """
        if self._store.get(STORIES, id) is None:
            self.get(id)
        if self._store.count(STORY_ITEMS, Query(where={"story_id": id})) >= MAX_ITEMS:
            raise Conflict(f"A story has at most {MAX_ITEMS} items.")
        track = fields.get("track") or 0
        item: Record = {
            "id": str(uuid4()),
            "story_id": id,
            "generation_id": generation_id,
            "version_id": None,
            "start_time_ms": None,
            "track": 0,
            "trim_start_ms": 0,
            "trim_end_ms": 0,
            "volume": 1.0,
            "fade_in_ms": 0,
            "fade_out_ms": 0,
            "created_at": now(),
        }
        item |= {key: value for key, value in fields.items() if value is not None}
        if item["start_time_ms"] is None:
            check_field("track", track)
            item["start_time_ms"] = self._end_of_track(id, track)
        self._check_item(item)
        with self._store.batch():
            self._store.insert(STORY_ITEMS, item)
            self._touch(id)
        return self._items.shown(item)[0]

    def append(self, id: str, generation_ids: Sequence[str]) -> None:
        """Append takes to a story, 200 ms apart; all or none.

        Raises:
            As `add_item`.
        """
        start_ms = None  # only the first depends on the existing items
        with self._store.batch():
            for generation_id in generation_ids:
                item = self.add_item(id, generation_id, start_time_ms=start_ms)
                start_ms = item["start_time_ms"] + item["duration_ms"] + GAP_MS

    def change_item(self, id: str, item_id: str, **fields: Any) -> Record:
        """Move, trim, pin, fade or set the volume of an item; the item.

        Raises:
            NotFound; InvalidInput: a value is out of range, or the trims leave no audio.
        """
        item = self._items.one(id, item_id) | fields
        self._check_item(item)
        with self._store.batch():
            self._store.patch(STORY_ITEMS, item_id, fields)
            self._touch(id)
        return self._items.shown(item)[0]

    def nudge(self, id: str, item_id: str, ms: int, tracks: int) -> Record:
        """Move an item by `ms` and `tracks`, limited to the allowed range; the item.

        Raises:
            NotFound.
        """
        with self._store.batch():
            item = self._items.one(id, item_id)
            moved = {"start_time_ms": item["start_time_ms"] + ms, "track": item["track"] + tracks}
            # Negative tracks are the studio's: the page's buttons do not lead there.
            minimum = {"start_time_ms": 0, "track": min(0, item["track"])}
            bounded = {
                key: max(minimum[key], min(RANGES[key][1], value)) for key, value in moved.items()
            }
            return self.change_item(id, item_id, **bounded)

    def split(self, id: str, item_id: str, at_ms: int) -> list[Record]:
        """Split an item `at_ms` after its start, and return both items.

        Raises:
            NotFound; InvalidInput: the position is not within the item.
        """
        item = self._items.one(id, item_id)
        length = self._items.shown(item)[0]["duration_ms"]
        check_within("split_time_ms", at_ms, MIN_LENGTH_MS, length - MIN_LENGTH_MS)
        first = {"trim_end_ms": item["trim_end_ms"] + length - at_ms, "fade_out_ms": 0}
        second = item | {
            "id": str(uuid4()),
            "start_time_ms": item["start_time_ms"] + at_ms,
            "trim_start_ms": item["trim_start_ms"] + at_ms,
            "fade_in_ms": 0,
            "created_at": now(),
        }
        with self._store.batch():
            self._store.patch(STORY_ITEMS, item_id, first)
            self._store.insert(STORY_ITEMS, second)
            self._touch(id)
        return self._items.shown(item | first, second)

    def duplicate(self, id: str, item_id: str) -> Record:
        """Append a copy of an item to its track, and return it."""
        item = self._items.one(id, item_id)
        kept = {key: item[key] for key in (*RANGES, "version_id") if key != "start_time_ms"}
        return self.add_item(id, item["generation_id"], **kept)

    def reorder(self, id: str, item_ids: Sequence[str]) -> Record:
        """Arrange the items of a track in this order, 200 ms apart; the story.

        Args:
            id: of the story.
            item_ids: of all items of one track, each once.

        Raises:
            NotFound; InvalidInput: not the items of one track.
        """
        items = {item["id"]: item for item in self._items.of(id)}
        tracks = {items[each]["track"] for each in item_ids if each in items}
        expected = {each for each, item in items.items() if item["track"] in tracks}
        if len(tracks) != 1 or set(item_ids) != expected or len(item_ids) != len(expected):
            raise InvalidInput("item_ids are all items of one track, each once.", param="item_ids")
        self._arrange(id, [items[each] for each in item_ids])
        return self.get(id)

    def reorder_takes(self, id: str, generation_ids: Sequence[str]) -> list[Record]:
        """Arrange all items in the order of their takes, 200 ms apart; the items.

        Raises:
            NotFound; InvalidInput: see `ordered_by_takes`.
        """
        self.get(id)
        order = ordered_by_takes(self._items.of(id), generation_ids)
        self._arrange(id, order)
        shown = {item["id"]: item for item in self.get(id)["items"]}
        return [shown[item["id"]] for item in order]

    def set_times(self, id: str, updates: Sequence[Mapping[str, Any]]) -> None:
        """Set the starts of items, which are given by their takes; all or none.

        Raises:
            NotFound; InvalidInput: a start out of range; see `starts_by_takes`.
        """
        self.get(id)
        starts = starts_by_takes(self._items.of(id), updates)
        for start_ms in starts.values():
            check_field("start_time_ms", start_ms)
        with self._store.batch():
            for item_id, start_ms in starts.items():
                self._store.patch(STORY_ITEMS, item_id, {"start_time_ms": start_ms})
            self._touch(id)

    def remove_item(self, id: str, item_id: str) -> None:
        """Remove an item; its take stays. Raises NotFound."""
        self._items.one(id, item_id)
        with self._store.batch(frees=True):
            self._store.delete(STORY_ITEMS, item_id)
            self._touch(id)

    def export(self, id: str, kind: str, path: Path) -> None:
        """Write a story to a file, atomically; see `streamed`.

        Raises:
            As `streamed`; StoreFull, StorageError: no file was written.
        """
        write_whole(path, self.streamed(id, kind))

    def streamed(self, id: str, kind: str, missing: Missing | None = None) -> Iterator[bytes]:
        """A story as wav, flac, mp3, m4b, srt or vtt, streamed while it is mixed and encoded.

        Args:
            id: of the story.
            kind: format of the file.
            missing: gets the items whose file is missing; they are silent.

        Raises:
            NotFound: no such story, or all files are missing; Conflict: it is empty.
            StorageError: from the iterator, when the file of a take cannot be read.
        """
        return self._sound.streamed(self.get(id), kind, missing or Missing())

    def cues(self, id: str) -> list[Cue]:
        """Captions from the chunks' times within the trims, in time order."""
        return self._sound.cues(id, Missing())

    def _arrange(self, id: str, items: Sequence[Record]) -> None:
        start = min(item["start_time_ms"] for item in items)
        with self._store.batch():
            for item in self._items.shown(*items):
                self._store.patch(STORY_ITEMS, item["id"], {"start_time_ms": start})
                start += item["duration_ms"] + GAP_MS
            self._touch(id)

    def _check_item(self, item: Record) -> None:
        for name in RANGES:
            check_field(name, item[name])
        length = self._items.audio_of(item).duration_ms
        if length - item["trim_start_ms"] - item["trim_end_ms"] < MIN_LENGTH_MS:
            raise InvalidInput(
                f"Of {length} ms nothing would be left to hear after trimming "
                f"{item['trim_start_ms']} ms and {item['trim_end_ms']} ms.",
                param="trim_start_ms",
            )

    def _end_of_track(self, id: str, track: int) -> int:
        items = self._items.shown(*(item for item in self._items.of(id) if item["track"] == track))
        ends = [item["start_time_ms"] + item["duration_ms"] for item in items]
        return max(ends) + GAP_MS if ends else 0

    def _touch(self, id: str) -> None:
        self._store.patch(STORIES, id, {"updated_at": now()})
