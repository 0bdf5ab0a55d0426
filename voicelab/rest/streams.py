"""Answers that are sent while they are made."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from anyio import CancelScope, to_thread
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from voicelab.rest.background import Background

__all__ = ["AudioFile", "MadeResponse"]


RANGES = re.compile(r"bytes=[ \t]*(\d*-\d*(?:[ \t]*,[ \t]*\d*-\d*)*)[ \t]*", re.ASCII)
MAX_RANGES = 16


class AudioFile(FileResponse):
    """A file, or the parts of it that are asked for, in steps of 1 MiB: each goes to a thread.

    A Range header that cannot be read, or wants many parts, is ignored (RFC 9110, 14.2).
    """

    chunk_size = 1 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = Headers(scope=scope).get("range")
        if wanted is not None:
            ranges = _ranges(wanted)
            size = (await to_thread.run_sync(os.stat, self.path)).st_size
            within = [each for each in ranges if _satisfiable(*each, size)]
            if ranges and not within:
                raise HTTPException(
                    416,
                    f"The file has {size:,} bytes, and none of that range.",
                    {"Content-Range": f"bytes */{size}"},
                )
            if within != ranges or not ranges:
                kept = [pair for pair in scope["headers"] if pair[0].lower() != b"range"]
                scope = {**scope, "headers": [*kept, *_range_header(within)]}
        await super().__call__(scope, receive, send)


def _ranges(header: str) -> list[tuple[int | None, int | None]]:
    """First and last byte of each range; nothing when the header is to be ignored."""
    match = RANGES.fullmatch(header) if len(header) < 1000 else None
    if match is None:
        return []
    pairs = [pair.strip().split("-") for pair in match[1].split(",")]
    found = [(int(first) if first else None, int(last) if last else None) for first, last in pairs]
    sound = all(_sound(first, last) for first, last in found)
    return found if sound and len(found) <= MAX_RANGES else []


def _sound(first: int | None, last: int | None) -> bool:
    if first is None or last is None:
        return first is not last
    return first <= last


def _range_header(ranges: list[tuple[int | None, int | None]]) -> list[tuple[bytes, bytes]]:
    """As a header; none for no ranges."""
    told = ("-".join("" if end is None else str(end) for end in each) for each in ranges)
    return [(b"range", f"bytes={','.join(told)}".encode())] if ranges else []


def _satisfiable(first: int | None, last: int | None, size: int) -> bool:
    return bool(last) and size > 0 if first is None else first < size


class MadeResponse(StreamingResponse):
    """Sends what an iterator gives, which may take its time and is asked in other threads.

    It has no ranges: what is encoded anew need not be the same bytes.

    A client that reads slowly is waited for, and nothing piles up. One that hangs up ends the
    iterator: at once when it gives nothing just then, else after its next part.

    Args:
        background: whose threads.
        parts: not empty ones; make all checks before, for an error it raises can only cut the
            answer off.
        media_type, headers: of the answer. Its length is told when they have a Content-Length.
        close: called in a thread at the end, however it came.
    """

    def __init__(
        self,
        background: Background,
        parts: Iterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
        close: Callable[[], None] = lambda: None,
    ):
        live = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Accept-Ranges": "none"}
        super().__init__(
            _sent(background, parts), media_type=media_type, headers={**live, **headers}
        )
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # It may write what became of the work, which the event loop must not wait for.
            with CancelScope(shield=True):
                await to_thread.run_sync(self._close)


async def _sent(background: Background, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Who hangs up waits no longer for the part that is being made."""
    ask = functools.partial(next, parts, b"")
    while part := await background.run(ask, abandon=True):
        yield part
