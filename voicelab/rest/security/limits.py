"""Which host names are ours, and how much a request may send."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import Forbidden, HeadersTooLarge, TooLarge
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.security.visit import Visit

__all__ = ["LOOPBACK_HOSTS", "BodyLimit", "HeaderLimit", "HostGuard"]

MAX_HEADER_BYTES, MAX_HEADERS = 32 << 10, 128

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


class HostGuard:
    """Refuses foreign Host headers: a page elsewhere cannot reach us by DNS rebinding."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]):
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            visit = Visit(scope)
            name = urlsplit(f"//{visit.header('host')}").hostname if visit.has_host else None
            if name not in self._hosts:
                raise Forbidden("This server does not answer to that host name.")
        await self.app(scope, receive, send)


class HeaderLimit:
    """Refuses a request whose address and headers are longer than any client's of ours."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = scope["headers"]
            size = sum(len(name) + len(value) for name, value in headers)
            size += len(scope["path"]) + len(scope["query_string"])
            if size > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
                raise HeadersTooLarge(
                    f"Address and headers have at most {MAX_HEADER_BYTES >> 10} KiB "
                    f"and {MAX_HEADERS} headers."
                )
        await self.app(scope, receive, send)


class BodyLimit(HttpMiddleware):
    """Counts what a request sends, whatever it says of its length."""

    def __init__(self, app: ASGIApp, max_bytes: int):
        super().__init__(app)
        self._max_bytes = max_bytes

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._error()
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._max_bytes:
                raise self._error()
            return message

        async def unless_over(message: Message) -> None:
            # FastAPI makes a 400 of whatever goes wrong while it reads a body.
            if count <= self._max_bytes:
                await send(message)

        await self.app(scope, counted, unless_over)
        if count > self._max_bytes:
            raise self._error()

    def _error(self) -> TooLarge:
        return TooLarge(f"At most {self._max_bytes >> 20} MiB may be sent.")
