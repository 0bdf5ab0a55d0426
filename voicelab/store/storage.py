"""The journalled TinyDB storage: a commit is one line, a crash loses none that was answered."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tinydb.storages import Storage

from voicelab.audio import storage_error
from voicelab.errors import Conflict, StorageError
from voicelab.store.change import Change
from voicelab.store.collector import quiet_collector
from voicelab.store.compaction import Progress, Worker
from voicelab.store.contents import Contents, Undo, Watcher
from voicelab.store.disk import Disk
from voicelab.store.lock import ProcessLock
from voicelab.store.migration import Migration
from voicelab.store.recovery import Recovered, read_settled, recover
from voicelab.store.system import System
from voicelab.store.view import TablesView, difference

__all__ = ["Durability", "JournalStorage"]

log = logging.getLogger(__name__)

Durability = Literal["full", "normal"]

IDLE_S, SYNC_EVERY_S = 60.0, 1.0


class JournalStorage(Storage):
    """One TinyDB file with a journal beside it.

    A commit is seen by readers when it is written, and answered when it is on the disk: a reader
    may see one that a power cut within the next milliseconds takes back.

    Args:
        path: the base file, `db.json`; it and its folder are made when missing.
        system: makes every system call; the real one when None.
        durability: "full" answers a commit when it is synced; "normal" syncs once a second, so a
            power cut (not a crash of the program) may take the last second.
        read_only: neither locks nor writes; what another process wrote until now is seen.
        locked: False leaves out the process lock, for simulations.
        background: fold the journal in a thread; False: within the commit that makes it too long.
        compact_after_bytes: length of the journal that is too long; when None half the base
            file, 4 to 32 MiB.
        migration: which schemas are understood.

    Attributes:
        findings: what opening found that somebody should know, one sentence each.
        is_edited: whether another program had changed the base file.

    Raises:
        StoreLocked: another process has the folder; the message names it.
        StoreCorrupt: acknowledged data is damaged.
        StorageError: the folder cannot be read or written, or a newer version wrote it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        system: System | None = None,
        durability: Durability = "full",
        read_only: bool = False,
        locked: bool = True,
        background: bool = True,
        compact_after_bytes: int | None = None,
        migration: Migration | None = None,
    ):
        self.path = Path(path)
        self.lock = threading.RLock()
        self._is_normal, self._read_only = durability == "normal", read_only
        self._background, self._compact_after_bytes = background, compact_after_bytes
        self._held = self._batches = 0
        self._pending: list[Change] = []
        self._undo: list[Undo] = []
        self._compacting = threading.Lock()
        self._worker: Worker | None = None
        self._closed = False
        self._changed_at = self._synced_at = time.monotonic()
        # Who only reads never writes either, so there is nothing to keep others from.
        self._process_lock = ProcessLock(self.path.parent) if locked and not read_only else None
        try:
            self._load(system or System(), migration or Migration())
        except BaseException:
            if self._process_lock is not None:
                self._process_lock.release()
            raise

    @property
    def sequence(self) -> int:
        """Number of the last commit."""
        return self._disk.sequence

    @property
    def journal_bytes(self) -> int:
        """What the journal weighs."""
        return self._disk.journal_bytes

    def read(self) -> TablesView | None:
        """All tables, copied when they are looked at; None when there are none."""
        with self.lock:
            return TablesView(self._contents.tables) if self._contents.tables else None

    def write(self, data: Mapping[str, Mapping[Any, Any]]) -> None:
        """Make `data` the contents: one commit of what is different."""
        with self.changing():
            self.commit(difference(self._contents.tables, data))

    def rows(self, table: str) -> dict[str, Any]:
        """The documents of a table by key: the store's own, not to be changed."""
        return self._contents.rows(table)

    def has(self, table: str) -> bool:
        """Whether there is a table of that name, if empty."""
        return table in self._contents.tables

    def names(self) -> list[str]:
        """Of all tables."""
        with self.lock:
            return list(self._contents.tables)

    def watch(self, watcher: Watcher) -> None:
        """Tell somebody of every change, under the lock."""
        self._contents.watcher = watcher

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock; leaving the outermost waits until what was committed is on the disk.

        Raises:
            StorageError: nothing can be written (any more), or the sync failed.
        """
        return _Changing(self)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """All commits inside become one; an error takes back those of its own block."""
        with self.changing():
            mark = len(self._undo)
            self._batches += 1
            try:
                yield
                if self._batches == 1 and self._pending:
                    self._append(self._pending, lambda: None)
            except BaseException:
                _take_back(self._undo, mark)
                del self._pending[mark:]
                raise
            finally:
                self._batches -= 1
                if not self._batches:
                    self._undo.clear()
                    self._pending.clear()

    def commit(self, changes: Sequence[Change]) -> None:
        """Write and apply, inside `changing`; in a batch: apply now, write at its end.

        Raises:
            StoreFull, StorageError: nothing was changed.
        """
        if self._batches:
            for change in changes:
                self._undo.append(self._contents.apply(change.operation))
                self._pending.append(change)
        elif changes:
            self._append(changes, lambda: self._apply(changes))

    def compact(self, progress: Progress = lambda _: None) -> None:
        """Fold the journal into the base file now.

        Args:
            progress: called with the bytes of each piece that was written.

        Raises:
            Conflict: inside a batch.
            StoreFull, StorageError: the base file is as it was, the journal goes on.
        """
        with self._compacting:
            with self.lock:
                if self._held:
                    raise Conflict("The store cannot be compacted inside a batch.")
                self._check_writable()
                self._disk.settle(self._contents.tables)
                rotation = self._disk.rotate(self._contents.tables)
            self._disk.write_base(rotation, progress)

    def settle(self) -> None:
        """Write what opening found out: the journal of a crash folded, bytes of its tail aside.

        Raises:
            StoreFull, StorageError: it is tried again at the first commit.
        """
        with self.lock:
            self._check_writable()
            self._disk.settle(self._contents.tables)

    def close(self) -> None:
        """Fold the journal into the base file and release the folder; again does nothing."""
        if self._closed:
            return
        try:
            if self._is_ours and not self._read_only:
                self._stop_worker()
                self._fold()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release the lock and the files without writing anything, as a crash would."""
        self._closed = True
        self._stop_worker()
        self._disk.release()
        if self._process_lock is not None:
            self._process_lock.release()

    @property
    def _is_ours(self) -> bool:
        return self._process_lock is None or self._process_lock.is_ours

    def _stop_worker(self) -> None:
        # After a fork the thread is the parent's alone.
        if self._worker is not None and self._is_ours:
            self._worker.stop()

    def _load(self, system: System, migration: Migration) -> None:
        with quiet_collector() as freeze:
            found = self._recover(system)
            self.findings, self.is_edited = tuple(found.findings), found.edited
            for finding in self.findings:
                log.warning("%s", finding)
            self._contents = Contents(found.tables)
            self._disk = Disk(system, self.path, found, migration.fresh())
            migration.check(self.path, self._disk.meta, self._read_only)
            if migration.is_due(self._disk.meta):
                self._migrate(migration)
            freeze(sum(map(len, self._contents.tables.values())))

    def _recover(self, system: System) -> Recovered:
        if self._read_only:
            return read_settled(system, self.path)
        try:
            return recover(system, self.path)
        except OSError as error:
            raise storage_error(error) from error

    def _migrate(self, migration: Migration) -> None:
        disk = self._disk
        if not self._read_only:
            disk.settle(self._contents.tables)
            disk.keep_copy(f"schema-{disk.meta.schema}")
        self._contents = Contents(migration.apply(self._contents.tables, disk.meta))
        schemas = {"schema": migration.schema, "min_reader": migration.min_reader}
        disk.meta = replace(disk.meta, **schemas)
        if not self._read_only:
            disk.write_base(disk.rotate(self._contents.tables))

    def _check_writable(self) -> None:
        if not self._is_ours:
            raise StorageError("The store was opened before this process was forked: reopen it.")
        if self._read_only or self._closed:
            state = "open for reading only" if self._read_only else "closed"
            raise StorageError(f"The store is {state}.")
        self._disk.flush.check()

    def _append(self, changes: Sequence[Change], apply: Callable[[], None]) -> None:
        contents = [change.content for change in changes]
        quick = all(change.quick for change in changes)
        self._disk.append(self._contents.tables, contents, quick, apply)
        self._changed_at = time.monotonic()
        if self._background and self._worker is None:
            self._worker = Worker(self._tick)

    def _apply(self, changes: Sequence[Change]) -> None:
        undo: list[Undo] = []
        try:
            for change in changes:
                undo.append(self._contents.apply(change.operation))
        except BaseException:
            _take_back(undo, 0)
            raise

    def enter(self) -> None:
        """See `changing`."""
        self.lock.acquire()
        try:
            self._check_writable()
        except BaseException:
            self.lock.release()
            raise
        self._held += 1

    def leave(self, is_well: bool) -> None:
        """See `changing`; `is_well`: no error is on its way."""
        self._held -= 1
        is_outermost, number = not self._held, self._disk.sequence
        self.lock.release()
        if is_outermost and is_well:
            self._answer(number)

    def _answer(self, number: int) -> None:
        """Wait for the disk, and see what is due."""
        flush = self._disk.flush
        if not self._is_normal:
            flush.wait(number)
        elif not self._background and time.monotonic() - self._synced_at >= SYNC_EVERY_S:
            flush.wait(number)
            self._synced_at = time.monotonic()
        is_long = self._disk.journal_bytes >= self._threshold_bytes
        if self._worker is not None:
            if is_long or self._worker.sleeps:
                self._worker.wake()
        elif is_long and not self._background:
            self._fold()

    @property
    def _threshold_bytes(self) -> int:
        return self._compact_after_bytes or self._disk.threshold_bytes

    def _tick(self) -> float | None:
        """What the thread does; seconds until it looks again."""
        disk = self._disk
        if disk.flush.error is not None or self._closed:
            return None
        if self._is_normal and disk.flush.is_due:
            with contextlib.suppress(StorageError):  # the next commit tells
                disk.flush.wait(disk.sequence)
        idle_s = time.monotonic() - self._changed_at
        # A base much longer than its journal is not written anew for a commit or two.
        is_idle = idle_s >= IDLE_S and disk.journal_bytes * 16 >= disk.base_bytes
        if is_idle or disk.journal_bytes >= self._threshold_bytes:
            self._fold()
        if disk.is_folded:
            return None
        return SYNC_EVERY_S if self._is_normal else IDLE_S

    def _fold(self) -> None:
        """Compact if there is something to; everything is safe in the journal if that fails."""
        if self._disk.is_folded or self._disk.flush.error is not None:
            return
        try:
            self.compact()
        except StorageError as error:
            self._changed_at = time.monotonic()
            log.warning("The journal could not be folded into %s: %s", self.path, error)


class _Changing:
    """As a class: a generator would cost every commit some microseconds."""

    __slots__ = ("_storage",)

    def __init__(self, storage: JournalStorage):
        self._storage = storage

    def __enter__(self) -> None:
        self._storage.enter()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._storage.leave(kind is None)


def _take_back(undo: list[Undo], mark: int) -> None:
    while len(undo) > mark:
        undo.pop()()
