"""The lock that lets one process write a data folder at a time, and names the process."""

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

__all__ = ["NEW_FOLDER", "OWNER", "ProcessLock"]

OWNER = "owner.txt"
"""File with a line about the process that holds the lock, or held it last."""

NEW_FOLDER = ", which began it"
"""End of that line until the folder has its first records."""


class ProcessLock:
    """Lock of a data folder, acquired by the constructor and held until `release`.

    Args:
        folder: created when missing.

    Attributes:
        path: the lock file.

    Raises:
        StoreLocked: another process holds the lock; the message names it.
        StorageError: the folder cannot be created or written.
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
            self._write_owner(NEW_FOLDER if _is_new(folder) else "")
        except Timeout as error:
            raise StoreLocked(
                f"The data folder {folder} is in use by {_owner_text(owner)}. Stop it, or choose "
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
        """False in a forked child of the process that acquired the lock."""
        return self._pid == os.getpid()

    def mark_used(self) -> None:
        """Record in OWNER that the folder has records, so that it no longer counts as new."""
        with contextlib.suppress(OSError):  # the next start says it
            if _owner_text(self._owner).endswith(NEW_FOLDER):
                self._write_owner("")

    def release(self) -> None:
        """Release the lock; does nothing in a forked child."""
        if self.is_ours:
            self._lock.release()

    def _write_owner(self, state: str) -> None:
        try:
            self._owner.write_text(_owner_line() + state, encoding="utf-8")
        except OSError as error:
            if error.errno not in (
                errno.ENOSPC,
                errno.EDQUOT,
            ):  # a full disk must be opened, too, to free space
                raise


def _is_new(folder: Path) -> bool:
    """Whether no process has recorded that the folder has records."""
    return not (folder / OWNER).exists() or _owner_text(folder / OWNER).endswith(NEW_FOLDER)


def _owner_line() -> str:
    # Options without their values: those may be keys and passwords.
    options = [word.partition("=")[0] for word in sys.argv[1:] if word.startswith("-")]
    command = " ".join([Path(sys.argv[0] or "python").name, *options])
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()} since {since} ({command})"


def _owner_text(owner: Path) -> str:
    with contextlib.suppress(OSError):
        return owner.read_text(encoding="utf-8") or "another process"
    return "another process"
