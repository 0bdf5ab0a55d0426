"""Those who listen to server-sent events: they wait in threads that no other route needs."""

from __future__ import annotations

from anyio import CapacityLimiter, to_thread

from voicelab.status import Status

__all__ = ["POLL_S", "Listeners"]

POLL_S = 0.5
"""Longest wait: the thread must come back soon when the server stops."""

THREADS = 200
"""With more listeners than these each waits its turn, and hears of a change that much later."""


class Listeners:
    """The listeners of one stream.

    They stay for hours: in the server's worker threads forty of them would stop all other routes.

    Args:
        status: of the lab.
    """

    def __init__(self, status: Status):
        self._status = status
        self._threads = CapacityLimiter(THREADS)

    async def wait(self, version: int) -> None:
        """Until the status is another than `version`, or `POLL_S` are over."""
        await to_thread.run_sync(
            self._status.wait, version, POLL_S, abandon_on_cancel=True, limiter=self._threads
        )
