"""TinyDB JSON held in memory and replaced whole: every commit is one atomic rename."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document as TinyDocument

from voicelab.audio import storage_error
from voicelab.errors import Conflict, NotFound, StorageError, StoreCorrupt, StoreLocked
from voicelab.store.base import Document, Query, Term

__all__ = ["AtomicJSONStorage", "TinyStore"]

Tables = dict[str, dict[str, Any]]


class AtomicJSONStorage(Storage):
    """A TinyDB storage that reads its file once and replaces it with fsync at each write.

    Args:
        path: the JSON file; made at the first write.

    Raises:
        StoreCorrupt: the file is there but is not TinyDB JSON.
    """

    def __init__(self, path: Path):
        self.path = path
        self._held = 0
        self._tables = self._load()

    def read(self) -> Tables:
        """All tables; the outer dict is the caller's, the documents are not."""
        return dict(self._tables)

    def write(self, data: Tables) -> None:
        """Make `data` the contents, on the disk too unless a batch holds it back."""
        if not self._held:
            self._replace(data)
        self._tables = data

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Write once at the end of the block; an error leaves everything as it was."""
        before = self._tables
        self._held += 1
        try:
            yield
            if self._held == 1 and self._tables is not before:
                self._replace(self._tables)
        except BaseException:
            self._tables = before
            raise
        finally:
            self._held -= 1

    def close(self) -> None:
        """Nothing is kept open."""

    def _load(self) -> Tables:
        self.path.with_suffix(".json.tmp").unlink(missing_ok=True)
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            tables = orjson.loads(content) if content else {}
        except orjson.JSONDecodeError as error:
            raise StoreCorrupt(f"{self.path} is not JSON: {error}. Restore a backup.") from error
        if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
            raise StoreCorrupt(f"{self.path} is JSON, but not a TinyDB file.")
        return tables

    def _replace(self, data: Tables) -> None:
        temporary = self.path.with_suffix(".json.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(orjson.dumps(data))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
            descriptor = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise storage_error(error) from error


class TinyStore:
    """The store on one TinyDB file, `db.json`, for one process at a time.

    Args:
        folder: made when missing.

    Raises:
        StoreLocked: another process has the folder; the message names it.
        StorageError: the folder cannot be made or written.
        StoreCorrupt: see `AtomicJSONStorage`.
    """

    def __init__(self, folder: Path):
        self._lock = threading.RLock()
        self._process_lock = _acquire(folder)
        try:
            self._db = TinyDB(folder / "db.json", storage=AtomicJSONStorage)
            self._ids = {
                name: {document["id"]: int(number) for number, document in table.items()}
                for name, table in self._storage.read().items()
            }
        except (KeyError, TypeError, ValueError) as error:
            self._process_lock.release()
            raise StoreCorrupt(f"{folder / 'db.json'} has a document without an id.") from error
        except BaseException:
            self._process_lock.release()
            raise

    @property
    def _storage(self) -> AtomicJSONStorage:
        return self._db.storage  # type: ignore[return-value]

    def get(self, table: str, id: str) -> Document | None:
        """See `Store.get`."""
        with self._lock:
            document = self._raw(table, id)
            return None if document is None else _copied(document)

    def get_many(self, table: str, ids: Sequence[str]) -> list[Document]:
        """See `Store.get_many`."""
        with self._lock:
            found = [self._raw(table, id) for id in ids]
            return [_copied(document) for document in found if document is not None]

    def insert(self, table: str, document: Document) -> None:
        """See `Store.insert`."""
        with self._changing():
            ids = self._ids.setdefault(table, {})
            if document["id"] in ids:
                raise Conflict(f"The id {document['id'][:40]} is taken in {table}.")
            number = max(ids.values(), default=0) + 1
            self._db.table(table).insert(TinyDocument(_copied(document), number))
            self._ids[table] = {**ids, document["id"]: number}

    def patch(
        self,
        table: str,
        id: str,
        fields: Mapping[str, Any],
        expected: Mapping[str, Any] | None = None,
    ) -> Document:
        """See `Store.patch`."""
        with self._changing():
            before = self._raw(table, id)
            if before is None:
                raise NotFound(f"There is no {id[:40]} in {table}.")
            if any(before.get(key) != value for key, value in (expected or {}).items()):
                raise Conflict(f"{id[:40]} in {table} has changed meanwhile.")
            number = self._ids[table][id]
            after = {**before, **_copied(dict(fields))}
            # A new dict takes the old one's place: readers and a failed commit keep the old.
            self._db.table(table)._update_table(lambda rows: rows.__setitem__(number, after))
            return _copied(after)

    def delete(self, table: str, id: str) -> bool:
        """See `Store.delete`."""
        return self.delete_many(table, (id,)) == 1

    def delete_many(self, table: str, ids: Collection[str]) -> int:
        """See `Store.delete_many`."""
        with self._changing():
            kept = dict(self._ids.get(table, {}))
            numbers = [kept.pop(id) for id in dict.fromkeys(ids) if id in kept]
            if numbers:  # to TinyDB an empty list is every document
                self._db.table(table).remove(doc_ids=numbers)
                self._ids[table] = kept
            return len(numbers)

    def page(
        self, table: str, query: Query, *, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Document], int]:
        """See `Store.page`."""
        found = self._found(table, query)
        found.sort(key=_sort_key(query.order), reverse=query.descending)
        end = None if limit is None else offset + limit
        return [_copied(row) for row in found[offset:end]], len(found)

    def values(
        self, table: str, fields: Sequence[str], query: Query | None = None
    ) -> list[tuple[Any, ...]]:
        """See `Store.values`."""
        rows = self._found(table, query or Query())
        try:  # all documents have all fields, but for those of older versions
            picked = list(map(itemgetter(*fields), rows))
            return [(value,) for value in picked] if len(fields) == 1 else picked
        except KeyError:
            return [tuple(row.get(field) for field in fields) for row in rows]

    def count(self, table: str, query: Query | None = None) -> int:
        """See `Store.count`."""
        return len(self._found(table, query or Query()))

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """See `Store.batch`."""
        with self._changing():
            yield

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._db.close()
            self._process_lock.release()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            before = dict(self._ids)
            try:
                with self._storage.hold():
                    yield
            except BaseException:
                self._ids = before
                raise

    def _raw(self, table: str, id: str) -> Document | None:
        number = self._ids.get(table, {}).get(id)
        return None if number is None else self._storage.read()[table][str(number)]

    def _found(self, table: str, query: Query) -> list[Document]:
        with self._lock:
            rows = list(self._storage.read().get(table, {}).values())
        for holds in _conditions(query):
            rows = [row for row in rows if holds(row)]
        return rows


def _copied(document: Document) -> Document:
    """A deep copy, several times as fast as copy.deepcopy; documents are JSON by contract."""
    return orjson.loads(orjson.dumps(document))


def _acquire(folder: Path) -> FileLock:
    owner = folder / "owner.txt"
    lock = FileLock(folder / "db.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        owner.write_text(f"process {os.getpid()}", encoding="utf-8")
    except Timeout as error:
        who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
        raise StoreLocked(
            f"The data folder {folder} is in use by {who}. Stop it, or choose another --data-dir."
        ) from error
    except OSError as error:
        lock.release()
        raise StorageError(
            f"The data folder {folder} cannot be used: {error.strerror}. "
            "Choose another with --data-dir."
        ) from error
    return lock


def _sort_key(order: str) -> Callable[[Document], tuple[bool, Any, str]]:
    """Nulls come before everything, ties are broken by id."""

    def key(row: Document) -> tuple[bool, Any, str]:
        value = row.get(order)
        if order == "text":
            value = str(value).casefold()
        return (False, 0, row["id"]) if value is None else (True, value, row["id"])

    return key


def _conditions(query: Query) -> Iterator[Callable[[Document], bool]]:
    """What is asked for, the cheapest first; nothing that is not asked for."""
    for key, value in query.where.items():
        yield lambda row, key=key, value=value: row.get(key) == value
    for key, value in query.has.items():
        yield lambda row, key=key, value=value: value in (row.get(key) or ())
    for key, ends in query.ranges.items():
        yield lambda row, key=key, ends=ends: _within(row.get(key), *ends)
    for term in query.terms:
        yield lambda row, term=term: _contains(row, term)


def _within(value: Any, least: Any, greatest: Any) -> bool:
    if value is None:
        return False
    return (least is None or value >= least) and (greatest is None or value <= greatest)


def _contains(row: Document, term: Term) -> bool:
    for name in term.fields:
        value = row.get(name) or ""
        texts = value if isinstance(value, list) else [value]
        if any(term.text in str(text).casefold() for text in texts):
            return True
    return any(row.get(key) in values for key, values in term.also.items())
