"""Long work for a client that waits for it: in threads of its own, stopped when it hangs up."""

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
    """The threads of some routes; waiting takes would use up the server's worker threads.

    Args:
        settings: how many requests may wait or run at once.
    """

    def __init__(self, settings: Settings):
        self._threads = CapacityLimiter(settings.max_queue + 1)

    async def run(self, work: Callable[[], T], abandon: bool = False) -> T:
        """Call in one of the threads, which goes on alone when it is to be abandoned."""
        return await to_thread.run_sync(work, limiter=self._threads, abandon_on_cancel=abandon)

    async def wait(self, request: Request, work: Callable[[], T], cancel: Callable[[], None]) -> T:
        """What the work gives; `cancel` is to end it soon when the client hangs up."""
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
