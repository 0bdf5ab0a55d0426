"""One change of one document or table, and the JSON that goes into the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from voicelab.errors import InvalidInput
from voicelab.store.document import encoded
from voicelab.store.journal.contents import Operation
from voicelab.store.journal.snapshot import META

__all__ = ["Change", "delete", "drop", "make", "patch", "put"]


class Change(NamedTuple):
    """An operation on the contents.

    Attributes:
        operation: see `voicelab.store.journal.segments.Line`; its document is the store's own.
        content: the same as JSON.
        quick: whether orjson reads it as it is.
    """

    operation: Operation
    content: bytes
    quick: bool

    @property
    def frees(self) -> bool:
        """Whether it only takes away."""
        return len(self.operation) < 3 and self.operation[-1] is not None


def put(table: str, key: str, document: Mapping[str, Any]) -> Change:
    """Add or replace a document; raises InvalidInput when it is not JSON."""
    content, copy, quick = encoded(document)
    start, start_quick = _start(table, key)
    return Change((table, key, copy), b"[%s,%s]" % (start, content), quick and start_quick)


def patch(table: str, key: str, fields: Mapping[str, Any]) -> Change:
    """Set some fields of a document; raises InvalidInput when they are not JSON."""
    content, copy, quick = encoded(fields)
    start, start_quick = _start(table, key)
    return Change((table, key, copy, 1), b"[%s,%s,1]" % (start, content), quick and start_quick)


def delete(table: str, key: str) -> Change:
    """Remove a document."""
    start, quick = _start(table, key)
    return Change((table, key), b"[%s]" % start, quick)


def drop(table: str) -> Change:
    """Remove a table with all its documents."""
    name, _, quick = encoded(_allowed(table))
    return Change((table,), b"[%s]" % name, quick)


def make(table: str) -> Change:
    """An empty table, if there is none of that name."""
    name, _, quick = encoded(_allowed(table))
    return Change((table, None), b"[%s,null]" % name, quick)


def _start(table: str, key: str) -> tuple[bytes, bool]:
    pair = [_allowed(table), key]
    try:
        return orjson.dumps(pair)[1:-1], True
    except TypeError:
        content, _, quick = encoded(pair)
        return content[1:-1], quick


def _allowed(table: str) -> str:
    if table == META:
        raise InvalidInput(f"A table cannot be called {META}: the store keeps its own there.")
    if not isinstance(table, str):  # as a key of JSON it would make the base file unreadable
        raise InvalidInput(f"The name of a table is a text, not {str(table)[:40]}.")
    return table
