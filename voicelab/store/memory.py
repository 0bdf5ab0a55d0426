"""Documents in dictionaries: for tests, and for a lab that keeps no records."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from voicelab.errors import Conflict
from voicelab.store.document import copied, encoded
from voicelab.store.ordering import matches, merged, sort_key, tallied
from voicelab.store.protocol import Document, Part, Query, patchable

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store in memory, whose documents end with the process.

    Documents are replaced, never changed, so that a failed batch is undone by restoring the
    tables.
    """

    shared = False

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tables: dict[str, dict[str, Document]] = {}

    def get(self, table: str, id: str) -> Document | None:
        """See `Store.get`."""
        with self._lock:
            document = self._rows(table).get(id)
        return None if document is None else copied(document)

    def get_many(self, table: str, ids: Sequence[str]) -> list[Document]:
        """See `Store.get_many`."""
        with self._lock:
            rows = self._rows(table)
            found = [rows[id] for id in ids if id in rows]
        return [copied(document) for document in found]

    def insert(self, table: str, document: Document) -> None:
        """See `Store.insert`."""
        stored = encoded(document)[1]
        with self._lock:
            rows = self._tables.setdefault(table, {})
            if stored["id"] in rows:
                raise Conflict(f"The id {stored['id'][:40]} is taken in {table}.")
            rows[stored["id"]] = stored

    def patch(
        self,
        table: str,
        id: str,
        fields: Mapping[str, Any],
        expected: Mapping[str, Any] | None = None,
    ) -> Document:
        """See `Store.patch`."""
        changes = encoded(dict(fields))[1]
        with self._lock:
            before = patchable(table, id, self._rows(table).get(id), fields, expected)
            after = self._tables[table][id] = {**before, **changes}
        return copied(after)

    def delete(self, table: str, id: str) -> bool:
        """See `Store.delete`."""
        return self.delete_many(table, (id,)) == 1

    def delete_many(self, table: str, ids: Collection[str]) -> int:
        """See `Store.delete_many`."""
        with self._lock:
            rows = self._rows(table)
            return sum(rows.pop(id, None) is not None for id in set(ids))

    def page(
        self, table: str, query: Query, *, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Document], int]:
        """See `Store.page`."""
        found = self._matching(table, query)
        found.sort(key=sort_key(query.order), reverse=query.descending)
        end = None if limit is None else offset + limit
        return [copied(row) for row in found[offset:end]], len(found)

    def values(
        self, table: str, fields: Sequence[str], query: Query | None = None
    ) -> list[tuple[Any, ...]]:
        """See `Store.values`."""
        rows = self._matching(table, query or Query())
        return [tuple(row.get(field) for field in fields) for row in rows]

    def count(self, table: str, query: Query | None = None) -> int:
        """See `Store.count`."""
        return len(self._matching(table, query or Query()))

    def tally(
        self,
        table: str,
        by: Sequence[Part] = (),
        sums: Sequence[str] = (),
        query: Query | None = None,
    ) -> list[tuple[Any, ...]]:
        """See `Store.tally`."""
        return merged([tallied(self._matching(table, query or Query()), by, sums)])

    def tables(self) -> list[str]:
        """See `Store.tables`."""
        with self._lock:
            return sorted(name for name, rows in self._tables.items() if rows)

    @contextlib.contextmanager
    def batch(self, frees: bool = False) -> Iterator[None]:
        """See `Store.batch`."""
        with self._lock:
            before = {name: dict(rows) for name, rows in self._tables.items()}
            try:
                yield
            except BaseException:
                self._tables = before
                raise

    def check(self) -> None:
        """See `Store.check`."""

    def shortage(self) -> str | None:
        """See `Store.shortage`."""

    def close(self) -> None:
        """See `Store.close`."""

    def _rows(self, table: str) -> dict[str, Document]:
        return self._tables.get(table, {})

    def _matching(self, table: str, query: Query) -> list[Document]:
        with self._lock:
            rows = list(self._rows(table).values())
        for holds in _conditions(query):
            rows = [row for row in rows if holds(row)]
        for term in query.terms:
            rows = [row for row in rows if matches(row, term)]
        return rows


def _conditions(query: Query) -> Iterator[Callable[[Document], bool]]:
    """The conditions except words, as functions of a document, the cheapest first."""
    for key, value in query.where.items():
        yield lambda row, key=key, value=value: row.get(key) == value
    for key, value in query.has.items():
        yield lambda row, key=key, value=value: value in (row.get(key) or ())
    for key, ends in query.ranges.items():
        yield lambda row, key=key, ends=ends: _within(row.get(key), *ends)


def _within(value: Any, least: Any, greatest: Any) -> bool:
    if value is None:
        return False
    return (least is None or value >= least) and (greatest is None or value <= greatest)
