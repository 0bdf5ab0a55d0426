"""CORS headers for the origins of the setting `allow_origins`."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import Forbidden
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.errors import error_response
from voicelab.rest.security.connection import Connection

__all__ = ["Cors"]

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSED_HEADERS = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Retry-After, "
    "WWW-Authenticate, X-Generation-Id, X-Request-Id, X-Seed, X-Sample-Rate, X-Warnings"
)


class Cors(HttpMiddleware):
    """ASGI middleware for CORS. It is the outermost, so that error responses have the headers, too.

    Args:
        app: the ASGI application that responds.
        origins: allowed origins in lower case.
    """

    def __init__(self, app: ASGIApp, origins: frozenset[str]):
        super().__init__(app)
        self._origins = origins

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope)
        allowed = connection.origin.lower() in self._origins

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(
                    MutableHeaders(scope=message), connection.origin if allowed else None
                )
            await send(message)

        requested_method = connection.header("access-control-request-method")
        if connection.method == "OPTIONS" and connection.origin and requested_method:
            await self._preflight(connection, allowed)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _preflight(self, connection: Connection, allowed: bool) -> Response:
        if not allowed:
            error = Forbidden("Pages of that origin may not ask here (--allow-origins).")
            return error_response(error, connection.path)
        headers = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Max-Age": "600",
            "Vary": "Access-Control-Request-Headers",
        }
        requested_headers = connection.header("access-control-request-headers")
        if requested_headers:
            headers["Access-Control-Allow-Headers"] = requested_headers
        return Response(status_code=204, headers=headers)

    def _add_headers(self, headers: MutableHeaders, origin: str | None) -> None:
        if self._origins:
            headers.add_vary_header("Origin")
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
            headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
