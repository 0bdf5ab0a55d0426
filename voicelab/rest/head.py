"""HEAD at every route that answers GET: the same headers, and no body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Head"]


class _Answered(OSError):
    """The headers are out: whatever else the route has to say, nobody listens."""


class Head:
    """Pure ASGI. A route that would stream for ever ends at its first part."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        answered = False

        async def bodiless(message: Message) -> None:
            nonlocal answered
            if message["type"] != "http.response.body":
                await send(message)
                return
            answered = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body"):
                raise _Answered

        try:
            await self.app({**scope, "method": "GET"}, receive, bodiless)
        except Exception:
            if not answered:
                raise
