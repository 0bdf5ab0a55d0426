"""Wakes the handlers of server-sent events: one timer an event loop, none for each client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from weakref import WeakKeyDictionary

from voicelab.generation import Status

__all__ = ["HEARTBEAT", "Listeners"]

HEARTBEAT, HEARTBEAT_S = b": heartbeat\n\n", 15.0
"""Sent to every client after so many seconds without an event."""

LEAST_S, EACH_S = 0.02, 0.0005
"""Least seconds between two broadcasts: in all cases, and for each listener. Faster changes are
merged, so that two thousand listeners take no more than a part of a core."""


class Listeners:
    """The listeners of one stream, in any number of event loops.

    Nothing is queued: a slow listener misses intermediate states.

    Args:
        status: of the lab.
    """

    def __init__(self, status: Status):
        self._status = status
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Group] = WeakKeyDictionary()

    async def wait(self, version: int) -> bool:
        """Until the status is another than `version`, or HEARTBEAT_S are over; whether it is."""
        loop = asyncio.get_running_loop()
        listeners = self._by_loop.get(loop)
        if listeners is None:
            listeners = self._by_loop[loop] = _Group(self._status)
        await listeners.broadcast(loop, version)
        return self._status.version != version


class _Group:
    """The listeners in one event loop; used in its thread only, but for `on_change`."""

    def __init__(self, status: Status):
        self._status = status
        self._count = 0
        self._turn = asyncio.Event()
        self._last = float("-inf")
        self._planned: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._leave: Callable[[], None] = lambda: None

    async def broadcast(self, loop: asyncio.AbstractEventLoop, version: int) -> None:
        """Until the next broadcast; it comes soon when the status is not `version` any more."""
        self._count += 1
        try:
            if self._count == 1:
                self._open(loop)
            if self._status.version != version:
                self._schedule(loop)
            await self._turn.wait()
        finally:
            self._count -= 1
            if not self._count:
                self._close()

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        def on_change() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed while somebody listened
                loop.call_soon_threadsafe(self._schedule, loop)

        self._beat = loop.call_later(HEARTBEAT_S, self._notify, loop)
        self._leave = self._status.subscribe(on_change)

    def _close(self) -> None:
        self._leave()
        for timer in (self._planned, self._beat):
            if timer is not None:
                timer.cancel()
        self._planned = self._beat = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._planned is None and self._count:
            earliest = self._last + max(LEAST_S, EACH_S * self._count)
            self._planned = loop.call_at(max(loop.time(), earliest), self._notify, loop)

    def _notify(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last, self._planned = loop.time(), None
        if self._beat is not None:
            self._beat.cancel()
        self._beat = loop.call_later(HEARTBEAT_S, self._notify, loop)
        self._turn.set()
        self._turn = asyncio.Event()
