"""All requests: the live ones, the log of finished ones, and totals that outlive the process."""

from __future__ import annotations

import functools
import secrets
import threading
import time
from collections.abc import Callable, Mapping

import orjson

from voicelab.errors import Conflict, NotFound
from voicelab.generation.live import LiveRequest, Snapshot
from voicelab.store import Query, Store

__all__ = ["Status"]

FRESH_S = 0.1
"""How old the durations in `Status.body` may be."""

LOG, TOTALS = "requests", "totals"


class Status:
    """All requests of one lab, from every door. Safe to call from any thread.

    Args:
        store: where the log and the totals are kept.
        log_size: finished requests remembered; the oldest go.
        clock: Unix time in seconds.
    """

    def __init__(self, store: Store, log_size: int = 1000, clock: Callable[[], float] = time.time):
        self.clock = clock
        self.started = clock()
        self._store = store
        self._log_size = log_size
        self._live: dict[str, LiveRequest] = {}
        self._lock = threading.Lock()
        self._listeners: dict[Callable[[], None], None] = {}
        self._version = 0
        self._body = (-1, 0.0, b"")

    def begin(
        self,
        text: str,
        *,
        voice: str = "Default",
        voice_source: str = "default",
        parameters: Mapping[str, float] | None = None,
        source: str = "rest",
        engine: str | None = None,
    ) -> LiveRequest:
        """Start to track a request."""
        facts = {
            "voice": voice,
            "voice_source": voice_source,
            "parameters": dict(parameters or {}),
            "source": source,
            "engine": engine,
        }
        live = LiveRequest(self, secrets.token_hex(4), text, facts)
        with self._lock:
            self._live[live.request_id] = live
        self.changed()
        return live

    def end(self, live: LiveRequest, error: str | None, cancelled: bool) -> None:
        """Move a request from the live ones to the log and the totals; called by `finish`."""
        record = live.snapshot()
        record.pop("is_processing")
        record |= {
            "id": live.request_id,
            "end_time": self.clock(),
            "error_message": error,
            "cancelled": cancelled,
            "generation_id": record.get("generation_id"),
        }
        try:
            self._log(record)
        finally:
            with self._lock:
                self._live.pop(live.request_id, None)
            self.changed()

    def current(self) -> Snapshot:
        """The body of /status: the request that has run longest, or idle."""
        live = self._active()
        body: Snapshot = dict.fromkeys(
            (
                *("status", "is_processing", "request_id", "start_time", "duration_seconds"),
                *("text_length", "text_preview", "voice_source", "parameters", "progress"),
                *("error_message", "memory_usage", "total_requests", "message", "voice"),
            )
        )
        if live:
            body |= live[0].snapshot()
        else:
            body |= {"status": "idle", "is_processing": False, "message": "No active requests"}
        queued = sum(request.queued for request in live)
        return body | {
            "total_requests": self._totals()["total"] + len(live),
            "active_requests": len(live) - queued,
            "queued_requests": queued,
        }

    def progress(self, request_id: str | None = None) -> Snapshot:
        """The body of /status/progress.

        Raises:
            NotFound: `request_id` is not running.
        """
        if request_id is not None:
            live = self._live.get(request_id)
            if live is None:
                raise NotFound(f"No request {request_id[:40]} is running.", param="request_id")
        else:
            live = next(iter(self._active()), None)
        if live is None:
            return {
                "is_processing": False,
                "status": "idle",
                "message": "No active TTS requests",
            }
        body = live.snapshot()
        keys = ("is_processing", "status", "duration_seconds", "text_preview", "request_id")
        return {key: body[key] for key in keys} | body["progress"]

    def body(self) -> bytes:
        """`progress` as JSON, made anew when something has changed or FRESH_S are over."""
        made = self._body
        version, moment = self._version, time.monotonic()
        if made[0] != version or (self._live and moment - made[1] > FRESH_S):
            made = self._body = (version, moment, orjson.dumps(self.progress()))
        return made[2]

    def request(self, request_id: str) -> Snapshot:
        """One request, live or finished; raises NotFound."""
        live = self._live.get(request_id)
        if live is not None:
            return live.snapshot()
        record = self._store.get(LOG, request_id)
        if record is None:
            raise NotFound(f"There is no request {request_id[:40]}.", param="request_id")
        return _public(record)

    def live(self) -> list[Snapshot]:
        """All requests that run or wait, the oldest first."""
        return [request.snapshot() for request in self._active()]

    def is_live(self, request_id: str | None) -> bool:
        """Whether it is running or waiting."""
        return request_id in self._live

    def cancel(self, request_id: str, reason: str = "cancelled") -> None:
        """Stop one, and say why in its record; raises NotFound, or Conflict when it has ended."""
        live = self._live.get(request_id)
        if live is None:
            self.request(request_id)
            raise Conflict(f"Request {request_id} has already ended.")
        live.cancel(reason)

    def stop(self, request_id: str, reason: str) -> None:
        """As `cancel`, and wait until it has ended."""
        ended = threading.Event()

        def look() -> None:
            if not self.is_live(request_id):
                ended.set()

        leave = self.subscribe(look)
        try:
            self.cancel(request_id, reason)
            look()  # it may have ended before anybody listened
            ended.wait()
        finally:
            leave()

    def interrupt(self) -> None:
        """Stop all, because the app ends; they have ended when this comes back."""
        for live in self._active():
            live.interrupt()
        self.changed()

    def statistics(self) -> Snapshot:
        """The body of /status/statistics: all requests ever recorded."""
        totals = self._totals()
        live = self._active()
        ended = totals["completed"] + totals["error"]
        finished = ended + totals["cancelled"]
        queued = sum(request.queued for request in live)
        return {
            "total_requests": finished + len(live),
            "completed_requests": totals["completed"],
            "error_requests": totals["error"],
            "cancelled_requests": totals["cancelled"],
            "active_requests": len(live) - queued,
            "queued_requests": queued,
            "success_rate": round(100 * totals["completed"] / ended, 1) if ended else 0.0,
            "average_duration_seconds": round(totals["duration_s"] / max(1, finished), 3),
            "average_text_length": round(totals["text_length"] / max(1, finished), 1),
            "is_processing": bool(live),
        }

    def history(self, limit: int = 10) -> Snapshot:
        """The body of /status/history, newest first."""
        records, _ = self._store.page(LOG, Query(order="end_time"), limit=limit)
        return {
            "request_history": [_public(record) for record in records],
            "total_records": len(records),
            "limit": limit,
        }

    def clear_history(self) -> int:
        """Forget the finished requests; the totals and the running ones stay."""
        return self._store.delete_many(LOG, [id for (id,) in self._store.values(LOG, ("id",))])

    def changed(self) -> None:
        """Tell those who wait for news."""
        with self._lock:
            self._version += 1
            listeners = tuple(self._listeners)
        for told in listeners:
            told()

    def subscribe(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call `told` at every change, in the thread that makes it, so it must be quick.

        Returns:
            What ends that.
        """
        # An object of its own: the same function may be subscribed twice.
        entry = functools.partial(told)
        with self._lock:
            self._listeners[entry] = None

        def leave() -> None:
            with self._lock:
                self._listeners.pop(entry, None)

        return leave

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    def _active(self) -> list[LiveRequest]:
        with self._lock:
            return list(self._live.values())

    def _totals(self) -> Snapshot:
        empty = {"completed": 0, "error": 0, "cancelled": 0, "duration_s": 0.0, "text_length": 0}
        totals = self._store.get(TOTALS, LOG) or {"id": LOG, **empty}
        return totals | {"total": totals["completed"] + totals["error"] + totals["cancelled"]}

    def _log(self, record: Snapshot) -> None:
        ended = "cancelled" if record["cancelled"] else record["status"]
        with self._store.batch():  # read inside: other replicas count, too
            totals = self._totals()
            totals.pop("total")
            totals[ended] += 1
            totals["duration_s"] += record["duration_seconds"]
            totals["text_length"] += record["text_length"]
            self._store.insert(LOG, record)
            self._store.delete(TOTALS, LOG)
            self._store.insert(TOTALS, totals)
            surplus = self._store.count(LOG) - self._log_size
            if surplus > 0:
                oldest = Query(order="end_time", descending=False)
                old, _ = self._store.page(LOG, oldest, limit=surplus)
                self._store.delete_many(LOG, [record["id"] for record in old])


def _public(record: Snapshot) -> Snapshot:
    return {key: value for key, value in record.items() if key != "id"} | {"is_processing": False}
