"""Group commit: one sync of the journal for all who wait at the same time."""

from __future__ import annotations

import os
import threading

from voicelab.errors import StorageError, StoreLost
from voicelab.store.journal.holding import Holding
from voicelab.store.journal.system import System

__all__ = ["Flush", "SyncFailed", "synced"]


class SyncFailed(OSError):
    """Of all that can fail, what leaves nobody knowing what is on the disk."""


def synced(system: System, descriptor: int) -> None:
    """Sync a file that nobody knows yet; raises SyncFailed."""
    try:
        system.sync(descriptor)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


PATIENCE_S = 1.0
"""Who waits looks up that often, in case the one who was to wake it was interrupted."""


class Flush:
    """Which commits are on the disk.

    Args:
        system: that syncs.
        durable: number of the last commit known to be there.
        holding: the files that must still be there when a commit is answered.
    """

    def __init__(self, system: System, durable: int, holding: Holding):
        self.durable = durable
        self.error: StorageError | None = None
        """Why nothing can be written any more, once a sync has failed or a file is gone."""
        self._system, self._holding = system, holding
        self._condition = threading.Condition()
        self.written = durable
        """Number of the last commit that was written."""
        self._descriptor = -1
        self._leads = False

    @property
    def is_due(self) -> bool:
        """Whether something is written but not synced."""
        return self.written > self.durable

    def begin(self, descriptor: int) -> None:
        """What is written from now on is in that file; all before it is on the disk."""
        self._descriptor = descriptor

    def end(self) -> None:
        """The file is about to be closed: who still waits is refused."""
        with self._condition:
            while self._leads:
                self._condition.wait(PATIENCE_S)
            self.error = self.error or StorageError("The store is closed.")
            self._condition.notify_all()

    def wait(self, number: int) -> None:
        """Until that commit is on the disk; the first to come syncs for all.

        Raises:
            StorageError: a sync failed, now or before; it is never tried again.
        """
        if self.durable >= number:
            return
        leads = False
        try:
            with self._condition:
                self._stand_by(number)
                if self.durable >= number:
                    return
                self.check()
                # The number first: what is written after it may be in the sync, or not.
                written, descriptor = self.written, self._descriptor
                self._leads = leads = True
            self._sync(descriptor)
            # After the sync: who opens the folder anew from here on reads what was synced.
            self.check_held()
            self.durable = written
        finally:
            if leads:  # first of all, should Ctrl+C come again
                self._leads = False
                with self._condition:
                    self._condition.notify_all()

    def check(self) -> None:
        """Raise StorageError (StoreLost) when nothing can be written any more."""
        if self.error is not None:
            raise type(self.error)(self.error.message)

    def check_held(self) -> None:
        """As `check`, after a look whether the files are still those that the store holds."""
        self.check()
        if name := self._holding.lost():
            self.error = StoreLost(
                f"{name} in the data folder was removed or replaced while the app was running: "
                "nothing more is saved. Stop the app, put the folder right and start again."
            )
            self.check()

    def stop(self, what: str, error: OSError) -> None:
        """Let nothing be written any more: nobody knows what is on the disk."""
        reason = os.strerror(error.errno or 0)
        self.error = self.error or StorageError(
            f"{what} failed ({reason}), so what is on the disk is unknown: nothing more is saved. "
            "Check the disk and start again."
        )

    def _stand_by(self, number: int) -> None:
        """Let another sync, as long as it is not for nothing."""
        while self._leads and self.durable < number:
            self._condition.wait(PATIENCE_S)

    def _sync(self, descriptor: int) -> None:
        try:
            self._system.sync(descriptor)
        except OSError as error:
            self.stop("Syncing the journal (fsync)", error)
            raise StorageError(str(self.error)) from error
