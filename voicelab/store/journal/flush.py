"""Group commit: one sync of the journal for all waiting commits."""

from __future__ import annotations

import os
import threading

from voicelab.errors import StorageError, StoreLost
from voicelab.store.journal.held_files import HeldFiles
from voicelab.store.journal.system import System

__all__ = ["Flush", "SyncFailed", "synced"]


class SyncFailed(OSError):
    """A failed sync, after which it is unknown what is on the disk."""


def synced(system: System, descriptor: int) -> None:
    """Sync a file outside of the group commit; raises SyncFailed."""
    try:
        system.sync(descriptor)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


WAIT_TIMEOUT_S = 1.0
"""Seconds after which a waiting thread checks again, in case the syncing thread has ended."""


class Flush:
    """Tracks which commits are on the disk, and syncs for the threads that wait for theirs.

    Args:
        system: makes the calls.
        durable: number of the last commit known to be on the disk.
        held_files: checked before a commit is acknowledged.
    """

    def __init__(self, system: System, durable: int, held_files: HeldFiles):
        self.durable = durable
        self.error: StorageError | None = None
        """Why nothing can be written any more: a sync failed or a file is missing; else None."""
        self._system, self._held_files = system, held_files
        self._condition = threading.Condition()
        self.written = durable
        """Number of the last commit that was written."""
        self._descriptor = -1
        self._is_syncing = False

    @property
    def is_due(self) -> bool:
        """Whether something is written but not synced."""
        return self.written > self.durable

    def begin(self, descriptor: int) -> None:
        """Sync this file from now on; everything written before is on the disk."""
        self._descriptor = descriptor

    def end(self) -> None:
        """Wait for a running sync, then fail all waiting threads; called before the file closes."""
        with self._condition:
            while self._is_syncing:
                self._condition.wait(WAIT_TIMEOUT_S)
            self.error = self.error or StorageError("The store is closed.")
            self._condition.notify_all()

    def wait(self, number: int) -> None:
        """Wait until a commit is on the disk; the first waiting thread syncs for all.

        Raises:
            StorageError: a sync failed, now or before; it is never tried again.
        """
        if self.durable >= number:
            return
        is_syncing = False
        try:
            with self._condition:
                self._await_other_sync(number)
                if self.durable >= number:
                    return
                self.check()
                # The number first: what is written after it may be in the sync, or not.
                written, descriptor = self.written, self._descriptor
                self._is_syncing = is_syncing = True
            self._sync(descriptor)
            # After the sync: a process that opens the folder from now on reads what was synced.
            self.check_held()
            self.durable = written
        finally:
            if is_syncing:  # first, in case of another Ctrl+C
                self._is_syncing = False
                with self._condition:
                    self._condition.notify_all()

    def check(self) -> None:
        """Raise StorageError (StoreLost) when nothing can be written any more."""
        if self.error is not None:
            raise type(self.error)(self.error.message)

    def check_held(self) -> None:
        """As `check`, and verify that the files are still those that the store opened."""
        self.check()
        if name := self._held_files.first_lost():
            self.error = StoreLost(
                f"{name} in the data folder was removed or replaced while the app was running: "
                "nothing more is saved. Stop the app, put the folder right and start again."
            )
            self.check()

    def stop(self, what: str, error: OSError) -> None:
        """Refuse all later writes, because the state of the disk is unknown."""
        reason = os.strerror(error.errno or 0)
        self.error = self.error or StorageError(
            f"{what} failed ({reason}), so what is on the disk is unknown: nothing more is saved. "
            "Check the disk and start again."
        )

    def _await_other_sync(self, number: int) -> None:
        """Wait while another thread syncs a file that may include the commit."""
        while self._is_syncing and self.durable < number:
            self._condition.wait(WAIT_TIMEOUT_S)

    def _sync(self, descriptor: int) -> None:
        try:
            self._system.sync(descriptor)
        except OSError as error:
            self.stop("Syncing the journal (fsync)", error)
            raise StorageError(str(self.error)) from error
