"""Compaction: the journal is merged into a new base file, which replaces the old one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from voicelab.errors import StorageError
from voicelab.store.journal.flush import synced
from voicelab.store.journal.system import System

__all__ = ["Progress", "Worker", "put_in_place", "threshold_bytes"]

Progress = Callable[[int], object]
"""Called with the number of bytes of each block that was written."""

MIN_BYTES, MAX_BYTES = 4 * 2**20, 32 * 2**20


def threshold_bytes(base_bytes: int) -> int:
    """Journal size in bytes from which it is merged into a base file of `base_bytes`."""
    return min(MAX_BYTES, max(MIN_BYTES, base_bytes // 2))


def put_in_place(
    system: System,
    path: Path,
    pieces: Iterable[bytes],
    progress: Progress = lambda _: None,
    ready: Callable[[int], object] = lambda _: None,
) -> int:
    """Write a file atomically: under a temporary name, synced, then renamed; its size in bytes.

    The caller must sync the folder to make the rename durable.

    Args:
        system: makes the calls.
        path: of the file; an existing one is replaced.
        pieces: its content.
        progress: called with the number of bytes of each piece.
        ready: called with the descriptor of the complete file before the rename.

    Raises:
        OSError, or a StorageError of `ready`: an existing file is unchanged.
    """
    temporary = path.with_name(path.name + ".tmp")
    offset = 0
    try:
        descriptor = system.create(temporary)
        try:
            for piece in pieces:
                system.write(descriptor, piece, offset)
                offset += len(piece)
                progress(len(piece))
            synced(system, descriptor)
            ready(descriptor)
        finally:
            system.close(descriptor)
        system.replace(temporary, path)
    except (OSError, StorageError):
        with contextlib.suppress(OSError):
            system.remove(temporary)
        raise
    return offset


class Worker:
    """A thread that calls a function repeatedly.

    Args:
        tick: the function; it returns the seconds until its next call, None to wait for `wake`.
    """

    def __init__(self, tick: Callable[[], float | None]):
        self.is_idle = False
        self._tick = tick
        self._stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="voicelab-store", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Call the function now."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread after the current call."""
        self._stopped = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            # Set before the call: a commit during it must wake the thread again.
            self.is_idle = True
            pause_s = self._tick()
            self.is_idle = pause_s is None
            self._wake.wait(pause_s)
            self._wake.clear()
