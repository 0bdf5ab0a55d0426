"""What TinyDB's own operations are handed: documents are copied when they are touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from voicelab.store.document import copied
from voicelab.store.tinydb.change import Change, delete, drop, make, put

__all__ = ["Rows", "TableView", "TablesView", "TouchedTable", "difference"]

Rows = dict[str, Any]


class TableView(Mapping[str, Any]):
    """A table as TinyDB's storages give it: text keys; every document read is a copy."""

    def __init__(self, rows: Rows):
        self._rows = rows

    def __getitem__(self, key: str) -> Any:
        return copied(self._rows[key])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        """Of one moment: what goes meanwhile is still given."""
        return ((key, copied(row)) for key, row in list(self._rows.items()))


class TouchedTable(MutableMapping[Any, Any]):
    """A table as TinyDB's updaters want it: only what they touch is copied, and looked at after.

    Args:
        rows: of the store; not changed.
        id_class: TinyDB's class of document ids.
    """

    def __init__(self, rows: Rows, id_class: Callable[[Any], Any] = int):
        self._rows = rows
        self._id_class = id_class
        self._copies: Rows = {}
        self._gone: dict[str, None] = {}

    def __getitem__(self, id: Any) -> Any:
        key = str(id)
        if key not in self._copies:
            if key in self._gone or key not in self._rows:
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
            self._gone[str(id)] = None

    def __contains__(self, id: object) -> bool:
        key = str(id)
        return key in self._copies or (key in self._rows and key not in self._gone)

    def __iter__(self) -> Iterator[Any]:
        kept = [key for key in self._rows if key not in self._gone]
        new = [key for key in self._copies if key not in self._rows or key in self._gone]
        return iter([self._id_class(key) for key in (*kept, *new)])

    def __len__(self) -> int:
        new = sum(key not in self._rows or key in self._gone for key in self._copies)
        return len(self._rows) - len(self._gone) + new

    def clear(self) -> None:
        """Without looking at any document."""
        self._copies.clear()
        self._gone = dict.fromkeys(self._rows)

    def changes(self, table: str, exists: bool) -> list[Change]:
        """What the updater did; a table that was only looked at comes to be, as in TinyDB."""
        if self._gone and len(self._gone) == len(self._rows):
            found = [drop(table), make(table)]
        else:
            found = [delete(table, key) for key in self._gone]
            found += [] if exists else [make(table)]
        return found + [
            put(table, key, row)
            for key, row in self._copies.items()
            if key in self._gone or key not in self._rows or not _same(self._rows[key], row)
        ]


class TablesView(MutableMapping[str, Any]):
    """All tables as TinyDB's storages give them; only those asked for are copied.

    Args:
        tables: of the store; not changed.
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
        """Whether nobody has seen this table: it cannot have been changed."""
        return name not in self._copies


def difference(tables: Mapping[str, Rows], wanted: Mapping[str, Any]) -> list[Change]:
    """What makes `tables` of the store the ones that are wanted."""
    found = [drop(name) for name in tables if name not in wanted]
    for name in wanted:
        if isinstance(wanted, TablesView) and wanted.untouched(name) and name in tables:
            continue
        rows, target = tables.get(name, {}), {str(k): row for k, row in wanted[name].items()}
        found += [] if name in tables else [make(name)]
        found += [delete(name, key) for key in rows if key not in target]
        found += [
            put(name, key, row)
            for key, row in target.items()
            if key not in rows or not _same(rows[key], row)
        ]
    return found


def _same(before: Any, after: Any) -> bool:
    """Whether both are the same JSON: to Python 1, 1.0 and True are equal."""
    return before == after and repr(before) == repr(after)
