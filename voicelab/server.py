"""The Gradio application with page and REST routes."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicelab import ui  # first: it decides how gradio is imported

# isort: split
import gradio as gr
from gradio.route_utils import FnIndexInferError
from gradio.tunneling import CURRENT_TUNNELS
from gradio.utils import get_upload_folder
from pydantic import SecretStr

from voicelab import rest
from voicelab.cli import end_in_order
from voicelab.errors import InvalidInput, NotFound, Unavailable
from voicelab.lab import VoiceLab
from voicelab.library import TAKES
from voicelab.settings import Settings

if TYPE_CHECKING:
    from gradio.mcp import GradioMCPServer

__all__ = ["Lab"]

QUEUE_POLL_S = 0.02
BY_NUMBER = ("/gradio_api/queue/join", "/gradio_api/component_server")

log = logging.getLogger(__name__)

NOTEBOOKS = (
    "http://localhost:* http://127.0.0.1:* vscode-webview: "
    "https://colab.research.google.com https://*.googleusercontent.com"
)
"""Origins of notebooks, which show the page in a frame."""


class Lab(gr.Blocks):
    """The page over a lab, as a `gr.Blocks`; `launch` adds the REST routes.

    Notebooks, Spaces and hot reload expect the interface of `gr.Blocks`.

    Args:
        lab: the lab to serve.
    """

    def __init__(self, lab: VoiceLab):
        self.lab = lab
        super().__init__(title="voicelab", analytics_enabled=False)
        with self:
            ui.build(lab)
        # The scheduler limits concurrency; Gradio's queue would only add delay.
        self.queue(default_concurrency_limit=None)
        # Gradio polls for events a thousand times a second by default: 3 % of a core.
        self._queue.sleep_when_free = QUEUE_POLL_S

    @property
    def mcp_server_obj(self) -> GradioMCPServer | None:
        """Gradio's MCP server, once `launch` has created it."""
        return self._tools

    @mcp_server_obj.setter
    def mcp_server_obj(self, server: GradioMCPServer | None) -> None:
        if server is not None:
            ui.tools.ready(server, self.lab.settings.max_queue)
        self._tools = server

    def launch(self, *args: Any, **arguments: Any) -> Any:
        """As `gradio.Blocks.launch`, with the settings as defaults.

        Args:
            *args: for Gradio.
            **arguments: for Gradio; auth as (name, password) or a list of them.

        Raises:
            Unavailable: the port is in use.
            InvalidInput: auth has another form.
        """
        # Based on `configured`, without the arguments of an earlier launch.
        settings = self.lab.settings = _launch_settings(self.lab.configured, arguments)
        application = rest.build(self.lab)
        layers = rest.middleware(settings, share=settings.share, gradio_files=self._gradio_files())
        defaults = {
            "server_name": settings.host,
            "server_port": settings.port or _free_port(settings.host),
            "share": settings.share,
            "inbrowser": settings.open_browser,
            "root_path": settings.root_path or None,
            "max_file_size": settings.max_upload_mb << 20,
            "show_error": True,
            "mcp_server": ui.tools.installed(),
            "footer_links": ["api", "settings"],
            # The folder of takes only, as the records are stored beside it.
            "allowed_paths": [str(self.lab.library.files.target(TAKES))],
        }
        fixed = {
            # Server-side rendering puts a Node proxy before us that answers /status with a page.
            "ssr_mode": False,
            # Gradio's own authentication does not support the API key.
            "auth": None,
            "app_kwargs": {
                "routes": application.routes,
                "exception_handlers": {
                    **application.exception_handlers,
                    FnIndexInferError: _no_endpoint,
                    KeyError: _no_endpoint,
                },
                "openapi_url": None,
                **rest.application_arguments(layers),
            },
        }
        _warn_when_open(settings)
        self.lab.scheduler.preload(self.lab.registry.default)
        self.lab.resume_interrupted()
        try:
            with _server_environment():
                options = {**defaults, **ui.appearance(), **arguments, **fixed}
                return super().launch(*args, **options)
        except OSError as error:
            port = arguments.get("server_port", defaults["server_port"])
            raise Unavailable(
                f"Port {port} cannot be used ({error}). Choose another with --port."
            ) from error

    def block_thread(self) -> None:
        """Serve until a signal or Ctrl+C, then interrupt what runs and close."""
        end_in_order()
        try:
            while self.is_running:
                time.sleep(0.1)
        except (KeyboardInterrupt, SystemExit):
            self.lab.interrupt()
            self.close()
            for tunnel in CURRENT_TUNNELS:
                tunnel.kill()

    def _gradio_files(self) -> rest.GradioFiles:
        takes = self.lab.library.files.target(TAKES)
        return rest.GradioFiles(Path(get_upload_folder()), takes, self.upload_file_set.__contains__)


async def _no_endpoint(request: Any, error: Exception) -> Any:
    """404 when Gradio does not find an endpoint or component of a client; else raises the error."""
    path: str = request.scope["path"]
    if isinstance(error, KeyError) and not path.endswith(BY_NUMBER):
        raise error
    return rest.error_response(
        NotFound("There is no endpoint or component of that name or number.")
    )


def _launch_settings(settings: Settings, arguments: dict[str, Any]) -> Settings:
    """The settings with the arguments of `launch` applied, which both decide about access."""
    changed: dict[str, Any] = {
        "share": bool(arguments.get("share", settings.share)),
        "host": arguments.get("server_name") or settings.host,
    }
    users = arguments.pop("auth", None)
    if users:
        changed["auth"] = SecretStr(_join_logins(users))
    inline = arguments.get("inline")
    if (inline or (inline is None and "ipykernel" in sys.modules)) and (
        settings.frame_ancestors == "'self'"
    ):
        changed["frame_ancestors"] = f"'self' {NOTEBOOKS}"
    return settings.model_copy(update=changed)


def _join_logins(users: Any) -> str:
    """Logins in the form of the setting `auth`.

    Raises:
        InvalidInput: a login cannot be written in that form.
    """
    pairs = [users] if isinstance(users, tuple) and isinstance(users[0], str) else users
    if callable(pairs) or not all(
        len(pair) == 2 and all(isinstance(word, str) and word for word in pair) for pair in pairs
    ):
        raise InvalidInput("auth takes (name, password), or a list of them.", param="auth")
    if any("," in "".join(pair) or ":" in pair[0] for pair in pairs):
        raise InvalidInput("A login has no comma, and its name no colon.", param="auth")
    return ",".join(f"{name}:{password}" for name, password in pairs)


@contextlib.contextmanager
def _server_environment() -> Iterator[None]:
    """Environment variables that Gradio's server reads when it is started.

    Uvicorn must trust no X-Forwarded-For (--trust-proxy decides that), and Gradio must not start
    processes that would serve files before the guard.
    """
    wanted = {"FORWARDED_ALLOW_IPS": os.environ.get("FORWARDED_ALLOW_IPS", "")}
    before = {name: os.environ.get(name) for name in (*wanted, "GRADIO_NUM_WORKERS")}
    os.environ.pop("GRADIO_NUM_WORKERS", None)
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _warn_when_open(settings: Settings) -> None:
    if settings.is_exposed:
        log.warning(
            "ANYBODY who can reach this server can use it: there is no API key and no login. "
            "Takes cannot be deleted until VOICELAB_API_KEY or VOICELAB_AUTH is set."
        )
