"""When the journal is synced and folded into the base file: in a thread, or within commits."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass

from voicelab.errors import StorageError
from voicelab.store.journal.compaction import Progress, Worker
from voicelab.store.journal.contents import Contents
from voicelab.store.journal.disk import Disk

__all__ = ["Folding", "Timing"]

log = logging.getLogger(__name__)

IDLE_S, SYNC_EVERY_S = 60.0, 1.0

RETRY_S = 60.0
"""A fold that failed is not tried again sooner: each try writes until the disk is full."""


@dataclass(frozen=True)
class Timing:
    """See `JournalStorage` for these.

    Attributes:
        is_normal: synced once a second, not at each commit.
        background: in a thread, not within the commit that makes the journal too long.
        compact_after_bytes: length of the journal that is too long; when None the disk says.
    """

    is_normal: bool
    background: bool
    compact_after_bytes: int | None


class Folding:
    """Folds the journal of one storage.

    Args:
        disk, contents: of the storage.
        lock: held while the contents are written out or changed.
        timing: when.
    """

    def __init__(self, disk: Disk, contents: Contents, lock: threading.RLock, timing: Timing):
        self._disk, self._contents = disk, contents
        self._lock, self._timing = lock, timing
        self._compacting = threading.Lock()
        self._worker: Worker | None = None
        self._stopped = False
        self._changed_at = self._synced_at = self._fold_from = time.monotonic()

    def changed(self) -> None:
        """Something was written to the journal."""
        self._changed_at = time.monotonic()
        if self._timing.background and self._worker is None:
            self._worker = Worker(self._tick)

    def stop(self) -> None:
        """End the thread; after a fork it is the parent's alone, so only the parent calls this."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()

    def compact(self, progress: Progress = lambda _: None) -> None:
        """Fold the journal into the base file; raises StorageError."""
        with self._compacting:
            with self._lock:
                self._disk.settle(self._contents.tables)
                rotation = self._disk.rotate(self._contents.tables)
            self._disk.write_base(rotation, progress)

    def answer(self, number: int) -> None:
        """Wait for the disk, and see what is due."""
        flush = self._disk.flush
        if not self._timing.is_normal:
            flush.wait(number)
        elif not self._timing.background and self._until_sync_s <= 0:
            flush.wait(number)
            self._synced_at = time.monotonic()
        is_due = self._disk.journal_bytes >= self._threshold_bytes and self._may_fold
        if self._worker is not None:
            if is_due or self._worker.sleeps:
                self._worker.wake()
        elif is_due and not self._timing.background:
            self.fold()

    @property
    def _until_sync_s(self) -> float:
        return self._synced_at + SYNC_EVERY_S - time.monotonic()

    @property
    def _threshold_bytes(self) -> int:
        return self._timing.compact_after_bytes or self._disk.threshold_bytes

    @property
    def _may_fold(self) -> bool:
        return time.monotonic() >= self._fold_from

    def _tick(self) -> float | None:
        """What the thread does; seconds until it looks again."""
        disk = self._disk
        if disk.flush.error is not None or self._stopped:
            return None
        # A commit made during a look causes another at once: not another sync, too.
        if self._timing.is_normal and disk.flush.is_due and self._until_sync_s <= 0:
            with contextlib.suppress(StorageError):  # the next commit tells
                disk.flush.wait(disk.sequence)
            self._synced_at = time.monotonic()
        idle_s = time.monotonic() - self._changed_at
        # A base much longer than its journal is not written anew for a commit or two.
        is_idle = idle_s >= IDLE_S and disk.journal_bytes * 16 >= disk.base_bytes
        if (is_idle or disk.journal_bytes >= self._threshold_bytes) and self._may_fold:
            self.fold()
        if disk.is_folded:
            return None
        if not self._timing.is_normal:
            return IDLE_S
        return self._until_sync_s if self._until_sync_s > 0 else SYNC_EVERY_S

    def fold(self) -> None:
        """Compact if there is something to; everything is safe in the journal if that fails."""
        if self._disk.is_folded or self._disk.flush.error is not None:
            return
        try:
            self.compact()
        except StorageError as error:
            self._fold_from = time.monotonic() + RETRY_S
            log.warning("The journal could not be folded into %s: %s", self._disk.path, error)
