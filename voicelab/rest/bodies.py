"""How long a request may take to send its body."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import TooSlow
from voicelab.rest.asgi import HttpMiddleware

__all__ = ["BodyTimeout"]

LEAST_RATE = 32 * 1024
"""In bytes a second: what was sent gives more time, so that a slow line may send a large file."""


class BodyTimeout(HttpMiddleware):
    """Ends requests whose body trickles in: each holds a connection, and an upload a file.

    Args:
        app: what reads the bodies.
        timeout_s: from the first look at a body to its end, beside a second for each LEAST_RATE.
    """

    def __init__(self, app: ASGIApp, timeout_s: float):
        super().__init__(app)
        self._timeout_s = timeout_s

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, self._timeout_s)

        async def unless_late(message: Message) -> None:
            # FastAPI makes a 400 of whatever goes wrong while it reads a body.
            if not body.late or body.answered:
                body.answered = True
                await send(message)

        await self.app(scope, body.receive, unless_late)
        if body.late and not body.answered:
            raise body.error()


class _Body:
    """The body of one request as it comes."""

    def __init__(self, receive: Receive, timeout_s: float):
        self._receive = receive
        self._timeout_s = timeout_s
        self._began: float | None = None
        self._size = 0
        self._ended = False
        self.late = False
        self.answered = False

    async def receive(self) -> Message:
        """The next message; after the body's end they may take as long as they like.

        Raises:
            TooSlow: the time is over.
        """
        # Who answers before the body's end only listens whether the client has gone.
        if self._ended or self.answered:
            return await self._receive()
        try:
            async with asyncio.timeout(self._left_s()):
                message = await self._receive()
        except TimeoutError:
            self.late = True
            raise self.error() from None
        self._size += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        return message

    def _left_s(self) -> float:
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        return self._began + self._timeout_s + self._size / LEAST_RATE - now

    def error(self) -> TooSlow:
        return TooSlow(
            f"The body was not sent within {self._timeout_s:g} s "
            f"({self._size:,} bytes came); send it faster."
        )
