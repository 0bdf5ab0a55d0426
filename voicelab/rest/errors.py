"""The JSON body of errors, {"error": {message, type, code, param}}, and their HTTP statuses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from voicelab import errors
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.json import Json

__all__ = ["ErrorShield", "error_body", "error_response", "exception_handlers", "status_code"]

log = logging.getLogger(__name__)

STATUS: Mapping[type[errors.VoicelabError], int] = MappingProxyType(
    {
        errors.TextTooLong: 400,
        errors.NoText: 400,
        errors.BadArchive: 400,
        errors.Protected: 400,
        errors.InvalidInput: 422,
        errors.Unauthorized: 401,
        errors.Forbidden: 403,
        errors.NotFound: 404,
        errors.Conflict: 409,
        errors.Cancelled: 409,
        errors.TooSlow: 408,
        errors.HeadersTooLarge: 431,
        errors.TooLarge: 413,
        errors.TooManyAttempts: 429,
        errors.Unavailable: 503,
        errors.StoreFull: 507,
        errors.StoreLost: 503,
        errors.VoicelabError: 500,
    }
)

STUDIO_PATHS = (
    *("/history", "/generate", "/generations", "/audio", "/effects", "/profiles", "/samples"),
    *("/stories", "/models/status", "/tasks", "/settings"),
)
"""Routes of the voice studio, whose clients read the message at `detail`."""

GRADIO_PATHS = (
    *("/login", "/logout", "/config", "/static", "/assets", "/svelte", "/favicon.ico"),
    *(
        "/theme.css",
        "/robots.txt",
        "/manifest.json",
        "/monitoring",
        "/gradio_api",
        "/custom_component",
    ),
)


def status_code(error: errors.VoicelabError) -> int:
    """The HTTP status of an error: that of the nearest class in STATUS."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_body(error: errors.VoicelabError, path: str = "") -> dict[str, Any]:
    """The JSON body of an error.

    Args:
        error: what went wrong.
        path: of the request; routes of the voice studio have the message at `detail` as well.
    """
    body = {"message": error.message, "type": error.type, "code": error.code, "param": error.param}
    return _with_detail({"error": body}, path)


def _with_detail(body: dict[str, Any], path: str) -> dict[str, Any]:
    studio = any(path == prefix or path.startswith(f"{prefix}/") for prefix in STUDIO_PATHS)
    return body | {"detail": body["error"]["message"]} if studio else body


def error_response(error: errors.VoicelabError, path: str = "") -> Response:
    """The response for an error: body, status and headers.

    Args:
        error: what went wrong.
        path: of the request, as in `error_body`.
    """
    return Json(error_body(error, path), status_code(error), headers=_headers(error))


def _headers(error: errors.VoicelabError) -> dict[str, str]:
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": error.challenge}
    if isinstance(error, errors.TooManyAttempts):
        return {"Retry-After": str(error.retry_after_s)}
    # Close the connection instead of reading the rest of a slow body.
    return {"Connection": "close"} if isinstance(error, errors.TooSlow) else {}


def exception_handlers() -> dict[Any, Callable[..., Any]]:
    """Exception class -> handler, for FastAPI's application and for Gradio's."""
    return {
        errors.VoicelabError: _handle_voicelab_error,
        RequestValidationError: _handle_validation_error,
        HTTPException: _handle_http_error,
    }


async def _handle_voicelab_error(request: Request, error: errors.VoicelabError) -> Response:
    return error_response(error, request.scope["path"])


async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = str(first.get("ctx", {}).get("error", ""))[:80]
        unreadable = errors.InvalidInput(f"The body is not JSON: {reason}.")
        return Json(error_body(unreadable, request.scope["path"]), 422)
    where = [str(part) for part in first["loc"]]
    name = ".".join(where[1:]) or where[0]
    message = "send a file" if "Expected UploadFile" in first["msg"] else first["msg"]
    given = first.get("input")
    if isinstance(given, int | float | str | bool):
        message += f"; it was '{str(given)[:60]}'"
    prefix = errors.InvalidInput(f"{name[:80]}: {message}.", param=name[:80])
    # As documented: a wrong query or path is 400, a wrong body 422.
    code = 422 if where[0] == "body" else 400
    return Json(error_body(prefix, request.scope["path"]), code)


async def _handle_http_error(request: Request, error: HTTPException) -> Response:
    path = request.scope["path"]
    kinds = {404: "not_found", 405: "method_not_allowed", 401: "authentication_error"}
    sentences = {
        404: f"There is nothing at {path[:80]}.",
        405: f"{request.method} is not allowed at {path[:80]}.",
    }
    message = sentences.get(error.status_code, str(error.detail))
    kind = kinds.get(error.status_code, "invalid_request_error")
    body: dict[str, Any] = {
        "error": {"message": message, "type": kind, "code": None, "param": None}
    }
    if path == "/" or path.startswith(GRADIO_PATHS):
        body["detail"] = error.detail  # Gradio's page and client read it as Gradio wrote it
    else:
        body = _with_detail(body, path)
    return Json(body, error.status_code, headers=error.headers)


class ErrorShield(HttpMiddleware):
    """ASGI middleware that turns every exception into an error response without a traceback.

    An exception handler is not enough: Gradio 6.8 runs FastAPI in debug mode.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except errors.VoicelabError as error:
            if not started:
                await error_response(error, scope["path"])(scope, receive, send)
        except ClientDisconnect:
            log.debug("the client of %s hung up before its body's end", scope["path"])
        except Exception as error:
            if started and isinstance(error.__cause__, HTTPException):
                # Gradio's stream of events has told its client; FastAPI had it answered again.
                log.info("the events of %s ended: %s", scope["path"], error.__cause__.detail)
                await send({"type": "http.response.body", "body": b""})
                return
            log.exception("unexpected error at %s", scope["path"])
            if not started:
                failure = errors.VoicelabError("Something went wrong on the server; see its log.")
                await error_response(failure, scope["path"])(scope, receive, send)
