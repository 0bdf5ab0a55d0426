"""The lock before every path: where a request comes from, and whether it may come in."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from voicelab.errors import Forbidden, NotFound, Unauthorized, VoicelabError
from voicelab.rest.security import unlock
from voicelab.rest.security.credentials import Credentials
from voicelab.rest.security.throttle import Throttle
from voicelab.rest.security.visit import Visit

__all__ = ["OPEN", "Guard", "is_open"]

OPEN = frozenset(
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
STATIC = re.compile(r"/(?:assets|static|svelte)(?:/[A-Za-z0-9_@-][A-Za-z0-9_@.-]*)+")
"""Files of Gradio's package. No dot begins a name, so that no path leads out of the folder."""

NO_ROUTES = ("/gradio_api/proxy=",)
"""Gradio's, for Spaces that are loaded into a page; there are none in ours."""

CONTROL = re.compile(
    r"/(gradio_api|assets|static|svelte|static-offline-docs)/.*[\x00-\x1f\x7f]", re.S
)
"""Addresses of files that no file can have, and that the system refuses with an error."""

HIDDEN = frozenset((b"origin",))
FORWARDED = frozenset(
    (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-gradio-server")
)
"""Headers that Gradio would believe."""


class Guard:
    """Lets a request in, or answers it.

    All that is not open wants the key (Bearer or X-API-Key), a login (HTTP Basic) or the cookie
    that stands for either. What changes something must come from our own page, from an allowed
    origin, from no page at all, or hold the key in a header, which no other page knows.

    Args:
        app: what is guarded.
        credentials: nothing is locked when there are none.
        origins: other sites whose pages may change something.
        behind_proxy: X-Forwarded-Host and -Proto count.
        addresses: X-Forwarded-For counts, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        origins: frozenset[str],
        behind_proxy: bool,
        addresses: bool,
    ):
        self.app = app
        self._credentials = credentials
        self._origins = origins
        self._proxy = (behind_proxy, addresses)
        self._throttle = Throttle()
        self._hidden = HIDDEN if behind_proxy else HIDDEN | FORWARDED

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        visit = Visit(scope, *self._proxy)
        try:
            response = await self._answer(visit, receive)
        except VoicelabError:
            if scope["type"] == "http":
                raise
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if response is not None:
            await response(scope, receive, send)
        else:
            await self.app(self._inner(visit), receive, send)

    async def _answer(self, visit: Visit, receive: Receive) -> Response | None:
        """An answer of our own; None to let the request in."""
        if not visit.has_host:
            raise Forbidden("This server does not answer to that host name.")
        may_change = not visit.changes or visit.is_own or visit.origin.lower() in self._origins
        if visit.path in ("/unlock", "/login", "/logout") and self._credentials:
            if not may_change:
                raise _foreign()
            return await unlock.answer(visit, receive, self._credentials, self._throttle)
        if is_open(visit):
            return None
        if not (may_change or self._has_key(visit)):
            raise _foreign()
        if not self._credentials or self._may_enter(visit):
            if CONTROL.match(visit.path) or visit.path.startswith(NO_ROUTES):
                raise NotFound("There is nothing at that address.")
            return None
        if visit.wants_page:
            here = visit.scope.get("query_string", b"").decode("latin-1")
            return _form(visit, f"{visit.path}?{here}" if here else visit.path)
        raise self._unauthorized(visit)

    def _may_enter(self, visit: Visit) -> bool:
        """By its cookie or its headers; what stands there and is wrong is counted."""
        return self._credentials.sent_cookie(visit) or self._tried(
            visit, self._credentials.sent_key, self._credentials.sent_login
        )

    def _has_key(self, visit: Visit) -> bool:
        return bool(self._credentials) and self._tried(visit, self._credentials.sent_key)

    def _tried(self, visit: Visit, *ways: unlock.Way) -> bool:
        return unlock.tried(visit, self._throttle, *ways)

    def _unauthorized(self, visit: Visit) -> Unauthorized:
        wanted = "'Authorization: Bearer <key>'" if self._credentials.has_key else "HTTP Basic"
        # A browser would open a window of its own over our page.
        basic = self._credentials.has_users and not visit.header("sec-fetch-mode")
        return Unauthorized(
            f"This server wants {wanted}, or a login at /unlock.",
            challenge='Bearer, Basic realm="voicelab"' if basic else "Bearer",
        )

    def _inner(self, visit: Visit) -> Scope:
        """As the application sees it.

        Gradio's own CORS finds no origin and lets nobody in; nor does it put a host into the page
        that no proxy of ours has sent.
        """
        headers = [pair for pair in visit.scope["headers"] if pair[0] not in self._hidden]
        scope = {**visit.scope, "headers": headers}
        if self._proxy[0] and visit.secure:
            scope["scheme"] = "https" if scope["type"] == "http" else "wss"
        return scope


def is_open(visit: Visit) -> bool:
    """Whether everybody may have it: the one table of what is."""
    if visit.method not in ("GET", "HEAD"):
        return False
    return visit.path in OPEN or STATIC.fullmatch(visit.path) is not None


def _foreign() -> Forbidden:
    return Forbidden(
        "Another site's page may not change anything here. Its origin is allowed by "
        "--allow-origins; behind a proxy that changes the host name, start with --trust-proxy."
    )


def _form(visit: Visit, next_path: str) -> Response:
    root = urlsplit(visit.scope.get("root_path", "")).path.rstrip("/")
    return RedirectResponse(f"{root}/unlock?next={quote(next_path, safe='')}", 303)
