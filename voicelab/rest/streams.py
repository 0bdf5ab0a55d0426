"""Answers that are sent while they are made."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from anyio import CancelScope, to_thread
from fastapi import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from voicelab.rest.desk import Desk

__all__ = ["AudioFile", "MadeResponse", "made"]


class AudioFile(FileResponse):
    """A file in steps of 1 MiB: each step is a trip to another thread."""

    chunk_size = 1 << 20


class MadeResponse(StreamingResponse):
    """Sends what an iterator gives, which may take its time: it is asked in the desk's threads.

    A client that reads slowly is waited for, and nothing piles up. One that hangs up ends the
    iterator: at once when it gives nothing just then, else after its next part.

    Args:
        desk: whose threads.
        parts: not empty ones; make all checks before, for an error it raises can only cut the
            answer off.
        media_type, headers: of the answer. Its length is told when they have a Content-Length.
        close: called in a thread at the end, however it came.
    """

    def __init__(
        self,
        desk: Desk,
        parts: Iterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
        close: Callable[[], None] = lambda: None,
    ):
        live = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Accept-Ranges": "none"}
        super().__init__(_sent(desk, parts), media_type=media_type, headers={**live, **headers})
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # It may write what became of the work, which the event loop must not wait for.
            with CancelScope(shield=True):
                await to_thread.run_sync(self._close)


async def _sent(desk: Desk, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Who hangs up waits no longer for the part that is being made."""
    ask = functools.partial(next, parts, b"")
    while part := await desk.run(ask, abandon=True):
        yield part


def made(
    desk: Desk,
    request: Request,
    parts: Iterator[bytes],
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """What was asked for with GET, as it is made; to HEAD its headers, and nothing is made.

    It has no ranges: what is encoded anew need not be the same bytes.

    Args:
        desk, parts, media_type, headers: as for `MadeResponse`.
        request: of the client.
    """
    if request.method != "HEAD":
        return MadeResponse(desk, parts, media_type, headers)
    answer = Response(media_type=media_type, headers={"Accept-Ranges": "none", **headers})
    del answer.headers["content-length"]  # of the empty body, not of the file
    return answer
