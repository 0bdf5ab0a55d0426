"""Items of stories: reading, validation, lookup by take, captions and chapters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from voicelab.audio import Chapter, Cue
from voicelab.errors import Conflict, InvalidInput, NotFound
from voicelab.library.takes import STORY_ITEMS, History
from voicelab.library.versions import GENERATIONS, Versions
from voicelab.store import Query, Store

__all__ = [
    "ItemAudio",
    "MAX_TRACKS",
    "RANGES",
    "StoryItems",
    "chapters_of",
    "check_field",
    "check_within",
    "item_cues",
    "ordered_by_takes",
    "starts_by_takes",
]

CAPTION_MS = 300
MAX_TRACKS = 32
"""Number of tracks below 0 as well as from 0 on: the studio numbers upper tracks -1, -2 ..."""
MAX_START_MS = 12 * 3_600_000
RANGES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "start_time_ms": (0, MAX_START_MS),
        "track": (-MAX_TRACKS, MAX_TRACKS - 1),
        "trim_start_ms": (0, MAX_START_MS),
        "trim_end_ms": (0, MAX_START_MS),
        "volume": (0, 2),
        "fade_in_ms": (0, 60_000),
        "fade_out_ms": (0, 60_000),
    }
)
Record = dict[str, Any]


def ordered_by_takes(items: Sequence[Record], generation_ids: Sequence[str]) -> list[Record]:
    """All items in the order of their takes.

    Args:
        items: of a story, in time order.
        generation_ids: of all its takes. A take with several items is listed once, and its
            items stay together, or once for each.

    Raises:
        InvalidInput: they are not the takes of the story.
    """
    counts_by_take = Counter(generation_ids)
    remaining = {
        id: [item for item in items if item["generation_id"] == id] for id in counts_by_take
    }
    all_listed = sum(map(len, remaining.values())) == len(items)
    counts_match = all(
        remaining[id] and count in (1, len(remaining[id])) for id, count in counts_by_take.items()
    )
    if not all_listed or not counts_match:
        raise InvalidInput("generation_ids are all takes of the story.", param="generation_ids")
    order: list[Record] = []
    for id in generation_ids:
        order += remaining[id] if counts_by_take[id] == 1 else [remaining[id].pop(0)]
    return order


def starts_by_takes(
    items: Sequence[Record], updates: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Item id -> its new start in ms.

    Args:
        items: of a story, in time order.
        updates: each with `generation_id` and `start_time_ms`. A take with several items is
            listed once for each.

    Raises:
        InvalidInput: a take is not in the story, or not listed once for each of its items.
    """
    counts_by_take = Counter(update["generation_id"] for update in updates)
    remaining = {
        id: [item["id"] for item in items if item["generation_id"] == id] for id in counts_by_take
    }
    for id, count in counts_by_take.items():
        if count != len(remaining[id]):
            raise InvalidInput(
                f"The take {id[:40]} stands in the story {len(remaining[id])} times, and is named "
                f"{count} times.",
                param="updates",
            )
    return {
        remaining[update["generation_id"]].pop(0): update["start_time_ms"] for update in updates
    }


def check_field(name: str, value: Any) -> None:
    """Check the value of a field of an item; raises InvalidInput."""
    minimum, maximum = RANGES[name]
    check_within(name, value, minimum, maximum, whole=name != "volume")


def check_within(name: str, value: Any, minimum: float, maximum: float, whole: bool = True) -> None:
    """Check that a number is in its range; raises InvalidInput."""
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not minimum <= value <= maximum:
        number = "a whole number" if whole else "a number"
        raise InvalidInput(
            f"{name} is {str(value)[:40]}; {number} from {minimum:g} to {maximum:g} is allowed.",
            param=name,
        )


def item_cues(item: Record, chunks: Sequence[Record]) -> list[Cue]:
    """Captions of an item of `Stories.get`, from its chunks' times, within the trims."""
    chunks = chunks or [
        {"start_s": 0.0, "duration_s": item["source_duration_ms"] / 1000, "text": item["text"]}
    ]
    first = item["trim_start_ms"] / 1000
    last = first + item["duration_ms"] / 1000
    offset = item["start_time_ms"] / 1000 - first
    cues = []
    for chunk in chunks:
        start = max(first, chunk["start_s"])
        end = min(last, chunk["start_s"] + chunk["duration_s"])
        # A chunk that is almost trimmed away is too short to read.
        if end - start >= min(CAPTION_MS / 1000, chunk["duration_s"] / 4) and end > start:
            cues.append(Cue(start + offset, end + offset, chunk["text"]))
    return cues


def chapters_of(items: Sequence[Record]) -> list[Chapter]:
    """A chapter at each change of the voice, titled by the voice and its first words."""
    starts = [
        item
        for before, item in zip([None, *items], items, strict=False)
        if before is None or before["profile_id"] != item["profile_id"]
    ]
    ends = [item["start_time_ms"] / 1000 for item in starts[1:]]
    last = max(item["start_time_ms"] + item["duration_ms"] for item in items) / 1000
    return [
        Chapter(item["start_time_ms"] / 1000, end, f"{item['profile_name']}: {item['text'][:60]}")
        for item, end in zip(starts, [*ends, last], strict=True)
    ]


@dataclass(frozen=True)
class ItemAudio:
    """The audio of an item: path, duration, sample rate in Hz, and chunks."""

    path: str
    duration_ms: int
    sample_rate: int
    chunks: list[Record]


class StoryItems:
    """Reads the items of all stories.

    Args:
        store, history, versions: of the lab.
    """

    def __init__(self, store: Store, history: History, versions: Versions):
        self._store = store
        self._history = history
        self._versions = versions

    def of(self, id: str) -> list[Record]:
        """The items of a story in time order."""
        items, _ = self._store.page(STORY_ITEMS, Query(where={"story_id": id}))
        keys = ("start_time_ms", "track", "created_at")
        return sorted(items, key=lambda item: tuple(item[key] for key in keys))

    def one(self, id: str, item_id: str) -> Record:
        """One item; raises NotFound."""
        item = self._store.get(STORY_ITEMS, item_id)
        if item is None or item["story_id"] != id:
            raise NotFound(f"There is no item {item_id[:40]} in this story.", param="item_id")
        return item

    def shown(self, *items: Record) -> list[Record]:
        """Items with the fields of their takes that lists show."""
        ids = list(dict.fromkeys(item["generation_id"] for item in items))
        takes = {take["id"]: take for take in self._store.get_many(GENERATIONS, ids)}
        names, versions = self._history.profile_names(), self._versions.listed(ids)
        return [
            self._described(item, takes.get(item["generation_id"], {}), names)
            | {"versions": versions[item["generation_id"]]}
            for item in items
        ]

    def _described(self, item: Record, take: Record, names: Mapping[str, str]) -> Record:
        source = self._source(item, take)
        length = math.floor((source["duration"] or 0) * 1000)
        return item | {
            "language": take["language"],
            "audio_path": source["audio_path"],
            "duration": round(length / 1000, 3),
            "seed": take["seed"],
            "instruct": take["instruct"],
            "generation_created_at": take["created_at"],
            "active_version_id": take["active_version_id"],
            "text": take["text"],
            "profile_id": take["profile_id"],
            "profile_name": names.get(take["profile_id"], ""),
            "engine": take["engine"],
            "source_duration_ms": length,
            "duration_ms": max(0, length - item["trim_start_ms"] - item["trim_end_ms"]),
        }

    def _source(self, item: Record, take: Record | None) -> Record:
        """The pinned version of an item, or else its take."""
        if not take:
            raise NotFound(f"There is no take {item['generation_id'][:40]}.", param="generation_id")
        if item["version_id"]:
            return self._versions.get(item["version_id"], item["generation_id"])
        return take

    def audio_of(self, item: Record) -> ItemAudio:
        """The audio of an item; raises NotFound, or Conflict when its take has no audio."""
        take = self._store.get(GENERATIONS, item["generation_id"])
        source = self._source(item, take)
        if not source["audio_path"] or source["duration"] is None:
            raise Conflict("This take has no audio yet.")
        return ItemAudio(
            source["audio_path"],
            math.floor(source["duration"] * 1000),
            (take or source)["sample_rate"] or 24_000,
            source.get("chunks") or [],
        )
