"""The middleware in its order, and how it is placed before an application."""

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

__all__ = ["GradioFiles", "middleware", "application_arguments"]


class GradioFiles(NamedTuple):
    """Where Gradio's files are.

    Attributes:
        cache: the folder of uploads and generated files.
        takes: the folder of takes.
        is_upload: whether Gradio knows a path as an upload of this process.
    """

    cache: Path
    takes: Path
    is_upload: Callable[[str], bool]


def middleware(
    settings: Settings,
    *,
    share: bool = False,
    any_host: bool = False,
    gradio_files: GradioFiles | None = None,
) -> list[Middleware]:
    """The middleware, the outermost first.

    Args:
        settings: access, hosts, upload limit.
        share: a public link is made, whose host name is not known beforehand.
        any_host: accept every host name.
        gradio_files: Gradio's files, when its application is guarded; else None.
    """
    # Requests to a public link come from Gradio's proxy on this machine.
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
            forwarded_addresses=proxy[1],
        )
    )
    if gradio_files is not None:
        layers.append(Middleware(Files, **gradio_files._asdict(), proxy=proxy))
    layers.append(Middleware(Head))
    layers.append(Middleware(BodyLimit, max_bytes=settings.max_upload_mb << 20))
    if gradio_files is not None:
        layers.append(Middleware(Uploads, proxy=proxy))
    return layers


def application_arguments(layers: Iterable[Middleware]) -> dict[str, Any]:
    """Arguments of an application that place the layers before everything else.

    Gradio adds middleware of its own (CORS, compression) before that of the arguments. So the whole
    stack is wrapped in the layers when the application starts, before its first request.

    Args:
        layers: as `middleware` returns them.
    """
    chosen = list(layers)

    @asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[None]:
        stack = application.build_middleware_stack()
        application.middleware_stack = _wrap(_RequireLayers.mark(stack), chosen)
        yield

    # Starlette's own handler would show tracebacks, as Gradio 6.8 always sets debug.
    return {
        "lifespan": lifespan,
        "middleware": [Middleware(ErrorShield), Middleware(_RequireLayers)],
    }


class _RequireLayers:
    """Refuses requests that did not pass the layers, as when the application was not started."""

    MARK = "voicelab.inside"

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and self.MARK not in scope:
            raise Unavailable("The server is not ready.")
        await self.app(scope, receive, send)

    @classmethod
    def mark(cls, app: ASGIApp) -> ASGIApp:
        """The application, with a mark in the scope of each request that passed the layers."""

        async def passed_layers(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, cls.MARK: True}, receive, send)

        return passed_layers


def _wrap(app: ASGIApp, layers: list[Middleware]) -> ASGIApp:
    for layer in reversed(layers):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app
