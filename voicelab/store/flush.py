"""Group commit: one sync of the journal for all who wait at the same time."""

from __future__ import annotations

import os
import threading

from voicelab.errors import StorageError
from voicelab.store.system import System

__all__ = ["Flush", "SyncFailed", "synced"]


class SyncFailed(OSError):
    """Of all that can fail, what leaves nobody knowing what is on the disk."""


def synced(system: System, descriptor: int) -> None:
    """Sync a file that nobody knows yet; raises SyncFailed."""
    try:
        system.sync(descriptor)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


class Flush:
    """Which commits are on the disk.

    Args:
        system: that syncs.
        durable: number of the last commit known to be there.
    """

    def __init__(self, system: System, durable: int = 0):
        self.durable = durable
        self.error: str | None = None
        """Why nothing can be written any more, once a sync has failed."""
        self._system = system
        self._condition = threading.Condition()
        self._written = durable
        self._descriptor = -1
        self._leads = False

    @property
    def is_due(self) -> bool:
        """Whether something is written but not synced."""
        return self._written > self.durable

    def wrote(self, number: int, descriptor: int) -> None:
        """A commit was written; called in order."""
        self._descriptor = descriptor
        self._written = number

    def wait(self, number: int) -> None:
        """Until that commit is on the disk; the first to come syncs for all.

        Raises:
            StorageError: a sync failed, now or before; it is never tried again.
        """
        if self.durable >= number:
            return
        with self._condition:
            while self._leads and self.durable < number:
                self._condition.wait()
            if self.durable >= number:
                return
            self.check()
            self._leads = True
            # The number first: what is written after it may be in the sync, or not.
            written, descriptor = self._written, self._descriptor
        self._lead(written, descriptor)

    def check(self) -> None:
        """Raise StorageError when a sync has failed."""
        if self.error is not None:
            raise StorageError(self.error)

    def stop(self, what: str, error: OSError) -> None:
        """Let nothing be written any more: nobody knows what is on the disk."""
        reason = os.strerror(error.errno or 0)
        self.error = self.error or (
            f"{what} failed ({reason}), so what is on the disk is unknown: nothing more is saved. "
            "Check the disk and start again."
        )

    def _lead(self, written: int, descriptor: int) -> None:
        done = False
        try:
            self._system.sync(descriptor)
            done = True
        except OSError as error:
            self.stop("Syncing the journal (fsync)", error)
            raise StorageError(str(self.error)) from error
        finally:
            with self._condition:
                self._leads = False
                if done:
                    self.durable = written
                self._condition.notify_all()
