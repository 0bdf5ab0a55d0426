"""Resumes takes that a stop or a crash interrupted, in the background at the next start."""

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
"""Seconds between two attempts while the queue is full."""

Record = dict[str, Any]


class Resumption:
    """Resumes interrupted takes one after the other, the oldest first.

    Only one is made at a time, so that new requests are not delayed.

    Args:
        history: of the lab.
        speak: completes a take and returns when done; raises as `VoiceLab.resume`.
    """

    def __init__(self, history: History, speak: Callable[[Record], object]):
        self._history, self._speak = history, speak
        self._tried: set[str] = set()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; later calls have no effect."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="voicelab-resume", daemon=True)
            self._thread.start()

    def notify(self) -> None:
        """Look for interrupted takes again."""
        self._wake.set()

    def stop(self) -> None:
        """Stop the thread and wait for it; the take being resumed must be interrupted before."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                for record in self._history.interrupted():
                    if record["id"] not in self._tried:
                        self._resume(record)
            except Exception:  # the database is unavailable; `notify` tries again
                log.warning("interrupted takes could not be resumed", exc_info=True)
            self._wake.wait()

    def _resume(self, record: Record) -> None:
        while not self._stopping.is_set():
            try:
                log.info("take %s was interrupted: it is made now", record["id"])
                self._speak(record)
            except (EngineUnavailable, Interrupted) as error:
                log.info("take %s: %s", record["id"], error)
            except Unavailable:
                self._stopping.wait(PAUSE_S)
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
