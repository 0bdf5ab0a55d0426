"""Warnings about parts of a request that were not used: in `warnings` and the header X-Warnings.

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
"""Many proxies refuse responses whose headers exceed 4 to 8 KiB in all."""

MAX_NAMES, MAX_NAME_CHARS = 10, 60


def warning_header(warnings: Iterable[str]) -> dict[str, str]:
    """X-Warnings: a JSON array of sentences in ASCII; no header for no warnings.

    Sentences that do not fit in MAX_HEADER_BYTES are replaced by their number.
    """
    sentences = list(dict.fromkeys(warnings))
    if not sentences:
        return {}
    value = _ascii(sentences)
    kept = len(sentences)
    while len(value) > MAX_HEADER_BYTES:
        kept -= 1
        more = f"and {len(sentences) - kept} more"
        value = _ascii(
            [*sentences[:kept], more] if kept else [sentences[0][: MAX_HEADER_BYTES // 14], more]
        )
    return {HEADER: value}


def missing_header(ids: Iterable[str]) -> dict[str, str]:
    """X-Missing: ids of records that an export left out, encoded as X-Warnings; empty for none."""
    found = warning_header(ids)
    return {MISSING: found[HEADER]} if found else {}


def _ascii(sentences: Sequence[str]) -> str:
    return json.dumps(sentences).replace("\x7f", "\\u007f")


def unknown_fields(names: Iterable[str]) -> tuple[str, ...]:
    """A warning that lists unknown fields; empty for none. The names come from a client."""
    known = [name.encode("utf-8", "replace").decode()[:MAX_NAME_CHARS] for name in names]
    if not known:
        return ()
    more = f" and {len(known) - MAX_NAMES} more" if len(known) > MAX_NAMES else ""
    shown = ", ".join(repr(name) for name in known[:MAX_NAMES])
    return (f"Unknown fields, not used: {shown}{more}.",)
