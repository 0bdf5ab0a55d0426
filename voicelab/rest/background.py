"""Worker threads for requests that take long, with cancellation when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from voicelab.settings import Settings

__all__ = ["Background"]

HANG_UP_POLL_S = 0.1

T = TypeVar("T")


class Background:
    """A thread pool of its own for slow routes.

    The server's shared worker threads would be used up by takes that wait for an engine.

    Args:
        settings: `max_queue` + 1 calls may run at once.
    """

    def __init__(self, settings: Settings):
        self._threads = CapacityLimiter(settings.max_queue + 1)

    async def run(self, work: Callable[[], T], abandon: bool = False) -> T:
        """Call `work` in one of the threads and return its result.

        Args:
            work: the function to call.
            abandon: if the calling task is cancelled, return at once; the thread finishes by
                itself.
        """
        return await to_thread.run_sync(work, limiter=self._threads, abandon_on_cancel=abandon)

    async def wait(self, request: Request, work: Callable[[], T], cancel: Callable[[], None]) -> T:
        """The result of `work`, called in one of the threads.

        Args:
            request: checked every HANG_UP_POLL_S seconds for a client that has disconnected.
            work: the function to call.
            cancel: called when the client disconnects; it must make `work` end soon.
        """
        running = asyncio.ensure_future(self.run(work))
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=HANG_UP_POLL_S)
                if not running.done() and await request.is_disconnected():
                    cancel()
            return await running
        except asyncio.CancelledError:
            cancel()
            raise
