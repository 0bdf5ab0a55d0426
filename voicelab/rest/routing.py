"""Routes that validate requests strictly: UTF-8, complete forms, JSON depth, unknown parameters.

Every router of this room is a `Router`. Fields and parameters that a route does not know are
listed in X-Warnings. DELETE refuses them, since a misspelt filter would delete everything.
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
from voicelab.rest.forms import body_check, is_text
from voicelab.rest.warnings import HEADER, unknown_fields, warning_header

__all__ = ["MAX_DEPTH", "BODY_NOT_USED", "Router", "resource"]

MAX_DEPTH = 32
"""Deepest nesting of lists and objects in a JSON body; the routes here need five levels."""

BODY_NOT_USED = "This route takes no body; what was sent in one is not used."

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Router(APIRouter):
    """An APIRouter whose routes validate strictly."""

    def __init__(self, **options: Any):
        super().__init__(route_class=_StrictRoute, **options)


def resource(name: str, lab: VoiceLab, *groups: Callable[[Router, VoiceLab], None]) -> Router:
    """A router with the routes of one resource, in the order in which they are matched.

    Args:
        name: tag of the routes in /docs.
        lab: passed to each group.
        *groups: functions that add routes to the router.
    """
    routes = Router(tags=[name])
    for add in groups:
        add(routes, lab)
    return routes


class _StrictRoute(APIRoute):
    """A route that checks query and body against what its endpoint declares."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        known = set(_parameters(self.dependant))
        fields = _body_fields(self.dependant)

        async def strict(request: Request) -> Response:
            warnings = _check_query(request, known)
            if request.method == "DELETE" and self.body_field is None and _has_body(request):
                raise InvalidInput("This route takes no body, so nothing was deleted.")
            strict_request = _StrictRequest(request.scope, request.receive)
            response = await handler(strict_request)
            if _has_body(request) and not strict_request.is_read:
                warnings += (BODY_NOT_USED,)
            if fields:
                warnings += unknown_fields(
                    name for name in strict_request.sent() if name not in fields
                )
            if warnings:
                earlier = json.loads(response.headers.get(HEADER, "[]"))
                response.headers.update(warning_header([*earlier, *warnings]))
            return response

        return strict


def _parameters(dependant: Dependant) -> Iterator[str]:
    """Names of the query parameters of a route and its dependencies."""
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _parameters(inner)


def _body_fields(dependant: Dependant) -> frozenset[str]:
    """Names of the fields of a route's body; empty when the route reads its body itself."""
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


def _check_query(request: Request, known: set[str]) -> tuple[str, ...]:
    """A warning for query parameters that the route does not have.

    Raises:
        InvalidInput: the query is not UTF-8, or the method is DELETE.
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
    """Whether there is a body of more than two bytes; some clients send `{}` with every request."""
    length = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or (length.isdigit() and int(length) > 2)


class _StrictRequest(Request):
    """A request whose body is validated while it is read.

    Errors are HTTPExceptions: FastAPI replaces any other exception by one generic message.
    """

    is_read = False
    """Whether the endpoint has read the body."""

    def sent(self) -> Iterable[str]:
        """Names of the fields of the body, if it was read."""
        if self._form is not None:
            return self._form.keys()
        strict_request = getattr(self, "_strict", None)
        given = strict_request.items() if isinstance(strict_request, dict) else ()
        return (name for name, value in given if value is not None)

    async def json(self) -> Any:
        """The parsed body.

        UTF-8, no NaN, no lone surrogates, at most MAX_DEPTH levels, no duplicate keys.
        """
        if not hasattr(self, "_strict"):
            content = await self.body() or b"null"
            self._strict = orjson.loads(content)
            if not _is_within_depth(self._strict, MAX_DEPTH):
                raise HTTPException(422, f"The body is nested deeper than {MAX_DEPTH} levels.")
            _check_keys(content)
        return self._strict

    async def stream(self) -> AsyncIterator[bytes]:
        """The parts of the body; a form is checked while it is read."""
        self.is_read = True
        check = body_check(self.headers.get("content-type", ""))
        async for part in super().stream():
            check.feed(part)
            yield part
        check.end()


def _check_keys(content: bytes) -> None:
    """Refuse an object with a duplicate key, of which JSON readers take either value.

    Raises:
        HTTPException: a key occurs twice.
    """

    def check_pairs(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise HTTPException(422, f"The body has the key {key[:40]!r} twice.")
            seen.add(key)

    # Integers as floats: Python refuses to parse integers of thousands of digits.
    json.loads(content, object_pairs_hook=check_pairs, parse_int=float)


def _is_within_depth(value: Any, depth: int) -> bool:
    if not isinstance(value, list | dict):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_within_depth(each, depth - 1) for each in inner)
