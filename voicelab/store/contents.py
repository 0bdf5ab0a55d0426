"""The tables in memory, and how one commit changes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from voicelab.store.snapshot import Tables

__all__ = ["Contents", "Operation", "Watcher"]

Operation = Sequence[Any]
"""See `voicelab.store.journal.Line`."""

Undo = Callable[[], None]


class Watcher(Protocol):
    """Who must know of every change, such as an index."""

    def changed(self, table: str, key: str, before: Any, after: Any) -> None:
        """A document was put, replaced (neither is None) or deleted."""
        ...

    def dropped(self, table: str) -> None:
        """A table was emptied, or came back as a whole."""
        ...


class Contents:
    """Tables of documents. Stored documents are replaced, never changed.

    Args:
        tables: taken over.
    """

    def __init__(self, tables: Tables):
        self.tables = tables
        self.watcher: Watcher | None = None

    def rows(self, table: str) -> dict[str, Any]:
        """The documents of a table by id; not to be changed."""
        return self.tables.get(table, {})

    def apply(self, operation: Operation) -> Undo:
        """Do one operation; what undoes it."""
        name = operation[0]
        if len(operation) == 1:
            return self._drop(name)
        if operation[1] is None:
            return self._make(name)
        before = self.rows(name).get(operation[1])
        after = operation[2] if len(operation) > 2 else None
        if len(operation) > 3:
            after = {**(before or {}), **operation[2]}
        self._set(name, operation[1], after)
        return lambda: self._set(name, operation[1], before)

    def _set(self, name: str, key: str, after: Any) -> None:
        rows = self.tables.setdefault(name, {})
        before = rows.get(key)
        if after is not None:
            rows[key] = after
        elif before is not None:
            del rows[key]
        if self.watcher is not None and before is not after:
            self.watcher.changed(name, key, before, after)

    def _make(self, name: str) -> Undo:
        if name in self.tables:
            return lambda: None
        self.tables[name] = {}
        return lambda: self._replace(name, None)

    def _drop(self, name: str) -> Undo:
        before = self.tables.get(name)
        self._replace(name, None)
        return lambda: self._replace(name, before)

    def _replace(self, name: str, rows: dict[str, Any] | None) -> None:
        if rows is None:
            self.tables.pop(name, None)
        else:
            self.tables[name] = rows
        if self.watcher is not None:
            self.watcher.dropped(name)
