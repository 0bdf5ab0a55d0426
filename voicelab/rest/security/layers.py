"""All of the middleware in its order, and how it comes before an application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from voicelab.errors import Unavailable
from voicelab.rest.bodies import BodyTimeout
from voicelab.rest.errors import ErrorShield
from voicelab.rest.head import Head
from voicelab.rest.security.credentials import Credentials
from voicelab.rest.security.files import Files
from voicelab.rest.security.guard import Guard
from voicelab.rest.security.headers import Headers
from voicelab.rest.security.limits import LOOPBACK_HOSTS, BodyLimit, HeaderLimit, HostGuard
from voicelab.rest.security.origins import Cors
from voicelab.rest.security.uploads import Uploads
from voicelab.settings import Settings

__all__ = ["Kept", "middleware", "outermost"]


class Kept(NamedTuple):
    """Where Gradio's files are: its cache, the takes, and which paths it knows as uploads."""

    cache: Path
    takes: Path
    is_upload: Callable[[str], bool]


def middleware(
    settings: Settings, *, share: bool = False, any_host: bool = False, kept: Kept | None = None
) -> list[Middleware]:
    """The outermost first.

    Args:
        settings: access, hosts, upload limit.
        share: a public link is made; then the host name is not known beforehand.
        any_host: whatever host name is asked for will do.
        kept: Gradio's files, when its application is guarded.
    """
    # A public link ends at a proxy of Gradio's on this machine.
    proxy = (settings.trust_proxy or share, settings.trust_proxy)
    origins = settings.origins()
    layers = [
        Middleware(Cors, origins=origins),
        Middleware(Headers, ancestors=settings.frame_ancestors),
        Middleware(ErrorShield),
        Middleware(HeaderLimit),
    ]
    if settings.is_loopback and not (share or any_host):
        named = (name.strip() for name in settings.allowed_hosts.split(","))
        hosts = frozenset((*LOOPBACK_HOSTS, settings.host, *(name for name in named if name)))
        layers.append(Middleware(HostGuard, hosts=hosts))
    layers.append(Middleware(BodyTimeout, timeout_s=settings.body_timeout_s))
    credentials = Credentials(settings.key(), settings.users())
    layers.append(
        Middleware(
            Guard,
            credentials=credentials,
            origins=origins,
            behind_proxy=proxy[0],
            addresses=proxy[1],
        )
    )
    if kept is not None:
        layers.append(Middleware(Files, **kept._asdict(), proxy=proxy))
    layers.append(Middleware(Head))
    layers.append(Middleware(BodyLimit, max_bytes=settings.max_upload_mb << 20))
    if kept is not None:
        layers.append(Middleware(Uploads, proxy=proxy))
    return layers


def outermost(layers: Iterable[Middleware]) -> dict[str, Any]:
    """Arguments for an application, so that nothing stands before the layers.

    Middleware of Gradio's own (CORS, compression) goes before what an application is made with; so
    the whole stack is put within the layers when the application starts, before its first request.
    """
    chosen = list(layers)

    @asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[None]:
        stack = application.build_middleware_stack()
        application.middleware_stack = _wrapped(_Inside.mark(stack), chosen)
        yield

    # Errors end within Starlette's own handler, which would show them: Gradio 6.8 debugs always.
    return {"lifespan": lifespan, "middleware": [Middleware(ErrorShield), Middleware(_Inside)]}


class _Inside:
    """Refuses what did not come through the layers: an application that was never started."""

    MARK = "voicelab.inside"

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and self.MARK not in scope:
            raise Unavailable("The server is not ready.")
        await self.app(scope, receive, send)

    @classmethod
    def mark(cls, app: ASGIApp) -> ASGIApp:
        """The application, told that it is within the layers."""

        async def marked(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, cls.MARK: True}, receive, send)

        return marked


def _wrapped(app: ASGIApp, layers: list[Middleware]) -> ASGIApp:
    for layer in reversed(layers):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app
