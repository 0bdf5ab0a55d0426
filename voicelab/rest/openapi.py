"""What openapi.json says of answers that are no JSON, of errors, and of who may ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from voicelab.audio import FORMATS
from voicelab.rest.schemas import ErrorBody
from voicelab.rest.warnings import HEADER

__all__ = ["SOUNDS", "SPOKEN", "STREAMED", "describe", "files"]

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


SOUNDS = tuple(form.content_type for form in FORMATS.values())
"""Of all formats."""


def files(*media_types: str, description: str = "The file.") -> dict[str, Any]:
    """Arguments of a route whose answer is a file of one of these types, or a stream of text."""
    kinds = dict.fromkeys(kind.partition(";")[0] for kind in media_types)
    content = {kind: {"schema": _sent(kind)} for kind in kinds}
    return {
        "response_class": Response,
        "response_model": None,
        "responses": {200: {"description": description, "content": content}},
    }


def _sent(media_type: str) -> dict[str, str]:
    if media_type == "text/event-stream":
        # No type: readers of the document differ in whether it is of the text or of each event.
        return {"description": "Server-sent events; the data of each is an object in JSON."}
    if media_type.startswith(("text/", "application/jsonl", "application/x-subrip")):
        return {"type": "string"}
    return {"type": "string", "format": "binary"}


SPOKEN = files(
    *SOUNDS,
    "text/event-stream",
    description="The sound in the format that was asked for, or server-sent events with it.",
)
"""Of routes that speak."""

STREAMED = files(
    *(FORMATS[name].content_type for name in ("wav", "pcm")),
    description="The sound from its first sample on.",
)
"""Of routes that stream."""


def describe(application: FastAPI) -> None:
    """Let the openapi.json of an application name every error and every lock."""
    made = application.openapi

    def openapi() -> dict[str, Any]:
        if application.openapi_schema is None:
            _complete(made())
        return application.openapi_schema or {}

    application.openapi = openapi


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schema = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= schema.pop("$defs") | {"ErrorBody": schema}
    components["securitySchemes"] = SCHEMES
    # Without a key or a login nothing is asked for.
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
    """Its errors, and the header that may tell of what was not used."""
    given = operation.get("parameters") or operation.get("requestBody")
    answers = operation["responses"]
    answers.pop("422", None)  # FastAPI's own shape, which is never sent
    for answer in answers.values():
        answer.setdefault("headers", {})[HEADER] = {
            "description": "What of the request is not used: a JSON array of sentences.",
            "schema": {"type": "string"},
        }
    codes = {
        *ALWAYS,
        *(WITH_INPUT if given else ()),
        # A query or a body names things, too.
        *((404,) if given else ()),
        *(CHANGING if method != "get" else ()),
    }
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    for code in sorted(codes):
        answers[str(code)] = {"description": ERRORS[code], "content": body}
