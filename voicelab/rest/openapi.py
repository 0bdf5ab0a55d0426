"""Additions to openapi.json: binary responses, errors and authentication."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from voicelab.audio import FORMATS
from voicelab.rest.schemas import ErrorBody
from voicelab.rest.warnings import HEADER

__all__ = ["AUDIO_TYPES", "SPEECH_RESPONSE", "STREAM_RESPONSE", "describe", "files"]

METHODS = ("get", "put", "post", "delete", "patch", "head")
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic"},
}
ERRORS = {
    400: "A path, a query or a header is wrong, a text too long, or an archive cannot be imported.",
    401: "A key or a login is set, and the request has neither.",
    403: "Not from that site, or not while the server is open to everybody.",
    404: "There is no such thing.",
    408: "The body was sent too slowly.",
    409: "It is in a state that does not allow this.",
    413: "More bytes than the limit.",
    422: "A body is wrong.",
    429: "Too many wrong keys from that address.",
    431: "Address and headers have more bytes than the limit.",
    500: "The server or the engine failed.",
    503: "Not now: starting, closing, queue full, or the records are gone.",
    507: "There is no room on the disk.",
}
ALWAYS = (401, 403, 429, 431, 500, 503)
WITH_INPUT = (400, 422)
CHANGING = (408, 409, 413, 507)


AUDIO_TYPES = tuple(form.content_type for form in FORMATS.values())
"""Content types of all audio formats."""


def files(*media_types: str, description: str = "The file.") -> dict[str, Any]:
    """Arguments of a route that answers with a file or an event stream.

    Args:
        *media_types: content types that the route may answer with.
        description: of the response in openapi.json.
    """
    kinds = dict.fromkeys(kind.partition(";")[0] for kind in media_types)
    content = {kind: {"schema": _content_schema(kind)} for kind in kinds}
    return {
        "response_class": Response,
        "response_model": None,
        "responses": {200: {"description": description, "content": content}},
    }


def _content_schema(media_type: str) -> dict[str, str]:
    if media_type == "text/event-stream":
        # No type: readers of the document differ in whether it is of the text or of each event.
        return {"description": "Server-sent events; the data of each is an object in JSON."}
    if media_type.startswith(("text/", "application/jsonl", "application/x-subrip")):
        return {"type": "string"}
    return {"type": "string", "format": "binary"}


SPEECH_RESPONSE = files(
    *AUDIO_TYPES,
    "text/event-stream",
    description="The sound in the format that was asked for, or server-sent events with it.",
)
"""Arguments of routes that speak a text."""

STREAM_RESPONSE = files(
    *(FORMATS[name].content_type for name in ("wav", "pcm")),
    description="The sound from its first sample on.",
)
"""Arguments of routes that stream speech while it is made."""


def describe(application: FastAPI) -> None:
    """Make the openapi.json of an application list every error and every way to authenticate."""
    default_openapi = application.openapi

    def openapi() -> dict[str, Any]:
        if application.openapi_schema is None:
            _complete(default_openapi())
        return application.openapi_schema or {}

    application.openapi = openapi


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schema = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= schema.pop("$defs") | {"ErrorBody": schema}
    components["securitySchemes"] = SCHEMES
    # The empty entry: a server without key and login needs no authentication.
    document["security"] = [{}, *({name: []} for name in SCHEMES)]
    for method, operation in _operations(document):
        _declare(method, operation)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in document["paths"].values():
        for method in METHODS:
            if method in item:
                yield method, item[method]


def _declare(method: str, operation: dict[str, Any]) -> None:
    """Add an operation's errors, and the header that lists what was not used."""
    has_input = operation.get("parameters") or operation.get("requestBody")
    answers = operation["responses"]
    answers.pop("422", None)  # FastAPI's own shape, which is never sent
    for answer in answers.values():
        answer.setdefault("headers", {})[HEADER] = {
            "description": "What of the request is not used: a JSON array of sentences.",
            "schema": {"type": "string"},
        }
    codes = {
        *ALWAYS,
        *(WITH_INPUT if has_input else ()),
        # A query or a body may name a missing resource, too.
        *((404,) if has_input else ()),
        *(CHANGING if method != "get" else ()),
    }
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    for code in sorted(codes):
        answers[str(code)] = {"description": ERRORS[code], "content": body}
