"""Responses that send a file in ranges, or an iterator while it is computed."""

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

__all__ = ["AudioFile", "IteratorResponse"]


RANGES = re.compile(r"bytes=[ \t]*(\d*-\d*(?:[ \t]*,[ \t]*\d*-\d*)*)[ \t]*", re.ASCII)
MAX_RANGES = 16


class AudioFile(FileResponse):
    """A file response with byte ranges, read in blocks of 1 MiB, each in a worker thread.

    A Range header that is malformed or asks for more than MAX_RANGES parts is ignored (RFC 9110,
    14.2).
    """

    chunk_size = 1 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = Headers(scope=scope).get("range")
        if header is not None:
            ranges = _ranges(header)
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
    """First and last byte of each range; an empty list when the header is to be ignored."""
    match = RANGES.fullmatch(header) if len(header) < 1000 else None
    if match is None:
        return []
    pairs = [pair.strip().split("-") for pair in match[1].split(",")]
    found = [(int(first) if first else None, int(last) if last else None) for first, last in pairs]
    valid = all(_is_valid_range(first, last) for first, last in found)
    return found if valid and len(found) <= MAX_RANGES else []


def _is_valid_range(first: int | None, last: int | None) -> bool:
    if first is None or last is None:
        return first is not last
    return first <= last


def _range_header(ranges: list[tuple[int | None, int | None]]) -> list[tuple[bytes, bytes]]:
    """The ranges as a Range header; an empty list for no ranges."""
    specs = ("-".join("" if end is None else str(end) for end in each) for each in ranges)
    return [(b"range", f"bytes={','.join(specs)}".encode())] if ranges else []


def _satisfiable(first: int | None, last: int | None, size: int) -> bool:
    return bool(last) and size > 0 if first is None else first < size


class IteratorResponse(StreamingResponse):
    """Sends the parts of an iterator, which is advanced in worker threads and may be slow.

    Byte ranges are not supported: audio that is encoded again need not have the same bytes. A
    client that reads slowly is waited for; nothing is buffered. When a client disconnects the
    iterator is closed, at once while it computes nothing, else after its next part.

    Args:
        background: whose threads advance the iterator.
        parts: non-empty bytes. Checks belong before: an exception can only cut the response off.
        media_type, headers: of the response; a Content-Length in `headers` is sent as it is.
        close: called in a worker thread when the response has ended, whatever the reason.
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
            _iterate_in_background(background, parts),
            media_type=media_type,
            headers={**live, **headers},
        )
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # It may write a record, which must not block the event loop.
            with CancelScope(shield=True):
                await to_thread.run_sync(self._close)


async def _iterate_in_background(
    background: Background, parts: Iterator[bytes]
) -> AsyncIterator[bytes]:
    """The parts; a client that disconnects does not wait for the part being computed."""
    next_part = functools.partial(next, parts, b"")
    while part := await background.run(next_part, abandon=True):
        yield part
