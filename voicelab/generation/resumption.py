"""Takes that a stop or a crash interrupted, made whole in the background at the next start."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from voicelab.errors import (
    Conflict,
    EngineUnavailable,
    Interrupted,
    NotFound,
    Unavailable,
    VoicelabError,
)
from voicelab.library import History

__all__ = ["Resumption"]

log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""Between two looks for room in a queue that is full."""

Record = dict[str, Any]


class Resumption:
    """One take after the other, the oldest first, so that requests of today find room beside them.

    Args:
        history: of the lab.
        speak: makes a take whole; it comes back when that is done, and raises as `VoiceLab.resume`.
    """

    def __init__(self, history: History, speak: Callable[[Record], object]):
        self._history, self._speak = history, speak
        self._tried: set[str] = set()
        self._news = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; again does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="voicelab-resume", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """There are further ones."""
        self._news.set()

    def end(self) -> None:
        """Begin no further one, and wait for the thread: what it makes must have been stopped."""
        self._ending.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._news.clear()
            try:
                for record in self._history.interrupted():
                    if record["id"] not in self._tried:
                        self._resume(record)
            except Exception:  # the database is away; the next news tries again
                log.warning("interrupted takes could not be resumed", exc_info=True)
            self._news.wait()

    def _resume(self, record: Record) -> None:
        while not self._ending.is_set():
            try:
                log.info("take %s was interrupted: it is made now", record["id"])
                self._speak(record)
            except (EngineUnavailable, Interrupted) as error:
                log.info("take %s: %s", record["id"], error)
            except Unavailable:
                self._ending.wait(PAUSE_S)
                continue
            except (
                Conflict,
                NotFound,
            ) as error:  # another replica makes it, or somebody deleted it
                log.info("take %s is left: %s", record["id"], error)
            except VoicelabError as error:
                log.warning("take %s could not be resumed: %s", record["id"], error)
            self._tried.add(record["id"])
            return
