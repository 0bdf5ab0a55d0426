"""Who may ask, from where, and how much."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.security import HTTPBasic
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import Forbidden, TooLarge, Unauthorized
from voicelab.rest.bodies import BodyTimeout
from voicelab.rest.errors import ErrorShield
from voicelab.rest.head import Head
from voicelab.settings import Settings

__all__ = ["Guard", "middleware", "refuse_when_exposed"]

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
POLICY = b"default-src 'self' 'unsafe-inline' data: blob:"
OPEN_PATHS = frozenset(("/health", "/v1/health", "/docs", "/redoc"))
"""Asked by monitors and by browsers, which can send no key."""


class Guard:
    """A dependency of every route: same origin, then a key, a password or Gradio's login.

    Raises:
        Forbidden: a changing request from another site's page.
        Unauthorized: a key or a login is set, and the request has neither.
    """

    def __init__(self, settings: Settings):
        self._key = settings.key()
        self._users = dict(settings.users())

    async def __call__(self, request: Request) -> None:
        _check_origin(request)
        if request.scope["path"] in OPEN_PATHS or not (self._key or self._users):
            return
        if self._has_key(request) or await self._has_password(request) or _logged_in(request):
            return
        raise Unauthorized("This server wants 'Authorization: Bearer <key>', or a login.")

    def _has_key(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode()
        return (
            self._key is not None
            and scheme.lower() == "bearer"
            and secrets.compare_digest(given, self._key.encode())
        )

    async def _has_password(self, request: Request) -> bool:
        if not request.headers.get("authorization", "").lower().startswith("basic "):
            return False
        try:
            given = await HTTPBasic(auto_error=False)(request)
        except Exception as error:  # FastAPI's own HTTPException for broken base64
            raise Unauthorized("The Authorization header cannot be read.") from error
        if given is None:
            return False
        expected = self._users.get(given.username, "")
        same = secrets.compare_digest(given.password.encode(), expected.encode())
        return bool(expected) and same


def refuse_when_exposed(settings: Settings) -> Callable[[], None]:
    """A dependency of destructive routes: without a key or login only this machine may destroy."""

    def refuse() -> None:
        if settings.is_exposed:
            raise Forbidden(
                "Nothing can be deleted while the server is open to everybody: "
                "set VOICELAB_API_KEY or VOICELAB_AUTH."
            )

    return refuse


def _logged_in(request: Request) -> bool:
    """Gradio's login cookie, when our routes stand on Gradio's application."""
    application: Any = request.scope.get("app")
    tokens = getattr(application, "tokens", {})
    cookie_id = getattr(application, "cookie_id", "")
    names = (f"access-token-{cookie_id}", f"access-token-unsecure-{cookie_id}")
    return any(request.cookies.get(name) in tokens for name in names)


def _check_origin(request: Request) -> None:
    origin = request.headers.get("origin")
    if request.method in SAFE_METHODS or origin is None:
        return
    here = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    if urlsplit(origin).netloc not in here:
        raise Forbidden("Another site's page may not change anything here.")


class HostGuard:
    """Refuses foreign Host headers: a page elsewhere cannot reach us by DNS rebinding."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]):
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            if urlsplit(f"//{host}").hostname not in self._hosts:
                raise Forbidden("This server does not answer to that host name.")
        await self.app(scope, receive, send)


class BodyLimit:
    """Counts what a request sends, whatever it says of its length."""

    def __init__(self, app: ASGIApp, max_bytes: int):
        self.app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._error()
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._max_bytes:
                raise self._error()
            return message

        async def unless_over(message: Message) -> None:
            # FastAPI makes a 400 of whatever goes wrong while it reads a body.
            if count <= self._max_bytes:
                await send(message)

        await self.app(scope, counted, unless_over)
        if count > self._max_bytes:
            raise self._error()

    def _error(self) -> TooLarge:
        return TooLarge(f"At most {self._max_bytes >> 20} MiB may be sent.")


class OwnSources:
    """Lets /docs and /redoc load nothing from elsewhere: Redoc asks a host of its makers."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def restricted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
            await send(message)

        documentation = scope["type"] == "http" and scope["path"] in ("/docs", "/redoc")
        await self.app(scope, receive, restricted if documentation else send)


def middleware(settings: Settings, share: bool = False) -> list[Middleware]:
    """For the application that serves: the outermost first.

    Args:
        settings: host, allowed hosts, upload limit.
        share: a public link is made; then the host name is not known beforehand.
    """
    layers = [Middleware(ErrorShield)]
    if settings.is_loopback and not share:
        named = (name.strip() for name in settings.allowed_hosts.split(","))
        hosts = frozenset((*LOOPBACK_HOSTS, settings.host, *(name for name in named if name)))
        layers.append(Middleware(HostGuard, hosts=hosts))
    layers.append(Middleware(OwnSources))
    layers.append(Middleware(Head))
    layers.append(Middleware(BodyLimit, max_bytes=settings.max_upload_mb << 20))
    layers.append(Middleware(BodyTimeout, timeout_s=settings.body_timeout_s))
    return layers
