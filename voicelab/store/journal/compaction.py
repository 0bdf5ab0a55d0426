"""The journal folded into the base file: written beside it, synced, put in its place."""

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
"""Told the bytes of each piece that was written."""

LEAST_BYTES, MOST_BYTES = 4 * 2**20, 32 * 2**20


def threshold_bytes(base_bytes: int) -> int:
    """Size of the journal at which it is folded into a base of that size."""
    return min(MOST_BYTES, max(LEAST_BYTES, base_bytes // 2))


def put_in_place(
    system: System,
    path: Path,
    pieces: Iterable[bytes],
    progress: Progress = lambda _: None,
    ready: Callable[[int], object] = lambda _: None,
) -> int:
    """A file that is there whole, or not at all; its size in bytes.

    Its bytes are on the disk; its name is once the folder is synced, which the caller does.

    Args:
        system: that writes.
        path: what was there before is replaced.
        pieces: of its content.
        progress: called with the bytes of each piece.
        ready: called with the descriptor of the whole file before it gets its name.

    Raises:
        OSError, or a StorageError of `ready`: what was there before is there still.
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
    """A thread that does what is due, and sleeps in between.

    Args:
        tick: does it; seconds until the next look, None until somebody wakes it.
    """

    def __init__(self, tick: Callable[[], float | None]):
        self.sleeps = False
        self._tick = tick
        self._stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="voicelab-store", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """Finish what is being done, then end."""
        self._stopped = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            # Before the look: whoever commits during it must not find everybody awake.
            self.sleeps = True
            pause_s = self._tick()
            self.sleeps = pause_s is None
            self._wake.wait(pause_s)
            self._wake.clear()
