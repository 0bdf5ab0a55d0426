"""Routes that read requests strictly: UTF-8, whole forms, flat JSON, and no parameter unknown.

Every router of ours is a `Router`. What a route is sent and does not know is told in X-Warnings,
or refused where it destroys: a misspelt filter must not delete everything.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.responses import Response

from voicelab.errors import InvalidInput
from voicelab.lab import VoiceLab
from voicelab.rest.warnings import HEADER, unknown_fields, warning_header

__all__ = ["MAX_DEPTH", "MAX_PARTS", "UNREAD", "Router", "resource"]

MAX_DEPTH = 32
"""Lists and objects within each other in a body of JSON; ours need five."""

MAX_PARTS = 100
MAX_PART_HEADER_BYTES = 4096
MAX_FORM_BYTES = 1 << 20
"""Of a form that is not multipart, which holds no file."""

UNREAD = "This route takes no body; what was sent in one is not used."

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Router(APIRouter):
    """An APIRouter of strict routes."""

    def __init__(self, **options: Any):
        super().__init__(route_class=_Route, **options)


def resource(name: str, lab: VoiceLab, *groups: Callable[[Router, VoiceLab], None]) -> Router:
    """The routes of a resource, in the order in which they are tried.

    Args:
        name: as /docs calls it.
        lab: behind the routes.
        groups: each adds some.
    """
    routes = Router(tags=[name])
    for add in groups:
        add(routes, lab)
    return routes


class _Route(APIRoute):
    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        known = set(_parameters(self.dependant))

        async def strict(request: Request) -> Response:
            warnings = _unknown(request, known)
            if request.method == "DELETE" and self.body_field is None and _has_body(request):
                raise InvalidInput("This route takes no body, so nothing was deleted.")
            read = _Request(request.scope, request.receive)
            response = await handler(read)
            if _has_body(request) and not read.is_read:
                warnings += (UNREAD,)
            if warnings:
                said = json.loads(response.headers.get(HEADER, "[]"))
                response.headers.update(warning_header([*said, *warnings]))
            return response

        return strict


def _parameters(dependant: Dependant) -> Iterator[str]:
    """Names in the query that a route and its dependencies take."""
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _parameters(inner)


def _unknown(request: Request, known: set[str]) -> tuple[str, ...]:
    """The warning for parameters of the query that the route has not.

    Raises:
        InvalidInput: they are not UTF-8, or the route deletes.
    """
    query = request.scope["query_string"]
    if not query:
        return ()
    if not _is_text(unquote_to_bytes(query)):
        raise InvalidInput("The query is not UTF-8.", param="query")
    names = (name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown and request.method == "DELETE":
        raise InvalidInput(
            f"There is no parameter {unknown[0][:40]!r}; there are: {', '.join(sorted(known))}.",
            param=unknown[0][:40],
        )
    return unknown_fields(unknown)


def _has_body(request: Request) -> bool:
    """More than the `{}` that some clients send with everything."""
    length = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or (length.isdigit() and int(length) > 2)


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Request(Request):
    """A request whose body is read strictly.

    What is wrong is an HTTPException: FastAPI makes one sentence of all other errors that come up
    while it reads a body.
    """

    is_read = False
    """Whether anything asked for the body."""

    async def json(self) -> Any:
        """The body. UTF-8 alone, no NaN, no half surrogate pairs, no deep nesting."""
        if not hasattr(self, "_strict"):
            self._strict = orjson.loads(await self.body() or b"null")
            if not _is_flat(self._strict, MAX_DEPTH):
                raise HTTPException(422, f"The body is nested deeper than {MAX_DEPTH} levels.")
        return self._strict

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes; a form is looked through on the way."""
        self.is_read = True
        check = _check_of(self.headers.get("content-type", ""))
        async for part in super().stream():
            check.feed(part)
            yield part
        check.end()


def _is_flat(value: Any, depth: int) -> bool:
    if not isinstance(value, list | dict):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_flat(each, depth - 1) for each in inner)


class _Check:
    """Anything may come."""

    def feed(self, part: bytes) -> None:
        """Look at what came."""

    def end(self) -> None:
        """Look at the whole; raises HTTPException."""


def _check_of(content_type: str) -> _Check:
    kind, options = parse_options_header(content_type)
    if kind == b"application/x-www-form-urlencoded":
        return _Fields()
    if kind != b"multipart/form-data" or b"boundary" not in options:
        return _Check()
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise HTTPException(422, "A form is read as UTF-8 alone.")
    return _Parts(options[b"boundary"])


class _Fields(_Check):
    """name=value&name=value: all UTF-8, not too many."""

    def __init__(self) -> None:
        self._content = bytearray()

    def feed(self, part: bytes) -> None:
        self._content += part
        if len(self._content) > MAX_FORM_BYTES:
            raise HTTPException(413, f"A form has at most {MAX_FORM_BYTES >> 10} KiB.")

    def end(self) -> None:
        if self._content.count(b"&") >= MAX_PARTS:
            raise HTTPException(422, f"A form has at most {MAX_PARTS} fields.")
        if not _is_text(unquote_to_bytes(bytes(self._content))):
            raise HTTPException(422, "The form is not UTF-8.")


class _Parts(_Check):
    """Multipart: names and texts are UTF-8, not too many parts, and the last one is there."""

    def __init__(self, boundary: bytes):
        self._count = 0
        self._header_bytes = bytearray()
        self._is_file = self._ended = False
        self._text = codecs.getincrementaldecoder("utf-8")()
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._header,
            "on_header_value": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, part: bytes) -> None:
        try:
            self._parser.write(part)
        except UnicodeDecodeError as error:
            raise HTTPException(422, "A name or a text of the form is not UTF-8.") from error
        except ValueError as error:  # FormParserError is one
            raise HTTPException(400, f"The form cannot be read: {error}") from error

    def end(self) -> None:
        if not self._ended:
            raise HTTPException(400, "The form ends before its last boundary.")

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise HTTPException(422, f"A form has at most {MAX_PARTS} fields.")
        self._header_bytes.clear()
        self._text.reset()

    def _header(self, content: bytes, start: int, end: int) -> None:
        self._header_bytes += content[start:end]
        if len(self._header_bytes) > MAX_PART_HEADER_BYTES:
            limit = f"{MAX_PART_HEADER_BYTES >> 10} KiB"
            raise HTTPException(422, f"The headers of a field have at most {limit}.")

    def _headers(self) -> None:
        self._header_bytes.decode()
        self._is_file = b"filename" in self._header_bytes.lower()

    def _data(self, content: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._text.decode(content[start:end])

    def _part_end(self) -> None:
        if not self._is_file:
            self._text.decode(b"", final=True)

    def _end(self) -> None:
        self._ended = True
