"""CORS for the origins that a setting names, and for no others."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import Forbidden
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.errors import answer
from voicelab.rest.security.visit import Visit

__all__ = ["Cors"]

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
SHOWN = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Retry-After, "
    "WWW-Authenticate, X-Generation-Id, X-Request-Id, X-Seed, X-Sample-Rate, X-Warnings"
)


class Cors(HttpMiddleware):
    """Outermost: errors carry the headers as well.

    Args:
        app: what answers.
        origins: exact origins, in small letters.
    """

    def __init__(self, app: ASGIApp, origins: frozenset[str]):
        super().__init__(app)
        self._origins = origins

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit(scope)
        allowed = visit.origin.lower() in self._origins

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), visit.origin if allowed else None)
            await send(message)

        wanted = visit.header("access-control-request-method")
        if visit.method == "OPTIONS" and visit.origin and wanted:
            await self._preflight(visit, allowed)(scope, receive, marked)
        else:
            await self.app(scope, receive, marked)

    def _preflight(self, visit: Visit, allowed: bool) -> Response:
        if not allowed:
            refusal = Forbidden("Pages of that origin may not ask here (--allow-origins).")
            return answer(refusal, visit.path)
        headers = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Max-Age": "600",
            "Vary": "Access-Control-Request-Headers",
        }
        asked = visit.header("access-control-request-headers")
        if asked:
            headers["Access-Control-Allow-Headers"] = asked
        return Response(status_code=204, headers=headers)

    def _mark(self, headers: MutableHeaders, origin: str | None) -> None:
        if self._origins:
            headers.add_vary_header("Origin")
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
            headers["Access-Control-Expose-Headers"] = SHOWN
