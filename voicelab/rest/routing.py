"""Routes that read requests strictly: UTF-8, whole forms, flat JSON, and no parameter unknown.

Every router of ours is a `Router`. What a route is sent and does not know is told in X-Warnings,
or refused where it destroys: a misspelt filter must not delete everything.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, get_args
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from starlette.exceptions import HTTPException
from starlette.responses import Response

from voicelab.errors import InvalidInput
from voicelab.lab import VoiceLab
from voicelab.rest.forms import check_of, is_text
from voicelab.rest.warnings import HEADER, unknown_fields, warning_header

__all__ = ["MAX_DEPTH", "UNREAD", "Router", "resource"]

MAX_DEPTH = 32
"""Lists and objects within each other in a body of JSON; ours need five."""

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
        fields = _body_fields(self.dependant)

        async def strict(request: Request) -> Response:
            warnings = _unknown(request, known)
            if request.method == "DELETE" and self.body_field is None and _has_body(request):
                raise InvalidInput("This route takes no body, so nothing was deleted.")
            read = _Request(request.scope, request.receive)
            response = await handler(read)
            if _has_body(request) and not read.is_read:
                warnings += (UNREAD,)
            if fields:
                warnings += unknown_fields(name for name in read.sent() if name not in fields)
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


def _body_fields(dependant: Dependant) -> frozenset[str]:
    """Names in the body that a route takes; none when it reads its body by hand."""
    params = dependant.body_params
    kind = params[0].field_info.annotation if len(params) == 1 else None
    kinds = (kind, *get_args(kind))  # a body that may be left out is `Model | None`
    model = next(
        (each for each in kinds if inspect.isclass(each) and issubclass(each, BaseModel)), None
    )
    if model is None:
        return frozenset(param.alias for param in params)
    return frozenset(
        str(choice) for name, field in model.model_fields.items() for choice in _names(name, field)
    )


def _names(name: str, field: FieldInfo) -> Sequence[Any]:
    alias = field.validation_alias
    return alias.choices if isinstance(alias, AliasChoices) else (alias or name,)


def _unknown(request: Request, known: set[str]) -> tuple[str, ...]:
    """The warning for parameters of the query that the route has not.

    Raises:
        InvalidInput: they are not UTF-8, or the route deletes.
    """
    query = request.scope["query_string"]
    if not query:
        return ()
    if not is_text(unquote_to_bytes(query)):
        raise InvalidInput("The query is not UTF-8.", param="query")
    names = (name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown and request.method == "DELETE":
        raise InvalidInput(
            f"There is no parameter {unknown[0][:40]!r}; "
            f"there are: {', '.join(sorted(known)) or 'none'}.",
            param=unknown[0][:40],
        )
    return unknown_fields(unknown)


def _has_body(request: Request) -> bool:
    """More than the `{}` that some clients send with everything."""
    length = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or (length.isdigit() and int(length) > 2)


class _Request(Request):
    """A request whose body is read strictly.

    What is wrong is an HTTPException: FastAPI makes one sentence of all other errors that come up
    while it reads a body.
    """

    is_read = False
    """Whether anything asked for the body."""

    def sent(self) -> Iterable[str]:
        """Names of the fields of the body, as far as it was read."""
        if self._form is not None:
            return self._form.keys()
        read = getattr(self, "_strict", None)
        given = read.items() if isinstance(read, dict) else ()
        return (name for name, value in given if value is not None)

    async def json(self) -> Any:
        """The body. UTF-8 alone, no NaN, no half surrogate pairs, no deep nesting, no key twice."""
        if not hasattr(self, "_strict"):
            content = await self.body() or b"null"
            self._strict = orjson.loads(content)
            if not _is_flat(self._strict, MAX_DEPTH):
                raise HTTPException(422, f"The body is nested deeper than {MAX_DEPTH} levels.")
            _check_keys(content)
        return self._strict

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes; a form is looked through on the way."""
        self.is_read = True
        check = check_of(self.headers.get("content-type", ""))
        async for part in super().stream():
            check.feed(part)
            yield part
        check.end()


def _check_keys(content: bytes) -> None:
    """Refuse an object with a key twice: orjson takes the last, other readers the first.

    Raises:
        HTTPException.
    """

    def once(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise HTTPException(422, f"The body has the key {key[:40]!r} twice.")
            seen.add(key)

    # As floats: whole numbers of thousands of digits are an error of Python's.
    json.loads(content, object_pairs_hook=once, parse_int=float)


def _is_flat(value: Any, depth: int) -> bool:
    if not isinstance(value, list | dict):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_flat(each, depth - 1) for each in inner)
