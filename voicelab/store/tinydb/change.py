"""Changes of a document or table, and their JSON in the journal."""

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
        operation: see `voicelab.store.journal.segments.Line`; its document becomes the store's own.
        content: the operation as JSON.
        quick: whether orjson reads it exactly.
    """

    operation: Operation
    content: bytes
    quick: bool

    @property
    def frees(self) -> bool:
        """Whether it only removes documents."""
        return len(self.operation) < 3 and self.operation[-1] is not None


def put(table: str, key: str, document: Mapping[str, Any]) -> Change:
    """Add or replace a document; raises InvalidInput when it is not JSON."""
    content, copy, quick = encoded(document)
    start, start_quick = _encode_start(table, key)
    return Change((table, key, copy), b"[%s,%s]" % (start, content), quick and start_quick)


def patch(table: str, key: str, fields: Mapping[str, Any]) -> Change:
    """Set some fields of a document; raises InvalidInput when they are not JSON."""
    content, copy, quick = encoded(fields)
    start, start_quick = _encode_start(table, key)
    return Change((table, key, copy, 1), b"[%s,%s,1]" % (start, content), quick and start_quick)


def delete(table: str, key: str) -> Change:
    """Remove a document."""
    start, quick = _encode_start(table, key)
    return Change((table, key), b"[%s]" % start, quick)


def drop(table: str) -> Change:
    """Remove a table with all its documents."""
    name, _, quick = encoded(_check_name(table))
    return Change((table,), b"[%s]" % name, quick)


def make(table: str) -> Change:
    """Create an empty table unless it exists."""
    name, _, quick = encoded(_check_name(table))
    return Change((table, None), b"[%s,null]" % name, quick)


def _encode_start(table: str, key: str) -> tuple[bytes, bool]:
    pair = [_check_name(table), key]
    try:
        return orjson.dumps(pair)[1:-1], True
    except TypeError:
        content, _, quick = encoded(pair)
        return content[1:-1], quick


def _check_name(table: str) -> str:
    if table == META:
        raise InvalidInput(f"A table cannot be called {META}: the store keeps its own there.")
    if not isinstance(table, str):  # as a key of JSON it would make the base file unreadable
        raise InvalidInput(f"The name of a table is a text, not {str(table)[:40]}.")
    return table
