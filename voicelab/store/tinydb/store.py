"""The store on one TinyDB file with a journal beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from voicelab.errors import Conflict, StoreCorrupt, StoreFull
from voicelab.store.document import copied
from voicelab.store.index import Index
from voicelab.store.journal.compaction import Progress
from voicelab.store.protocol import Document, Part, Query, patchable
from voicelab.store.search import plan
from voicelab.store.tinydb.change import Change, delete, drop, patch, put
from voicelab.store.tinydb.storage import JournalStorage, StorageOptions

__all__ = ["TinyStore"]

SMALL_COUNT = 100
"""Up to this many documents are deleted one by one, even all of a table."""


class TinyStore:
    """The store of a data folder, `db.json` and its journal, for one process at a time.

    Args:
        folder: created when missing.
        **options: see `JournalStorage`.

    Raises:
        StoreLocked, StoreCorrupt, StorageError: see `JournalStorage`.
    """

    shared = False

    def __init__(self, folder: Path, **options: Unpack[StorageOptions]):
        self._storage = JournalStorage(folder / "db.json", **options)
        self._lock = self._storage.lock
        self._indexes: dict[str, Index] = {}
        try:
            self._begin(options.get("read_only", False))
        except BaseException:
            self._storage.abandon()
            raise

    @property
    def sequence(self) -> int:
        """Number of the last commit; 0 before the first."""
        return self._storage.sequence

    @property
    def findings(self) -> tuple[str, ...]:
        """Messages of the recovery when it was opened, one sentence each."""
        return self._storage.findings

    @property
    def is_edited(self) -> bool:
        """Whether another program had changed the base file when it was opened."""
        return self._storage.is_edited

    def tables(self) -> list[str]:
        """Names of all tables."""
        return self._storage.names()

    def get(self, table: str, id: str) -> Document | None:
        """See `Store.get`."""
        with self._lock:
            row = self._row(table, id)
        return None if row is None else copied(row)

    def get_many(self, table: str, ids: Sequence[str]) -> list[Document]:
        """See `Store.get_many`."""
        with self._lock:
            found = [self._row(table, id) for id in ids]
        return [copied(row) for row in found if row is not None]

    def insert(self, table: str, document: Document) -> None:
        """See `Store.insert`."""
        with self._storage.changing():
            index = self._index(table)
            if document["id"] in index.keys:
                raise Conflict(f"The id {document['id'][:40]} is taken in {table}.")
            self._storage.commit([put(table, index.next_key(), document)])

    def patch(
        self,
        table: str,
        id: str,
        fields: Mapping[str, Any],
        expected: Mapping[str, Any] | None = None,
    ) -> Document:
        """See `Store.patch`."""
        with self._storage.changing():
            patchable(table, id, self._row(table, id), fields, expected)
            self._storage.commit([patch(table, self._index(table).keys[id], dict(fields))])
            after = self._storage.rows(table)[self._index(table).keys[id]]
        return copied(after)

    def delete(self, table: str, id: str) -> bool:
        """See `Store.delete`."""
        return self.delete_many(table, (id,)) == 1

    def delete_many(self, table: str, ids: Collection[str]) -> int:
        """See `Store.delete_many`."""
        with self._storage.changing():
            keys = self._index(table).keys
            deletions: list[Change] = [
                delete(table, keys[id]) for id in dict.fromkeys(ids) if id in keys
            ]
            if (
                len(deletions) == len(keys) > SMALL_COUNT
            ):  # one short line, in case the disk is full
                self._storage.commit([drop(table)])
            else:
                self._storage.commit(deletions)
            return len(deletions)

    def page(
        self, table: str, query: Query, *, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Document], int]:
        """See `Store.page`."""
        with self._lock:
            found = plan(self._index(table), query)
            page = found.first_rows(limit, offset)
            if page is None:
                found.snapshot()
        rows, total = page or found.page(limit, offset)
        return [copied(row) for row in rows], total

    def values(
        self, table: str, fields: Sequence[str], query: Query | None = None
    ) -> list[tuple[Any, ...]]:
        """See `Store.values`."""
        with self._lock:
            found = plan(self._index(table), query or Query(), sort=False).snapshot()
        return found.values(fields)

    def count(self, table: str, query: Query | None = None) -> int:
        """See `Store.count`."""
        if query is None:
            return len(self._storage.rows(table))
        with self._lock:
            found = plan(self._index(table), query, sort=False)
            count = found.first_count()
            if count is None:
                found.snapshot()
        return found.count() if count is None else count

    def tally(
        self,
        table: str,
        by: Sequence[Part] = (),
        sums: Sequence[str] = (),
        query: Query | None = None,
    ) -> list[tuple[Any, ...]]:
        """See `Store.tally`."""
        with self._lock:
            found = plan(self._index(table), query or Query(), sort=False).snapshot()
        return found.tally(tuple(by), tuple(sums))

    def batch(self, frees: bool = False) -> contextlib.AbstractContextManager[None]:
        """See `Store.batch`."""
        return self._storage.batch(frees)

    def compact(self, progress: Progress = lambda _: None) -> None:
        """See `JournalStorage.compact`."""
        self._storage.compact(progress)

    def check(self) -> None:
        """See `Store.check`."""
        self._storage.check()

    def shortage(self) -> str | None:
        """See `Store.shortage`."""
        return self._storage.shortage()

    def close(self) -> None:
        """See `Store.close`."""
        self._storage.close()

    def abandon(self) -> None:
        """See `JournalStorage.abandon`."""
        self._storage.abandon()

    def changed(self, table: str, key: str, before: Any, after: Any) -> None:
        """Keep the index; called by the storage, under its lock."""
        if table in self._indexes:
            self._indexes[table].changed(key, before, after)

    def dropped(self, table: str) -> None:
        """Forget the index of a table; called by the storage, under its lock."""
        self._indexes.pop(table, None)

    def _begin(self, read_only: bool) -> None:
        """Check all ids, then complete the recovery."""
        self._storage.watch(self)
        for table in self._storage.names():
            try:
                self._index(table)
            except StoreCorrupt as error:
                raise StoreCorrupt(f"{self._storage.path}: {table} has {error.message}.") from error
        if not read_only:
            self._settle()

    def _settle(self) -> None:
        try:
            self._storage.settle()
        except StoreFull:
            if self._storage.is_new:
                raise
            # The records can be read; the first change repeats it, and reports the error.

    def _index(self, table: str) -> Index:
        found = self._indexes.get(table)
        if found is None:
            found = self._indexes[table] = Index(lambda: self._storage.rows(table))
        return found

    def _row(self, table: str, id: str) -> Document | None:
        key = self._index(table).keys.get(id)
        return None if key is None else self._storage.rows(table)[key]
