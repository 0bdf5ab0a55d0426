"""GET /status/progress, answered from a cached body: the route that every client polls."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from voicelab.generation import Status
from voicelab.lab import VoiceLab

__all__ = ["PROGRESS_PATHS", "progress_routes"]

PROGRESS_PATHS = ("/status/progress", "/v1/status/progress", "/progress")


def progress_routes(lab: VoiceLab) -> list[BaseRoute]:
    """The routes, to be placed before all others.

    Args:
        lab: whose status is sent.
    """
    return [_ProgressRoute(path, lab.status) for path in PROGRESS_PATHS]


class _ProgressRoute(Route):
    """GET without a query. Other requests to the path go to the documented route in `status.py`."""

    def __init__(self, path: str, status: Status):
        async def progress(_: Request) -> None:
            """Never called: `handle` answers."""

        super().__init__(path, progress, methods=["GET"], include_in_schema=False)
        self._status = status

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        is_poll = scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]
        return super().matches(scope) if is_poll else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._status.body()
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
