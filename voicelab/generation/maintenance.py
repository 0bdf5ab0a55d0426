"""Periodic clean-up: takes by the storage policy, and unused cached chunks."""

from __future__ import annotations

import logging
import threading
import time

from voicelab.generation.cache import ChunkCache
from voicelab.library import Files, Storage

__all__ = ["Maintenance"]

log = logging.getLogger(__name__)

EVERY_S = 600


class Maintenance:
    """A thread that runs the clean-up at the start and then every EVERY_S seconds.

    Args:
        storage, files, cache: of the lab.
    """

    def __init__(self, storage: Storage, files: Files, cache: ChunkCache):
        self._storage, self._files, self._cache = storage, files, cache
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="voicelab-tidy", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it, so that it writes nothing after the lock is released."""
        self._ending.set()
        self._thread.join()

    def run_once(self) -> None:
        """Run one clean-up; errors are logged, not raised."""
        try:
            report = self._storage.tidy(stop=self._ending.is_set)
            self._files.prune()
            if (days := self._storage.policy().max_age_days) is not None:
                self._cache.prune(time.time() - days * 86_400)
        except Exception:
            log.warning("the clean-up failed", exc_info=True)
            return
        for failed in report["not_compressed"] if report else ():
            log.warning("version %s stays a WAV: %s", failed["version_id"], failed["error"])
        if report and (report["deleted"] or report["compressed"]):
            log.info(
                "storage: %d takes deleted, %d made FLAC, %d bytes freed",
                len(report["deleted"]),
                len(report["compressed"]),
                report["freed_bytes"],
            )

    def _run(self) -> None:
        while not self._ending.is_set():
            self.run_once()
            self._ending.wait(EVERY_S)
