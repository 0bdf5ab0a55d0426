"""HTML of a story: its tracks, the selected item, the export links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voicelab.library import MAX_TRACKS
from voicelab.ui.components.templates import render

__all__ = ["story_exports", "story_item", "timeline"]

Record = Mapping[str, Any]

FORMATS = (
    ("wav", "WAV"),
    ("flac", "FLAC"),
    ("mp3", "MP3"),
    ("m4b", "m4b with chapters"),
    ("srt", "SRT"),
    ("vtt", "VTT"),
)


def timeline(story: Record, selected: str) -> str:
    """The tracks of a story, with each item at its position in time.

    Args:
        story: with its items.
        selected: id of the selected item; "" for none.
    """
    items = story["items"]
    length_ms = max(1000, round(story["duration_ms"] * 1.1))
    used = [0, *(item["track"] for item in items)]
    tracks = range(min(used), min(MAX_TRACKS, max(used) + 2))
    return render("timeline", items=items, tracks=tracks, length_ms=length_ms, selected=selected)


def story_item(item: Record) -> str:
    """Text and duration of the selected item."""
    return render("story_item", item=item)


def story_exports(story: Record) -> str:
    """A player and links to all formats; empty for a story without items."""
    return render("story_exports", story=story, formats=FORMATS)
