"""One process writes a data folder at a time, and says who it is."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from voicelab.errors import StorageError, StoreLocked

__all__ = ["BEGUN", "OWNER", "ProcessLock"]

OWNER = "owner.txt"
"""Who has the folder, or had it last."""

BEGUN = ", which began it"
"""Ends what the owner says of itself until the folder has its first records."""


class ProcessLock:
    """Held from construction to `release`.

    Args:
        folder: made when missing.

    Attributes:
        path: the file that is locked.

    Raises:
        StoreLocked: another process has it; the message names it.
        StorageError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path):
        self._pid = os.getpid()
        self._owner = owner = folder / OWNER
        self.path = folder / "db.lock"
        # Whoever closes the store need not be the thread that opened it.
        self._lock = FileLock(self.path, thread_local=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._introduce(BEGUN if _is_new(folder) else "")
        except Timeout as error:
            raise StoreLocked(
                f"The data folder {folder} is in use by {_told(owner)}. Stop it, or choose "
                "another --data-dir."
            ) from error
        except OSError as error:
            self._lock.release()
            raise StorageError(
                f"The data folder {folder} cannot be used: {error.strerror}. "
                "Choose another with --data-dir."
            ) from error

    @property
    def is_ours(self) -> bool:
        """False in a process that was forked off the one that holds it."""
        return self._pid == os.getpid()

    def settled(self) -> None:
        """Say that there are records now: a folder without them is not a new one any more."""
        with contextlib.suppress(OSError):  # the next start says it
            if _told(self._owner).endswith(BEGUN):
                self._introduce("")

    def release(self) -> None:
        """Give the folder free; a forked process leaves that to its parent."""
        if self.is_ours:
            self._lock.release()

    def _introduce(self, state: str) -> None:
        try:
            self._owner.write_text(_introduction() + state, encoding="utf-8")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # to make room it must be opened
                raise


def _is_new(folder: Path) -> bool:
    """Whether nobody is known to have had records here."""
    return not (folder / OWNER).exists() or _told(folder / OWNER).endswith(BEGUN)


def _introduction() -> str:
    # Options without their values: those may be keys and passwords.
    options = [word.partition("=")[0] for word in sys.argv[1:] if word.startswith("-")]
    command = " ".join([Path(sys.argv[0] or "python").name, *options])
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()} since {since} ({command})"


def _told(owner: Path) -> str:
    with contextlib.suppress(OSError):
        return owner.read_text(encoding="utf-8") or "another process"
    return "another process"
