"""The path that is polled by everybody, answered with a body that is ready already."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from voicelab.generation import Status
from voicelab.lab import VoiceLab

__all__ = ["PROGRESS", "polls"]

PROGRESS = ("/status/progress", "/v1/status/progress", "/progress")


def polls(lab: VoiceLab) -> list[BaseRoute]:
    """Routes to stand before all others.

    Args:
        lab: whose status.
    """
    return [_Poll(path, lab.status) for path in PROGRESS]


class _Poll(Route):
    """GET without a query; whatever else is asked there is for the documented route."""

    def __init__(self, path: str, status: Status):
        async def progress(_: Request) -> None:
            """Never called: `handle` answers."""

        super().__init__(path, progress, methods=["GET"], include_in_schema=False)
        self._status = status

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        mine = scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]
        return super().matches(scope) if mine else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._status.body()
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
