"""Security headers of every response: content types, referrer, frames."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.security.connection import Connection

__all__ = ["Headers"]

OWN_SOURCES = "default-src 'self' 'unsafe-inline' data: blob:"
"""Policy of /docs and /redoc; Redoc would load resources of another host."""

DOCUMENTATION = frozenset(("/docs", "/redoc"))
ACTIVE_TYPES = frozenset(
    (
        *("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml"),
        *("text/javascript", "application/javascript", "text/xsl"),
    )
)
"""Content types in which a browser runs scripts."""

PAGE_PATHS = re.compile(
    r"/|/unlock|/docs(/oauth2-redirect)?|/redoc|/favicon\.ico|/pwa_icon(/\d+)?"
    r"|/monitoring(/.*)?|/gradio_api/runs/?|/(assets|static|svelte|static-offline-docs)/.*"
    r"|/gradio_api/custom_component/.*"
)
"""Paths that may have such types. All others send data, such as uploads."""


class Headers(HttpMiddleware):
    """Adds security headers, and makes data of active content types a download.

    Args:
        app: the ASGI application that responds.
        ancestors: sources of the policy `frame-ancestors`.
    """

    def __init__(self, app: ASGIApp, ancestors: str):
        super().__init__(app)
        self._ancestors = f"frame-ancestors {ancestors}"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = Connection(scope).path

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), path)
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _add_headers(self, headers: MutableHeaders, path: str) -> None:
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault("Referrer-Policy", "same-origin")
        headers.append("Content-Security-Policy", self._ancestors)
        if path in DOCUMENTATION:
            headers.append("Content-Security-Policy", OWN_SOURCES)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ACTIVE_TYPES and PAGE_PATHS.fullmatch(path) is None:
            headers["Content-Type"] = "application/octet-stream"
            if not headers.get("content-disposition", "").startswith("attachment"):
                headers["Content-Disposition"] = "attachment"
