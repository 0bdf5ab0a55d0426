"""Fetching of weights in the background, so that other engines speak meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from voicelab.errors import EngineUnavailable, VoicelabError

__all__ = ["Fetches"]


class Fetches:
    """One thread for each engine whose weights are being fetched."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def start(
        self,
        name: str,
        fetch: Callable[[threading.Event], object],
        ended: Callable[[EngineUnavailable | None], None],
    ) -> None:
        """Begin to fetch, unless that is done already.

        Args:
            name: of the engine.
            fetch: called in the thread with the event that ends it.
            ended: called in the thread afterwards, with what went wrong.
        """

        def run() -> None:
            error: EngineUnavailable | None = None
            try:
                fetch(self._stop)
            except EngineUnavailable as fault:
                error = fault
            except Exception as fault:  # of somebody else's module
                reason = str(fault) if isinstance(fault, VoicelabError) else type(fault).__name__
                error = EngineUnavailable(f"its weights cannot be fetched ({reason}).")
            with self._lock:
                del self._threads[name]
            if not self._stop.is_set():
                ended(error)

        with self._lock:
            if name in self._threads or self._stop.is_set():
                return
            # A daemon: a hub that does not answer holds no process up.
            thread = threading.Thread(target=run, name=f"voicelab-fetch-{name}", daemon=True)
            self._threads[name] = thread
            thread.start()

    def running(self, name: str) -> bool:
        """Whether an engine's weights are being fetched."""
        return name in self._threads

    def close(self, timeout_s: float = 2.0) -> None:
        """End all; what was fetched of a file stays, and is used next time."""
        self._stop.set()
        with self._lock:
            threads = list(self._threads.values())
        end = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
