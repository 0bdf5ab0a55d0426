"""Items of a story: what they may hold, which are meant where takes are named, their captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from voicelab.audio import Chapter, Cue
from voicelab.errors import InvalidInput

__all__ = [
    "MAX_TRACKS",
    "RANGES",
    "chapters_of",
    "check_field",
    "check_within",
    "item_cues",
    "ordered_by_takes",
    "starts_by_takes",
]

CAPTION_MS = 300
MAX_TRACKS = 32
"""Below the first as well: the studio numbers those above it from -1 down."""
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
        generation_ids: of all its takes. One that stands in it several times is named once, and
            its items stay together, or once for each.

    Raises:
        InvalidInput: they are not the takes of the story.
    """
    named = Counter(generation_ids)
    left = {id: [item for item in items if item["generation_id"] == id] for id in named}
    told = sum(map(len, left.values())) == len(items)
    counted = all(left[id] and count in (1, len(left[id])) for id, count in named.items())
    if not told or not counted:
        raise InvalidInput("generation_ids are all takes of the story.", param="generation_ids")
    order: list[Record] = []
    for id in generation_ids:
        order += left[id] if named[id] == 1 else [left[id].pop(0)]
    return order


def starts_by_takes(
    items: Sequence[Record], updates: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Item id -> its new start in ms.

    Args:
        items: of a story, in time order.
        updates: each with `generation_id` and `start_time_ms`. A take that stands in the story
            several times is named once for each.

    Raises:
        InvalidInput: a take is not in the story, or it is not clear which of its items is meant.
    """
    named = Counter(update["generation_id"] for update in updates)
    left = {id: [item["id"] for item in items if item["generation_id"] == id] for id in named}
    for id, count in named.items():
        if count != len(left[id]):
            raise InvalidInput(
                f"The take {id[:40]} stands in the story {len(left[id])} times, and is named "
                f"{count} times.",
                param="updates",
            )
    return {left[update["generation_id"]].pop(0): update["start_time_ms"] for update in updates}


def check_field(name: str, value: Any) -> None:
    """Whether a field of an item may have this value; raises InvalidInput."""
    least, most = RANGES[name]
    check_within(name, value, least, most, whole=name != "volume")


def check_within(name: str, value: Any, least: float, most: float, whole: bool = True) -> None:
    """Whether a number is in its range; raises InvalidInput."""
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        number = "a whole number" if whole else "a number"
        raise InvalidInput(
            f"{name} is {str(value)[:40]}; {number} from {least:g} to {most:g} is allowed.",
            param=name,
        )


def item_cues(item: Record, chunks: Sequence[Record]) -> list[Cue]:
    """Captions of an item as `Stories.get` shows it, from its chunks' times, as far as heard."""
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
        # What is all but trimmed away cannot be read.
        if end - start >= min(CAPTION_MS / 1000, chunk["duration_s"] / 4) and end > start:
            cues.append(Cue(start + offset, end + offset, chunk["text"]))
    return cues


def chapters_of(items: Sequence[Record]) -> list[Chapter]:
    """A chapter wherever another voice begins to speak, named after it and its first words."""
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
