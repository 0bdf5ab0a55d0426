"""TinyDB on the journalled storage: each operation is one commit of the changed documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinydb import TinyDB
from tinydb.queries import QueryLike
from tinydb.table import Document, Table

from voicelab.store.tinydb.storage import JournalStorage
from voicelab.store.tinydb.view import TableView, TouchedTable

__all__ = ["JournalDB", "JournalTable"]


class JournalTable(Table):
    """A TinyDB table on a `JournalStorage`; safe to call from any thread.

    Searches hold the storage's lock, because TinyDB's query cache is not thread-safe and must
    not store results that a concurrent change has made invalid.
    """

    _storage: JournalStorage  # pyright: ignore[reportIncompatibleVariableOverride]

    def insert(self, document: Mapping) -> int:
        """See `Table.insert`."""
        with self._storage.changing():
            return super().insert(document)

    def insert_multiple(self, documents: Iterable[Mapping]) -> list[int]:
        """See `Table.insert_multiple`."""
        with self._storage.changing():
            return super().insert_multiple(documents)

    def upsert(self, document: Mapping, cond: QueryLike | None = None) -> list[int]:
        """See `Table.upsert`."""
        with self._storage.batch():
            return super().upsert(document, cond)

    def search(self, cond: QueryLike) -> list[Document]:
        """See `Table.search`."""
        with self._storage.lock:
            return super().search(cond)

    def clear_cache(self) -> None:
        """See `Table.clear_cache`."""
        with self._storage.lock:
            super().clear_cache()

    def _read_table(self) -> Any:
        return TableView(self._storage.rows(self.name))

    def _update_table(self, updater: Callable[[Any], None]) -> None:
        with self._storage.changing():
            exists = self._storage.has(self.name)
            table = TouchedTable(self._storage.rows(self.name), self.document_id_class)
            updater(table)
            self._storage.commit(table.changes(self.name, exists))
            self.clear_cache()


class JournalDB(TinyDB):
    """TinyDB with a journal: `JournalDB("db.json")`; arguments as of `JournalStorage`."""

    table_class = JournalTable
    default_storage_class = JournalStorage
