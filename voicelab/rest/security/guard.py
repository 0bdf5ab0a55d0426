"""Authentication and protection against cross-site requests, for every path."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from voicelab.errors import Forbidden, NotFound, Unauthorized, VoicelabError
from voicelab.rest.security import unlock
from voicelab.rest.security.connection import Connection
from voicelab.rest.security.credentials import Credentials
from voicelab.rest.security.throttle import Throttle

__all__ = ["OPEN_PATHS", "Guard", "is_open"]

OPEN_PATHS = frozenset(
    (
        # Asked by monitors, which have no key.
        *("/health", "/v1/health"),
        # The login page: it looks at keys itself.
        *("/unlock", "/login"),
        # Asked by browsers, some of them without cookies. The same for everybody.
        *("/favicon.ico", "/manifest.json", "/robots.txt"),
        # Gradio asks its own server once, at launch.
        "/gradio_api/startup-events",
    )
)
STATIC_FILES = re.compile(r"/(?:assets|static|svelte)(?:/[A-Za-z0-9_@-][A-Za-z0-9_@.-]*)+")
"""Static files of Gradio's package. No name begins with a dot, so no path leaves the folder."""

ABSENT_ROUTES = ("/gradio_api/proxy=",)
"""Routes of Gradio for embedded Spaces, which this page does not use."""

CONTROL_CHARACTERS = re.compile(
    r"/(gradio_api|assets|static|svelte|static-offline-docs)/.*[\x00-\x1f\x7f]", re.S
)
"""File paths with control characters, which would cause errors in the file system."""

HIDDEN_HEADERS = frozenset((b"origin",))
FORWARDED_HEADERS = frozenset(
    (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-gradio-server")
)
"""Headers that Gradio would trust."""


class Guard:
    """ASGI middleware that passes a request on, or answers or refuses it.

    Paths that are not open need the API key (Bearer or X-API-Key), a login (HTTP Basic) or the
    session cookie. Requests that change something must come from this server's page, from an
    allowed origin, from a client that is no browser, or hold the key in a header, which no other
    site knows.

    Args:
        app: the ASGI application that is guarded.
        credentials: nothing is locked when they are empty.
        origins: other sites whose pages may change something.
        behind_proxy: trust X-Forwarded-Host and -Proto.
        forwarded_addresses: trust X-Forwarded-For, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        origins: frozenset[str],
        behind_proxy: bool,
        forwarded_addresses: bool,
    ):
        self.app = app
        self._credentials = credentials
        self._origins = origins
        self._proxy = (behind_proxy, forwarded_addresses)
        self._throttle = Throttle()
        self._hidden_headers = (
            HIDDEN_HEADERS if behind_proxy else HIDDEN_HEADERS | FORWARDED_HEADERS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = Connection(scope, *self._proxy)
        try:
            response = await self._own_response(connection, receive)
        except VoicelabError:
            if scope["type"] == "http":
                raise
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if response is not None:
            await response(scope, receive, send)
        else:
            await self.app(self._inner_scope(connection), receive, send)

    async def _own_response(self, connection: Connection, receive: Receive) -> Response | None:
        """A response of the guard itself; None to pass the request on. Raises VoicelabError."""
        if not connection.has_host:
            raise Forbidden("This server does not answer to that host name.")
        may_change = (
            not connection.changes
            or connection.is_own
            or connection.origin.lower() in self._origins
        )
        if connection.path in ("/unlock", "/login", "/logout") and self._credentials:
            if not may_change:
                raise _cross_site_error()
            return await unlock.respond(connection, receive, self._credentials, self._throttle)
        if is_open(connection):
            return None
        if not (may_change or self._has_key(connection)):
            raise _cross_site_error()
        if not self._credentials or self._is_authenticated(connection):
            if CONTROL_CHARACTERS.match(connection.path) or connection.path.startswith(
                ABSENT_ROUTES
            ):
                raise NotFound("There is nothing at that address.")
            return None
        if connection.wants_page:
            query = connection.scope.get("query_string", b"").decode("latin-1")
            return _to_unlock_page(
                connection, f"{connection.path}?{query}" if query else connection.path
            )
        raise self._unauthorized(connection)

    def _is_authenticated(self, connection: Connection) -> bool:
        """Whether cookie or headers authenticate; a wrong key or login is counted."""
        return self._credentials.sent_cookie(connection) or self._check_credentials(
            connection, self._credentials.sent_key, self._credentials.sent_login
        )

    def _has_key(self, connection: Connection) -> bool:
        return bool(self._credentials) and self._check_credentials(
            connection, self._credentials.sent_key
        )

    def _check_credentials(self, connection: Connection, *checks: unlock.CredentialCheck) -> bool:
        return unlock.check_attempt(connection, self._throttle, *checks)

    def _unauthorized(self, connection: Connection) -> Unauthorized:
        expected = "'Authorization: Bearer <key>'" if self._credentials.has_key else "HTTP Basic"
        # Basic makes a browser open its own login dialog over the page.
        basic = self._credentials.has_users and not connection.header("sec-fetch-mode")
        return Unauthorized(
            f"This server wants {expected}, or a login at /unlock.",
            challenge='Bearer, Basic realm="voicelab"' if basic else "Bearer",
        )

    def _inner_scope(self, connection: Connection) -> Scope:
        """The ASGI scope for the application, without the headers of `_hidden_headers`.

        Without Origin, Gradio's own CORS allows nobody; without the X-Forwarded headers of
        strangers it writes no foreign host into the page.
        """
        headers = [
            pair for pair in connection.scope["headers"] if pair[0] not in self._hidden_headers
        ]
        scope = {**connection.scope, "headers": headers}
        if self._proxy[0] and connection.secure:
            scope["scheme"] = "https" if scope["type"] == "http" else "wss"
        return scope


def is_open(connection: Connection) -> bool:
    """Whether a request needs no authentication."""
    if connection.method not in ("GET", "HEAD"):
        return False
    return connection.path in OPEN_PATHS or STATIC_FILES.fullmatch(connection.path) is not None


def _cross_site_error() -> Forbidden:
    return Forbidden(
        "Another site's page may not change anything here. Its origin is allowed by "
        "--allow-origins; behind a proxy that changes the host name, start with --trust-proxy."
    )


def _to_unlock_page(connection: Connection, next_path: str) -> Response:
    root = urlsplit(connection.scope.get("root_path", "")).path.rstrip("/")
    return RedirectResponse(f"{root}/unlock?next={quote(next_path, safe='')}", 303)
