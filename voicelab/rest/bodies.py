"""A time limit for receiving the body of a request."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import TooSlow
from voicelab.rest.asgi import HttpMiddleware

__all__ = ["BodyTimeout"]

MIN_BYTES_PER_S = 32 * 1024
"""Each so many bytes received extend the limit by a second, for large files over slow lines."""


class BodyTimeout(HttpMiddleware):
    """Refuses requests whose body arrives too slowly; each would occupy a connection and a file.

    Args:
        app: the ASGI application that reads the bodies.
        timeout_s: seconds from the first read of a body to its end, plus one second for each
            MIN_BYTES_PER_S bytes received.
    """

    def __init__(self, app: ASGIApp, timeout_s: float):
        super().__init__(app)
        self._timeout_s = timeout_s

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, self._timeout_s)

        async def send_in_time(message: Message) -> None:
            # FastAPI answers any error while it reads a body with 400; TooSlow is 408.
            if not body.late or body.answered:
                body.answered = True
                await send(message)

        await self.app(scope, body.receive, send_in_time)
        if body.late and not body.answered:
            raise body.error()


class _Body:
    """The body of one request while it is received."""

    def __init__(self, receive: Receive, timeout_s: float):
        self._receive = receive
        self._timeout_s = timeout_s
        self._began: float | None = None
        self._size = 0
        self._ended = False
        self.late = False
        self.answered = False

    async def receive(self) -> Message:
        """The next ASGI message. There is no limit after the end of the body.

        Raises:
            TooSlow: the time is over.
        """
        # After the answer has begun, `receive` is only called to notice a disconnect.
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
        return self._began + self._timeout_s + self._size / MIN_BYTES_PER_S - now

    def error(self) -> TooSlow:
        return TooSlow(
            f"The body was not sent within {self._timeout_s:g} s "
            f"({self._size:,} bytes came); send it faster."
        )
