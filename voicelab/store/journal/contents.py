"""The tables in memory, and the operations that change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from voicelab.store.journal.snapshot import Tables

__all__ = ["Contents", "Operation", "Watcher"]

Operation = Sequence[Any]
"""See `voicelab.store.journal.segments.Line`."""

Undo = Callable[[], None]


class Watcher(Protocol):
    """Receiver of every change, such as an index."""

    def changed(self, table: str, key: str, before: Any, after: Any) -> None:
        """A document was added, replaced (neither is None) or deleted."""
        ...

    def dropped(self, table: str) -> None:
        """A table was emptied, or restored as a whole."""
        ...


class Contents:
    """Tables of documents. Stored documents are replaced, never changed.

    Args:
        tables: used as they are, not copied.
    """

    def __init__(self, tables: Tables):
        self.tables = tables
        self.watcher: Watcher | None = None

    def rows(self, table: str) -> dict[str, Any]:
        """The documents of a table by id; not to be changed."""
        return self.tables.get(table, {})

    def apply(self, operation: Operation, undo: list[Undo] | None = None) -> None:
        """Apply one operation.

        Args:
            operation: see `Line`.
            undo: gets a function that undoes it, also when interrupted; added before any change.
        """
        name = operation[0]
        undo = [] if undo is None else undo
        if len(operation) == 1:
            before = self.tables.get(name)
            undo.append(lambda: self._replace(name, before))
            self._replace(name, None)
        elif operation[1] is None:
            self._make(name, undo)
        else:
            before = self.rows(name).get(operation[1])
            after = operation[2] if len(operation) > 2 else None
            if len(operation) > 3:
                after = {**(before or {}), **operation[2]}
            self._set(name, operation[1], before, after, undo)

    def _set(self, name: str, key: str, before: Any, after: Any, undo: list[Undo]) -> None:
        is_done = [False]
        undo.append(lambda: self._put_back(name, key, before, after, is_done[0]))
        rows = self.tables.setdefault(name, {})
        _put(rows, key, after)
        if self.watcher is not None and before is not after:
            self.watcher.changed(name, key, before, after)
        is_done[0] = True

    def _put_back(self, name: str, key: str, before: Any, after: Any, is_done: bool) -> None:
        _put(self.tables.setdefault(name, {}), key, before)
        if self.watcher is None or before is after:
            return
        if is_done:
            self.watcher.changed(name, key, after, before)
        else:  # interrupted: it is unknown whether the watcher was called
            self.watcher.dropped(name)

    def _make(self, name: str, undo: list[Undo]) -> None:
        if name in self.tables:
            undo.append(lambda: None)
        else:
            undo.append(lambda: self._replace(name, None))
            self.tables[name] = {}

    def _replace(self, name: str, rows: dict[str, Any] | None) -> None:
        if rows is None:
            self.tables.pop(name, None)
        else:
            self.tables[name] = rows
        if self.watcher is not None:
            self.watcher.dropped(name)


def _put(rows: dict[str, Any], key: str, row: Any) -> None:
    if row is not None:
        rows[key] = row
    else:
        rows.pop(key, None)
