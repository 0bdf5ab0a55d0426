"""Records as HTML, every text escaped. Pure functions: no Gradio, no lab."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["cards", "chunk_list", "clock", "facts", "header", "size", "take_list"]

Record = Mapping[str, Any]


def clock(seconds: float) -> str:
    """m:ss.t, for positions in a take."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def size(size_bytes: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def header(label: str, reason: str, state: str, line: str) -> str:
    """Name, engine, why that one, and whether it still loads."""
    loading = {"initializing": f"loading: {line}", "error": "cannot be loaded", "ready": "ready"}
    words = f"{label} ({loading.get(state, 'starting')}) \u2013 {reason}"
    return f"<div class='vl-head'><h1>voicelab</h1><p>{escape(words)}</p></div>"


def take_list(records: Sequence[Record], searched: bool) -> str:
    """The takes of a page, or a sentence when there are none."""
    if not records:
        words = "No take matches." if searched else "No takes yet: make one in the Generate tab."
        return f"<div class='vl-empty'>{words}</div>"
    return f"<div class='vl-list' role='list'>{''.join(_take(r) for r in records)}</div>"


def _take(record: Record) -> str:
    id = escape(record["id"], quote=True)
    return (
        f"<article class='vl-take' role='listitem' data-id='{id}'>"
        f"<p dir='auto'>{escape(record['text'][:600])}</p>"
        f"<div class='vl-facts'>{_spans(_take_facts(record))}</div>"
        f"{_sound(record, id)}"
        f"<div class='vl-acts'>{_acts(record, id)}</div></article>"
    )


def _take_facts(record: Record) -> list[str]:
    words = [record["created_at"][:16].replace("T", " "), record["engine"], record["voice"]]
    if record["duration"]:
        words.append(f"{record['duration']:.1f} s")
    if record["seed"] is not None:
        words.append(f"seed {record['seed']}")
    return [*words, *(f"#{tag}" for tag in record["tags"])]


def _sound(record: Record, id: str) -> str:
    if record["status"] == "completed":
        return f"<audio controls preload='none' src='audio/{id}' aria-label='This take'></audio>"
    if record["status"] == "failed":
        return f"<div class='vl-failed'>Failed: {escape(record['error'] or '')}</div>"
    return "<div class='vl-muted'>Being made...</div>"


def _acts(record: Record, id: str) -> str:
    starred = record["is_favorited"]
    pressed = "true" if starred else "false"
    word = "\u2605 Favourite" if starred else "\u2606 Favourite"
    acts = [
        f"<button type='button' data-act='favorite' aria-pressed='{pressed}'>{word}</button>",
        "<button type='button' data-act='reuse'>Use again</button>",
    ]
    if record["status"] == "completed":
        acts += [
            f"<a href='history/{id}/export-audio' download>Download</a>",
            f"<a href='history/{id}/export' download>Export</a>",
        ]
    acts.append("<button type='button' data-act='delete'>Delete</button>")
    return "".join(acts)


def chunk_list(chunks: Iterable[Record]) -> str:
    """Each chunk's time and text."""
    rows = "".join(
        f"<li><time>{clock(c['start_s'])}\u2013{clock(c['start_s'] + c['duration_s'])}</time>"
        f"<span dir='auto'>{escape(c['text'])}</span></li>"
        for c in chunks
    )
    return f"<ol class='vl-chunks'>{rows}</ol>" if rows else ""


def facts(record: Record) -> str:
    """What there is to know of a finished take, in a line, and its warnings."""
    words = [
        f"seed {record['seed']}",
        f"{record['duration']:.1f} s of sound in {record['elapsed_s']:.1f} s",
        f"real-time factor {record['real_time_factor'] or 0:.2f}",
        size(record["size_bytes"]),
    ]
    warnings = "".join(f"<div class='vl-muted'>{escape(w)}</div>" for w in record["warnings"])
    return f"<div class='vl-facts'>{_spans(words)}</div>{warnings}"


def cards(values: Sequence[tuple[str, str]]) -> str:
    """Big numbers with a word under each."""
    inner = "".join(
        f"<div class='vl-card'><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in values
    )
    return f"<div class='vl-cards'>{inner}</div>"


def _spans(words: Iterable[str]) -> str:
    return "".join(f"<span>{escape(str(word))}</span>" for word in words)
