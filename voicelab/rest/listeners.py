"""Notification of server-sent event streams: one timer per event loop instead of one per client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from weakref import WeakKeyDictionary

from voicelab.generation import Status

__all__ = ["HEARTBEAT", "Listeners"]

HEARTBEAT, HEARTBEAT_S = b": heartbeat\n\n", 15.0
"""Comment sent to every client after HEARTBEAT_S seconds without an event."""

MIN_INTERVAL_S, INTERVAL_PER_LISTENER_S = 0.02, 0.0005
"""Minimum seconds between two broadcasts: a constant, and a share for each client. Changes in
between are merged, so that two thousand clients use only a part of one core."""


class Listeners:
    """The clients of one stream, in any number of event loops.

    Nothing is queued: a slow client misses intermediate states.

    Args:
        status: of the lab.
    """

    def __init__(self, status: Status):
        self._status = status
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopListeners] = (
            WeakKeyDictionary()
        )

    async def wait(self, version: int) -> bool:
        """Wait until the status has another version than `version`, or HEARTBEAT_S are over.

        Returns:
            Whether the version is another.
        """
        loop = asyncio.get_running_loop()
        listeners = self._by_loop.get(loop)
        if listeners is None:
            listeners = self._by_loop[loop] = _LoopListeners(self._status)
        await listeners.broadcast(loop, version)
        return self._status.version != version


class _LoopListeners:
    """The clients in one event loop. Used in its thread only, except for `on_change`."""

    def __init__(self, status: Status):
        self._status = status
        self._count = 0
        self._broadcast_event = asyncio.Event()
        self._last = float("-inf")
        self._broadcast_timer: asyncio.TimerHandle | None = None
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    async def broadcast(self, loop: asyncio.AbstractEventLoop, version: int) -> None:
        """Wait for the next broadcast; it is scheduled at once when the version has changed."""
        self._count += 1
        try:
            if self._count == 1:
                self._open(loop)
            if self._status.version != version:
                self._schedule(loop)
            await self._broadcast_event.wait()
        finally:
            self._count -= 1
            if not self._count:
                self._close()

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        def on_change() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed while somebody listened
                loop.call_soon_threadsafe(self._schedule, loop)

        self._heartbeat_timer = loop.call_later(HEARTBEAT_S, self._notify, loop)
        self._unsubscribe = self._status.subscribe(on_change)

    def _close(self) -> None:
        self._unsubscribe()
        for timer in (self._broadcast_timer, self._heartbeat_timer):
            if timer is not None:
                timer.cancel()
        self._broadcast_timer = self._heartbeat_timer = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._broadcast_timer is None and self._count:
            earliest = self._last + max(MIN_INTERVAL_S, INTERVAL_PER_LISTENER_S * self._count)
            self._broadcast_timer = loop.call_at(max(loop.time(), earliest), self._notify, loop)

    def _notify(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last, self._broadcast_timer = loop.time(), None
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
        self._heartbeat_timer = loop.call_later(HEARTBEAT_S, self._notify, loop)
        self._broadcast_event.set()
        self._broadcast_event = asyncio.Event()
