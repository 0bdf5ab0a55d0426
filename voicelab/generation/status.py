"""Running requests, the log of finished ones, and totals kept across restarts."""

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

MAX_BODY_AGE_S = 0.1
"""Maximum age in seconds of the durations in `Status.body`."""

LOG, TOTALS = "requests", "totals"


class Status:
    """All requests of a lab, from every interface. Thread-safe.

    Args:
        store: for the log and the totals.
        log_size: finished requests kept; older ones are deleted.
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
        """Register a request as running."""
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
        """`progress` as JSON, cached until a change or MAX_BODY_AGE_S."""
        cached = self._body
        version, moment = self._version, time.monotonic()
        if cached[0] != version or (self._live and moment - cached[1] > MAX_BODY_AGE_S):
            cached = self._body = (version, moment, orjson.dumps(self.progress()))
        return cached[2]

    def request(self, request_id: str) -> Snapshot:
        """A request, running or finished; raises NotFound."""
        live = self._live.get(request_id)
        if live is not None:
            return live.snapshot()
        record = self._store.get(LOG, request_id)
        if record is None:
            raise NotFound(f"There is no request {request_id[:40]}.", param="request_id")
        return _public(record)

    def live(self) -> list[Snapshot]:
        """All requests that run or wait, oldest first."""
        return [request.snapshot() for request in self._active()]

    def is_live(self, request_id: str | None) -> bool:
        """Whether a request runs or waits."""
        return request_id in self._live

    def cancel(self, request_id: str, reason: str = "cancelled") -> None:
        """Cancel a request, with a reason for its record; raises NotFound, Conflict."""
        live = self._live.get(request_id)
        if live is None:
            self.request(request_id)
            raise Conflict(f"Request {request_id} has already ended.")
        live.cancel(reason)

    def stop(self, request_id: str, reason: str) -> None:
        """As `cancel`, and wait until it has ended."""
        ended = threading.Event()

        def check() -> None:
            if not self.is_live(request_id):
                ended.set()

        unsubscribe = self.subscribe(check)
        try:
            self.cancel(request_id, reason)
            check()  # it may have ended before the subscription
            ended.wait()
        finally:
            unsubscribe()

    def interrupt(self) -> None:
        """Stop all requests because the app ends; returns when they have ended."""
        for live in self._active():
            live.interrupt()
        self.changed()

    def statistics(self) -> Snapshot:
        """The body of /status/statistics: totals of all requests ever recorded."""
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
        """Delete the log of finished requests; the totals stay. The number deleted."""
        return self._store.delete_many(LOG, [id for (id,) in self._store.values(LOG, ("id",))])

    def changed(self) -> None:
        """Increase the version and call the subscribers."""
        with self._lock:
            self._version += 1
            listeners = tuple(self._listeners)
        for callback in listeners:
            callback()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call a function at every change, in the thread that makes it; it must return quickly.

        Args:
            callback: the function.

        Returns:
            A function that ends the subscription.
        """
        # A new object, since the same function may be subscribed twice.
        entry = functools.partial(callback)
        with self._lock:
            self._listeners[entry] = None

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.pop(entry, None)

        return unsubscribe

    @property
    def version(self) -> int:
        """A number that increases with every change."""
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
        with self._store.batch():  # read within the batch: other replicas write, too
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
