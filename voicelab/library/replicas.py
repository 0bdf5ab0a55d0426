"""Which replicas of the app are alive over the same records, told by their heartbeats.

A beat is a number that grows. Each replica times the others by its own clock, so that clocks
may differ; one whose number stood still for too long is gone, and what it was making failed.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from uuid import uuid4

from voicelab.errors import NotFound
from voicelab.records import now
from voicelab.store import Store

__all__ = ["BEAT_S", "DEAD_S", "REPLICAS", "Replicas"]

log = logging.getLogger(__name__)

REPLICAS = "replicas"
BEAT_S = 15.0
DEAD_S = 90.0
"""Six beats: a database that is away for a minute ends no take."""


class Replicas:
    """The replicas of a store that is shared; nobody is told of where it is not.

    Args:
        store: of the lab.
        clock: monotonic, in seconds.
        beat_s: between two beats.
        dead_s: without a beat, after which a replica is gone.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
        beat_s: float = BEAT_S,
        dead_s: float = DEAD_S,
    ):
        self.id = uuid4().hex[:12] if store.shared else None
        """Of this process; None where the store is its own."""
        self._store = store
        self._clock = clock
        self._beat_s, self._dead_s = beat_s, dead_s
        self._seen: dict[str, tuple[int, float]] = {}
        self._beats = 0
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None
        if self.id:
            self.beat()

    def beat(self) -> None:
        """Say that this one is alive, also when the others had given it up."""
        if self.id is None:
            return
        self._beats += 1
        try:
            self._store.patch(REPLICAS, self.id, {"beat": self._beats})
        except NotFound:
            who = {"host": socket.gethostname(), "process": os.getpid(), "created_at": now()}
            self._store.insert(REPLICAS, {"id": self.id, "beat": self._beats, **who})

    def alive(self) -> set[str]:
        """The ids of all that are alive, or not yet known to be gone."""
        if self.id is None:
            return set()
        moment, seen = self._clock(), {}
        for id, beat in self._store.values(REPLICAS, ("id", "beat")):
            before, since = self._seen.get(id, (None, moment))
            seen[id] = (beat, since if beat == before else moment)
        self._seen = seen
        gone = {id for id, (_, since) in seen.items() if moment - since > self._dead_s} - {self.id}
        if gone:
            self._store.delete_many(REPLICAS, gone)
        return set(seen) - gone | {self.id}

    def watch(self, recover: Callable[[], None]) -> None:
        """Beat in the background, and call `recover` after each beat, until `leave`."""
        if self.id:
            self._thread = threading.Thread(
                target=self._watch, args=(recover,), name="voicelab-replica", daemon=True
            )
            self._thread.start()

    def leave(self) -> None:
        """Stop to beat; the others need not wait to know."""
        self._leaving.set()
        if self._thread:
            self._thread.join()
        if self.id:
            try:
                self._store.delete(REPLICAS, self.id)
            except Exception:
                log.warning("the other replicas could not be told of the end", exc_info=True)

    def _watch(self, recover: Callable[[], None]) -> None:
        while not self._leaving.wait(self._beat_s):
            try:
                self.beat()
                recover()
            except Exception:  # the database is away; the next beat tries again
                log.warning("a heartbeat failed", exc_info=True)
