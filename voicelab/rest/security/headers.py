"""Headers of every answer: what a browser may make of it, and who may show it in a frame."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.security.visit import Visit

__all__ = ["Headers"]

OWN_SOURCES = "default-src 'self' 'unsafe-inline' data: blob:"
"""For /docs and /redoc: Redoc asks a host of its makers."""

DOCUMENTATION = frozenset(("/docs", "/redoc"))
ACTIVE = frozenset(
    (
        *("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml"),
        *("text/javascript", "application/javascript", "text/xsl"),
    )
)
"""Types in which a browser runs scripts."""

PAGES = re.compile(
    r"/|/unlock|/docs(/oauth2-redirect)?|/redoc|/favicon\.ico|/pwa_icon(/\d+)?"
    r"|/monitoring(/.*)?|/gradio_api/runs/?|/(assets|static|svelte|static-offline-docs)/.*"
    r"|/gradio_api/custom_component/.*"
)
"""Where such types are meant. Everywhere else is data, whatever was uploaded or made."""


class Headers(HttpMiddleware):
    """Adds them, and takes the power from active content that came as data.

    Args:
        app: what answers.
        ancestors: sources of the policy `frame-ancestors`.
    """

    def __init__(self, app: ASGIApp, ancestors: str):
        super().__init__(app)
        self._ancestors = f"frame-ancestors {ancestors}"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = Visit(scope).path

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), path)
            await send(message)

        await self.app(scope, receive, marked)

    def _mark(self, headers: MutableHeaders, path: str) -> None:
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault("Referrer-Policy", "same-origin")
        headers.append("Content-Security-Policy", self._ancestors)
        if path in DOCUMENTATION:
            headers.append("Content-Security-Policy", OWN_SOURCES)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ACTIVE and PAGES.fullmatch(path) is None:
            headers["Content-Type"] = "application/octet-stream"
            if not headers.get("content-disposition", "").startswith("attachment"):
                headers["Content-Disposition"] = "attachment"
