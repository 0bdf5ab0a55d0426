"""Detects by heartbeats which replicas of the app are alive on shared records.

A heartbeat is an increasing number. Each replica measures the others' pauses by its own clock, so
that clocks may differ; one whose number stays the same for too long counts as ended, and the takes
it was making as failed.
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

__all__ = ["HEARTBEAT_S", "REPLICAS", "Replicas", "TIMEOUT_S"]

log = logging.getLogger(__name__)

REPLICAS = "replicas"
HEARTBEAT_S = 15.0
TIMEOUT_S = 90.0
"""Six heartbeats: a database outage of a minute does not fail any take."""


class Replicas:
    """The replicas of a shared store; does nothing when the store is not shared.

    Args:
        store: of the lab.
        clock: monotonic, in seconds.
        heartbeat_s: seconds between two heartbeats.
        timeout_s: seconds without a heartbeat after which a replica counts as ended.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
        heartbeat_s: float = HEARTBEAT_S,
        timeout_s: float = TIMEOUT_S,
    ):
        self.id = uuid4().hex[:12] if store.shared else None
        """Id of this process; None when the store is not shared."""
        self._store = store
        self._clock = clock
        self._heartbeat_s, self._timeout_s = heartbeat_s, timeout_s
        self._seen: dict[str, tuple[int, float]] = {}
        self._heartbeats = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        if self.id:
            self.send_heartbeat()

    def send_heartbeat(self) -> None:
        """Write a heartbeat, also when other replicas have removed this one."""
        if self.id is None:
            return
        self._heartbeats += 1
        try:
            self._store.patch(REPLICAS, self.id, {"beat": self._heartbeats})
        except NotFound:
            who = {"host": socket.gethostname(), "process": os.getpid(), "created_at": now()}
            self._store.insert(REPLICAS, {"id": self.id, "beat": self._heartbeats, **who})

    def alive(self) -> set[str]:
        """Ids of all replicas that are not known to have ended."""
        if self.id is None:
            return set()
        moment, seen = self._clock(), {}
        for id, count in self._store.values(REPLICAS, ("id", "beat")):
            before, since = self._seen.get(id, (None, moment))
            seen[id] = (count, since if count == before else moment)
        self._seen = seen
        ended = {id for id, (_, since) in seen.items() if moment - since > self._timeout_s} - {
            self.id
        }
        if ended:
            self._store.delete_many(REPLICAS, ended)
        return set(seen) - ended | {self.id}

    def watch(self, recover: Callable[[], None]) -> None:
        """Write heartbeats in a thread, and call `recover` after each, until `leave`."""
        if self.id:
            self._thread = threading.Thread(
                target=self._watch, args=(recover,), name="voicelab-replica", daemon=True
            )
            self._thread.start()

    def leave(self) -> None:
        """Stop the heartbeats, and remove this replica at once."""
        self._stopped.set()
        if self._thread:
            self._thread.join()
        if self.id:
            try:
                self._store.delete(REPLICAS, self.id)
            except Exception:
                log.warning("the other replicas could not be told of the end", exc_info=True)

    def _watch(self, recover: Callable[[], None]) -> None:
        while not self._stopped.wait(self._heartbeat_s):
            try:
                self.send_heartbeat()
                recover()
            except Exception:  # the database is unreachable; the next heartbeat tries again
                log.warning("a heartbeat failed", exc_info=True)
