"""Views of tables for TinyDB's operations; documents are copied when they are accessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from voicelab.store.document import copied
from voicelab.store.tinydb.change import Change, delete, drop, make, put

__all__ = ["Rows", "TableView", "TablesView", "TouchedTable", "difference"]

Rows = dict[str, Any]


class TableView(Mapping[str, Any]):
    """A table as TinyDB's storages return it: string keys; every document read is a copy."""

    def __init__(self, rows: Rows):
        self._rows = rows

    def __getitem__(self, key: str) -> Any:
        return copied(self._rows[key])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        """Items as of the call: documents deleted during the iteration are still returned."""
        return ((key, copied(row)) for key, row in list(self._rows.items()))


class TouchedTable(MutableMapping[Any, Any]):
    """A table for TinyDB's updaters; accessed documents are copied, and compared afterwards.

    Args:
        rows: the store's documents; not changed.
        id_class: TinyDB's class of document ids.
    """

    def __init__(self, rows: Rows, id_class: Callable[[Any], Any] = int):
        self._rows = rows
        self._id_class = id_class
        self._copies: Rows = {}
        self._deleted: dict[str, None] = {}

    def __getitem__(self, id: Any) -> Any:
        key = str(id)
        if key not in self._copies:
            if key in self._deleted or key not in self._rows:
                raise KeyError(id)
            self._copies[key] = copied(self._rows[key])
        return self._copies[key]

    def __setitem__(self, id: Any, document: Any) -> None:
        self._copies[str(id)] = document

    def __delitem__(self, id: Any) -> None:
        if id not in self:
            raise KeyError(id)
        self._copies.pop(str(id), None)
        if str(id) in self._rows:
            self._deleted[str(id)] = None

    def __contains__(self, id: object) -> bool:
        key = str(id)
        return key in self._copies or (key in self._rows and key not in self._deleted)

    def __iter__(self) -> Iterator[Any]:
        kept = [key for key in self._rows if key not in self._deleted]
        new = [key for key in self._copies if key not in self._rows or key in self._deleted]
        return iter([self._id_class(key) for key in (*kept, *new)])

    def __len__(self) -> int:
        new = sum(key not in self._rows or key in self._deleted for key in self._copies)
        return len(self._rows) - len(self._deleted) + new

    def clear(self) -> None:
        """Delete all documents without copying any."""
        self._copies.clear()
        self._deleted = dict.fromkeys(self._rows)

    def changes(self, table: str, exists: bool) -> list[Change]:
        """The changes made by the updater; a missing table is created, as in TinyDB."""
        if self._deleted and len(self._deleted) == len(self._rows):
            changes = [drop(table), make(table)]
        else:
            changes = [delete(table, key) for key in self._deleted]
            changes += [] if exists else [make(table)]
        return changes + [
            put(table, key, row)
            for key, row in self._copies.items()
            if key in self._deleted or key not in self._rows or not _same(self._rows[key], row)
        ]


class TablesView(MutableMapping[str, Any]):
    """All tables as TinyDB's storages return them; a table is copied at its first access.

    Args:
        tables: the store's tables; not changed.
    """

    def __init__(self, tables: Mapping[str, Rows]):
        self._tables = dict(tables)
        self._copies: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._copies:
            self._copies[name] = {k: copied(row) for k, row in self._tables[name].items()}
        return self._copies[name]

    def __setitem__(self, name: str, rows: Any) -> None:
        self._copies[name] = rows
        self._tables.setdefault(name, {})

    def __delitem__(self, name: str) -> None:
        del self._tables[name]
        self._copies.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._tables))

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return repr(dict(self))

    def untouched(self, name: str) -> bool:
        """Whether a table was never accessed, so that it cannot have been changed."""
        return name not in self._copies


def difference(tables: Mapping[str, Rows], target_tables: Mapping[str, Any]) -> list[Change]:
    """The changes that turn the store's `tables` into `target_tables`."""
    changes = [drop(name) for name in tables if name not in target_tables]
    for name in target_tables:
        if (
            isinstance(target_tables, TablesView)
            and target_tables.untouched(name)
            and name in tables
        ):
            continue
        rows, target_rows = (
            tables.get(name, {}),
            {str(k): row for k, row in target_tables[name].items()},
        )
        changes += [] if name in tables else [make(name)]
        changes += [delete(name, key) for key in rows if key not in target_rows]
        changes += [
            put(name, key, row)
            for key, row in target_rows.items()
            if key not in rows or not _same(rows[key], row)
        ]
    return changes


def _same(before: Any, after: Any) -> bool:
    """Whether both are the same JSON: to Python 1, 1.0 and True are equal."""
    return before == after and repr(before) == repr(after)
