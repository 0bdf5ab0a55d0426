"""HEAD for every route that answers GET: the same headers, and no body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Head"]


class _HeadersSent(OSError):
    """Raised out of a streaming route once the headers of a HEAD request are sent."""


class Head:
    """ASGI middleware that runs a HEAD request as GET and sends its headers only.

    A route that streams without end is stopped at its first part.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        headers_sent = False

        async def send_without_body(message: Message) -> None:
            nonlocal headers_sent
            if message["type"] != "http.response.body":
                await send(message)
                return
            headers_sent = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body"):
                raise _HeadersSent

        try:
            await self.app({**scope, "method": "GET"}, receive, send_without_body)
        except Exception:
            if not headers_sent:
                raise
