"""HTML of takes: lists, bulk actions, chunks and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from voicelab.ui.components.templates import render, size

__all__ = ["bulk_bar", "chunk_list", "take_facts", "take_list"]

Record = Mapping[str, Any]


def take_list(records: Sequence[Record], searched: bool) -> str:
    """A page of takes, or a message when there are none.

    Args:
        records: of takes, in order.
        searched: whether filters are set.
    """
    takes = [(record, _settings(record)) for record in records]
    return render("takes", takes=takes, searched=searched)


def _settings(record: Record) -> list[str]:
    mode = (record.get("software") or {}).get("mode", "exact")
    engine = record["engine"] if mode == "exact" else f"{record['engine']}, {mode}"
    words = [record["created_at"][:16].replace("T", " "), engine, record["voice"]]
    if record["duration"]:
        words.append(f"{record['duration']:.1f} s")
    if record["seed"] is not None:
        words.append(f"seed {record['seed']}")
    return [*words, *(f"#{tag}" for tag in record["tags"])]


def bulk_bar(profiles: Sequence[tuple[str, str]]) -> str:
    """Buttons for the selected takes; the page shows them when there is a selection.

    Args:
        profiles: (id, name) of each.
    """
    return render("bulk_bar", profiles=profiles)


def chunk_list(chunks: Iterable[Record], again: bool = False) -> str:
    """Time and text of each chunk; with `again`, a button to speak it again."""
    return render("chunks", chunks=list(chunks), again=again)


def take_facts(record: Record) -> str:
    """Seed, duration, speed and size of a finished take, and its warnings."""
    words = [
        f"seed {record['seed']}",
        f"{record['duration']:.1f} s of sound in {record['elapsed_s']:.1f} s",
        f"real-time factor {record['real_time_factor'] or 0:.2f}",
        size(record["size_bytes"]),
    ]
    return render("take_facts", words=words, warnings=record["warnings"])
