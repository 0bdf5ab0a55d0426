"""Limits of a request: host name, size of headers, size of body."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import Forbidden, HeadersTooLarge, TooLarge
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.security.connection import Connection

__all__ = ["LOOPBACK_HOSTS", "BodyLimit", "HeaderLimit", "HostGuard"]

MAX_HEADER_BYTES, MAX_HEADERS = 32 << 10, 128

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


class HostGuard:
    """Refuses requests with another Host header than the server's, against DNS rebinding.

    Args:
        app: the ASGI application that is guarded.
        hosts: allowed host names, without ports.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]):
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            connection = Connection(scope)
            name = (
                urlsplit(f"//{connection.header('host')}").hostname if connection.has_host else None
            )
            if name not in self._hosts:
                raise Forbidden("This server does not answer to that host name.")
        await self.app(scope, receive, send)


class HeaderLimit:
    """Refuses requests whose path, query and headers exceed MAX_HEADER_BYTES or MAX_HEADERS."""

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
    """Refuses bodies larger than the limit, also when Content-Length says otherwise.

    Args:
        app: the ASGI application that reads the body.
        max_bytes: size of the largest body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int):
        super().__init__(app)
        self._max_bytes = max_bytes

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._error()
        count = 0

        async def receive_counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._max_bytes:
                raise self._error()
            return message

        async def send_within_limit(message: Message) -> None:
            # FastAPI answers any error while it reads a body with 400; TooLarge is 413.
            if count <= self._max_bytes:
                await send(message)

        await self.app(scope, receive_counted, send_within_limit)
        if count > self._max_bytes:
            raise self._error()

    def _error(self) -> TooLarge:
        return TooLarge(f"At most {self._max_bytes >> 20} MiB may be sent.")
