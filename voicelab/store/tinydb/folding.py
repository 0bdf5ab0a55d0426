"""Schedules syncs and compactions of the journal: in a thread, or within commits."""

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
"""Pause after a failed compaction: each attempt writes until the disk is full."""


@dataclass(frozen=True)
class Timing:
    """When the journal is synced and compacted; see `JournalStorage`.

    Attributes:
        is_normal: sync once a second, not at each commit.
        background: compact in a thread, not within the commit that exceeds the limit.
        compact_after_bytes: journal size limit; None for `Disk.threshold_bytes`.
    """

    is_normal: bool
    background: bool
    compact_after_bytes: int | None


class Folding:
    """Compacts the journal of one storage.

    Args:
        disk, contents: of the storage.
        lock: held while the contents are read or changed.
        timing: see `Timing`.
    """

    def __init__(self, disk: Disk, contents: Contents, lock: threading.RLock, timing: Timing):
        self._disk, self._contents = disk, contents
        self._lock, self._timing = lock, timing
        self._compacting = threading.Lock()
        self._worker: Worker | None = None
        self._stopped = False
        self._changed_at = self._synced_at = self._next_fold_at = time.monotonic()

    def changed(self) -> None:
        """Note that a commit was written to the journal."""
        self._changed_at = time.monotonic()
        if self._timing.background and self._worker is None:
            self._worker = Worker(self._tick)

    def stop(self) -> None:
        """End the thread; not to be called in a forked child, which has no such thread."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()

    def compact(self, progress: Progress = lambda _: None) -> None:
        """Merge the journal into the base file; raises StorageError."""
        with self._compacting:
            with self._lock:
                self._disk.settle(self._contents.tables)
                rotation = self._disk.rotate(self._contents.tables)
            self._disk.write_base(rotation, progress)

    def acknowledge(self, number: int) -> None:
        """Wait until a commit is durable, and start a compaction when it is due."""
        flush = self._disk.flush
        if not self._timing.is_normal:
            flush.wait(number)
        elif not self._timing.background and self._until_sync_s <= 0:
            flush.wait(number)
            self._synced_at = time.monotonic()
        is_due = self._disk.journal_bytes >= self._threshold_bytes and self._is_fold_allowed
        if self._worker is not None:
            if is_due or self._worker.is_idle:
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
    def _is_fold_allowed(self) -> bool:
        return time.monotonic() >= self._next_fold_at

    def _tick(self) -> float | None:
        """One call of the thread; returns the seconds until the next."""
        disk = self._disk
        if disk.flush.error is not None or self._stopped:
            return None
        # A commit during a call causes another call at once, but not another sync.
        if self._timing.is_normal and disk.flush.is_due and self._until_sync_s <= 0:
            with contextlib.suppress(StorageError):  # the next commit reports it
                disk.flush.wait(disk.sequence)
            self._synced_at = time.monotonic()
        idle_s = time.monotonic() - self._changed_at
        # A base that is much larger than its journal is not rewritten for a few commits.
        is_idle = idle_s >= IDLE_S and disk.journal_bytes * 16 >= disk.base_bytes
        if (is_idle or disk.journal_bytes >= self._threshold_bytes) and self._is_fold_allowed:
            self.fold()
        if disk.is_folded:
            return None
        if not self._timing.is_normal:
            return IDLE_S
        return self._until_sync_s if self._until_sync_s > 0 else SYNC_EVERY_S

    def fold(self) -> None:
        """Compact if needed; a failure is logged, as the journal has all commits."""
        if self._disk.is_folded or self._disk.flush.error is not None:
            return
        try:
            self.compact()
        except StorageError as error:
            self._next_fold_at = time.monotonic() + RETRY_S
            log.warning("The journal could not be folded into %s: %s", self._disk.path, error)
