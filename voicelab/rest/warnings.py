"""What a request asked for and did not get, told to its client: nothing is dropped silently.

A route adds a warning, one plain sentence each, so:

- for a take: `GenerationRequest(..., warnings=(...))`, or `replace(body.request(), warnings=...)`;
  `SpeechBody` and `GenerateBody` have put their unknown fields there already. They come first in
  the record's `warnings`, before what the checks add; every answer of `speech.Answers` has them in
  X-Warnings.
- for an answer in JSON: `Json(content, warnings=[...])`: they are added to `warnings` of a JSON
  object, and stand in X-Warnings. A new take: `Json(record, warnings=record["warnings"])`.
- for another answer: `headers | warning_header([...])`.

A model from `schemas.Body` says which fields of it were unknown: `body.warnings`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

__all__ = ["HEADER", "missing_header", "unknown_fields", "warning_header"]

HEADER, MISSING = "X-Warnings", "X-Missing"

MAX_HEADER_BYTES = 2000
"""Proxies refuse answers whose headers have more than some 4 to 8 KiB in all."""

SHOWN, SHOWN_CHARS = 10, 60


def warning_header(warnings: Iterable[str]) -> dict[str, str]:
    """X-Warnings: a JSON array of sentences in ASCII, the last left out where it gets too long.

    Empty when there are no warnings.
    """
    said = list(dict.fromkeys(warnings))
    if not said:
        return {}
    value = _ascii(said)
    kept = len(said)
    while len(value) > MAX_HEADER_BYTES:
        kept -= 1
        more = f"and {len(said) - kept} more"
        value = _ascii([*said[:kept], more] if kept else [said[0][: MAX_HEADER_BYTES // 14], more])
    return {HEADER: value}


def missing_header(ids: Iterable[str]) -> dict[str, str]:
    """X-Missing: the ids of what an export left out, written as X-Warnings are; empty for none."""
    found = warning_header(ids)
    return {MISSING: found[HEADER]} if found else {}


def _ascii(said: Sequence[str]) -> str:
    return json.dumps(said).replace("\x7f", "\\u007f")


def unknown_fields(names: Iterable[str]) -> tuple[str, ...]:
    """The warning for fields that mean nothing here; none for none. Names may be anything."""
    known = [name.encode("utf-8", "replace").decode()[:SHOWN_CHARS] for name in names]
    if not known:
        return ()
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    shown = ", ".join(repr(name) for name in known[:SHOWN])
    return (f"Unknown fields, not used: {shown}{more}.",)
