"""TinyDB storage with a write-ahead journal: a crash loses no acknowledged commit."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from tinydb.storages import Storage

from voicelab.errors import Conflict, StorageError, storage_error
from voicelab.store.collector import paused_collector
from voicelab.store.journal.compaction import Progress
from voicelab.store.journal.contents import Contents, Undo, Watcher
from voicelab.store.journal.disk import Disk
from voicelab.store.journal.lock import ProcessLock
from voicelab.store.journal.recovery import Recovered, read_settled, recover
from voicelab.store.journal.reserve import MakeRoom
from voicelab.store.journal.system import System
from voicelab.store.tinydb.change import Change
from voicelab.store.tinydb.folding import Folding, Timing
from voicelab.store.tinydb.migration import Migration
from voicelab.store.tinydb.view import TablesView, difference

__all__ = ["Durability", "JournalStorage", "StorageOptions"]

log = logging.getLogger(__name__)

Durability = Literal["full", "normal"]


class StorageOptions(TypedDict, total=False):
    """Types of the options of `JournalStorage`."""

    system: System | None
    durability: Durability
    read_only: bool
    locked: bool
    background: bool
    compact_after_bytes: int | None
    migration: Migration | None
    anew: bool
    reserve_bytes: int
    make_room: MakeRoom


class JournalStorage(Storage):
    """A TinyDB file with a journal beside it.

    A commit is visible to readers when it is written, and acknowledged when it is on the disk: a
    power failure may remove a commit that readers have seen but that was not acknowledged.

    Args:
        path: the base file, `db.json`; it and its folder are created when missing.
        system: makes the system calls; None for the real ones.
        durability: "full" acknowledges a commit after its sync; "normal" syncs once a second, so
            that a power failure (not a crash of the program) may lose the last second.
        read_only: neither locks nor writes; reads what other processes have written so far.
        locked: False omits the process lock, for simulations.
        background: compact the journal in a thread; False: within the commit over the limit.
        compact_after_bytes: journal size from which it is compacted; None for half of the base
            file's, 4 to 32 MiB.
        migration: the supported schemas.
        reserve_bytes, make_room: see `DiskReserve`.
        anew: create a store without a base file, whatever other files the folder has.

    Attributes:
        findings: messages of the recovery, one sentence each.
        is_edited: whether another program had changed the base file.
        is_new: whether there was no base file.

    Raises:
        StoreLocked: another process uses the folder; the message names it.
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
        anew: bool = False,
        reserve_bytes: int = 0,
        make_room: MakeRoom = lambda: 0,
    ):
        self.path = Path(path).absolute()  # a notebook may change its working directory
        self.lock = threading.RLock()
        self._read_only = read_only
        self._timing = Timing(durability == "normal", background, compact_after_bytes)
        self._reserve_bytes, self._make_room = reserve_bytes, make_room
        self._depth = self._batches = 0
        self._frees = False
        self._pending: list[Change] = []
        self._undo: list[Undo] = []
        self._closed = False
        # A reader never writes, so it needs no lock.
        self._process_lock = ProcessLock(self.path.parent) if locked and not read_only else None
        try:
            self._load(system or System(), migration or Migration(), anew)
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
        """Size of the journal."""
        return self._disk.journal_bytes

    def read(self) -> TablesView | None:
        """All tables, copied when they are accessed; None when there are none."""
        with self.lock:
            return TablesView(self._contents.tables) if self._contents.tables else None

    def write(self, data: Mapping[str, Mapping[Any, Any]]) -> None:
        """Replace the contents by `data`, in one commit of the differences."""
        with self.changing():
            self.commit(difference(self._contents.tables, data))

    def rows(self, table: str) -> dict[str, Any]:
        """Documents of a table by key: the store's own objects, not to be changed."""
        return self._contents.rows(table)

    def has(self, table: str) -> bool:
        """Whether a table exists; it may be empty."""
        return table in self._contents.tables

    def names(self) -> list[str]:
        """Names of all tables."""
        with self.lock:
            return list(self._contents.tables)

    def watch(self, watcher: Watcher) -> None:
        """Set the watcher, which is called for every change, under the lock."""
        self._contents.watcher = watcher

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock; the outermost block ends when its commits are on the disk.

        Raises:
            StorageError: nothing can be written (any more), or the sync failed.
        """
        # A generator costs microseconds more, but Ctrl+C cannot prevent the lock's release.
        self._check_ours()
        with self.lock:
            self._check_writable()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            number = 0 if self._depth else self._disk.sequence
        if number:
            self._folding.acknowledge(number)

    @contextlib.contextmanager
    def batch(self, frees: bool = False) -> Iterator[None]:
        """Make all commits inside one; an error undoes those of its own block.

        Args:
            frees: the batch frees space, so that it may use the reserve of a full disk.
        """
        with self.changing():
            undo_length, before = len(self._undo), self._disk.sequence
            self._batches += 1
            self._frees = self._frees or frees
            try:
                yield
                if self._batches == 1 and self._pending:
                    self._append(self._pending, lambda: None)
            except BaseException:
                if self._disk.sequence == before:  # otherwise it is written already
                    _undo_to(self._undo, undo_length)
                del self._pending[undo_length:]
                raise
            finally:
                self._batches -= 1
                if not self._batches:  # one statement: an interrupt must not separate them
                    self._undo, self._pending, self._frees = [], [], False

    def commit(self, changes: Sequence[Change]) -> None:
        """Write and apply changes, inside `changing`; in a batch they are written at its end.

        Raises:
            StoreFull, StorageError: nothing was changed.
        """
        if not changes:
            return
        # Before the changes are applied: settling writes the present tables to the base.
        self._disk.settle(self._contents.tables)
        if self._batches:
            undo_length = len(self._pending)
            self._pending.extend(changes)
            try:
                self._apply(changes, self._undo)
            except BaseException:
                del self._pending[undo_length:]
                raise
        else:
            self._append(changes, lambda: self._apply(changes, []))

    def compact(self, progress: Progress = lambda _: None) -> None:
        """Merge the journal into the base file now.

        Args:
            progress: called with the number of bytes of each block that was written.

        Raises:
            Conflict: inside a batch.
            StoreFull, StorageError: base file and journal are unchanged.
        """
        self._check_ours()
        with self.lock:
            self._check_unbatched("compacted")
            self._check_writable()
        self._folding.compact(progress)

    def settle(self) -> None:
        """Complete the recovery of a crashed process, see `Disk.settle`; allocate the reserve.

        Raises:
            StoreFull, StorageError: it is repeated at the first commit.
        """
        self._check_ours()
        with self.lock:
            self._check_writable()
            self._disk.settle(self._contents.tables)
            self._disk.reserve.allocate()
        if self._process_lock is not None:
            self._process_lock.mark_used()

    def shortage(self) -> str | None:
        """A message when the disk is full and only deletions are certain to succeed; else None."""
        return self._disk.reserve.shortage()

    def check(self) -> None:
        """Raise StorageError (StoreLost) when nothing can be changed (any more)."""
        self._check_ours()
        self._check_writable()
        self._disk.flush.check_held()

    def close(self) -> None:
        """Compact the journal and release the folder; a second call does nothing.

        Raises:
            Conflict: inside a batch.
        """
        if not self._is_ours or self._read_only:
            self.abandon()
            return
        with self.lock:
            self._check_unbatched("closed")
            if self._closed:
                return
            self._closed = True
        self._folding.stop()
        try:
            self._folding.fold()
            with contextlib.suppress(StorageError):  # the waiting threads get the error
                self._disk.flush.wait(self._disk.sequence)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release the lock and the files without writing anything, as a crash would."""
        self._closed = True
        if self._is_ours:
            self._folding.stop()
            with self.lock:
                self._disk.flush.end()
                self._disk.release()
        else:  # a thread of the parent may have held the lock at the fork
            self._disk.release()
        if self._process_lock is not None:
            self._process_lock.release()

    @property
    def _is_ours(self) -> bool:
        return self._process_lock is None or self._process_lock.is_ours

    def _load(self, system: System, migration: Migration, anew: bool) -> None:
        with paused_collector() as freeze:
            found = self._recover(system, anew)
            self.findings, self.is_edited = tuple(found.findings), found.edited
            self.is_new = found.base_bytes is None
            for finding in self.findings:
                log.warning("%s", finding)
            self._contents = Contents(found.tables)
            lock = self._process_lock.path if self._process_lock else None
            room = (self._reserve_bytes, self._make_room)
            self._disk = Disk(system, self.path, found, migration.new_meta(), lock, *room)
            migration.check(self.path, self._disk.meta, self._read_only)
            if migration.is_due(self._disk.meta):
                self._migrate(migration)
            self._folding = Folding(self._disk, self._contents, self.lock, self._timing)
            freeze(sum(map(len, self._contents.tables.values())))

    def _recover(self, system: System, anew: bool) -> Recovered:
        if self._read_only:
            return read_settled(system, self.path, anew)
        try:
            return recover(system, self.path, anew)
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

    def _check_ours(self) -> None:
        """Raise in a forked child; before the lock, which a thread of the parent may have held."""
        if not self._is_ours:
            raise StorageError("The store was opened before this process was forked: reopen it.")

    def _check_unbatched(self, action: str) -> None:
        if self._depth:
            raise Conflict(f"The store cannot be {action} inside a batch.")

    def _check_writable(self) -> None:
        if self._read_only or self._closed:
            state = "open for reading only" if self._read_only else "closed"
            raise StorageError(f"The store is {state}.")
        self._disk.flush.check()

    def _append(self, changes: Sequence[Change], apply: Callable[[], None]) -> None:
        contents = [change.content for change in changes]
        quick = all(change.quick for change in changes)
        frees = self._frees or all(change.frees for change in changes)
        self._disk.append(contents, quick, apply, frees)
        self._folding.changed()

    def _apply(self, changes: Sequence[Change], undo: list[Undo]) -> None:
        undo_length = len(undo)
        try:
            for change in changes:
                self._contents.apply(change.operation, undo)
        except BaseException:
            _undo_to(undo, undo_length)
            raise


def _undo_to(undo: list[Undo], undo_length: int) -> None:
    while len(undo) > undo_length:
        undo.pop()()
