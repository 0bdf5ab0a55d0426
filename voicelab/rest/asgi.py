"""The base class of ASGI middleware that handles HTTP requests only."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["HttpMiddleware"]


class HttpMiddleware:
    """ASGI middleware that passes everything but HTTP requests (websockets, lifespan) on.

    Subclasses implement `handle`.

    Args:
        app: the ASGI application that is wrapped.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.handle(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request, or pass it on to `self.app`."""
        raise NotImplementedError
