"""The page and the REST routes as one Gradio application."""

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
"""Who shows the page in a frame when a notebook starts it."""


class Lab(gr.Blocks):
    """The tabs over a lab; `launch` adds the routes.

    A `gr.Blocks` whose `launch` stays what notebooks, Spaces and hot reload expect.
    """

    def __init__(self, lab: VoiceLab):
        self.lab = lab
        super().__init__(title="voicelab", analytics_enabled=False)
        with self:
            ui.build(lab)
        # Who may speak when is the scheduler's to decide; a queue before it would only add waiting.
        self.queue(default_concurrency_limit=None)
        # Gradio looks a thousand times a second whether an event waits, which costs 3 % of a core.
        self._queue.sleep_when_free = QUEUE_POLL_S

    @property
    def mcp_server_obj(self) -> GradioMCPServer | None:
        """Gradio's MCP server, once it made one in `launch`."""
        return self._tools

    @mcp_server_obj.setter
    def mcp_server_obj(self, server: GradioMCPServer | None) -> None:
        if server is not None:
            ui.tools.ready(server, self.lab.settings.max_queue)
        self._tools = server

    def launch(self, *args: Any, **arguments: Any) -> Any:
        """As `gradio.Blocks.launch`, the settings' values where an argument is silent.

        Args:
            *args: for Gradio.
            **arguments: for Gradio; auth as (name, password) or a list of them.

        Raises:
            Unavailable: the port is taken.
            InvalidInput: auth is something else.
        """
        # From what was configured: arguments of an earlier launch are over.
        settings = self.lab.settings = _settled(self.lab.configured, arguments)
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
            # Takes alone: the records lie beside them.
            "allowed_paths": [str(self.lab.library.files.target(TAKES))],
        }
        fixed = {
            # Server-side rendering puts a Node proxy before us that answers /status with a page.
            "ssr_mode": False,
            # The lock is ours alone: Gradio's own knows no key.
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
            with _bare_server():
                given = {**defaults, **ui.appearance(), **arguments, **fixed}
                return super().launch(*args, **given)
        except OSError as error:
            port = arguments.get("server_port", defaults["server_port"])
            raise Unavailable(
                f"Port {port} cannot be used ({error}). Choose another with --port."
            ) from error

    def block_thread(self) -> None:
        """Serve until a signal or Ctrl+C; what runs ends first, so that no stream is waited for."""
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
    """404 where Gradio looks for a name or number of a client and fails; else the error itself."""
    path: str = request.scope["path"]
    if isinstance(error, KeyError) and not path.endswith(BY_NUMBER):
        raise error
    return rest.error_response(
        NotFound("There is no endpoint or component of that name or number.")
    )


def _settled(settings: Settings, arguments: dict[str, Any]) -> Settings:
    """The settings as the arguments of `launch` leave them, so that access is decided by both."""
    changed: dict[str, Any] = {
        "share": bool(arguments.get("share", settings.share)),
        "host": arguments.get("server_name") or settings.host,
    }
    users = arguments.pop("auth", None)
    if users:
        changed["auth"] = SecretStr(_joined(users))
    inline = arguments.get("inline")
    if (inline or (inline is None and "ipykernel" in sys.modules)) and (
        settings.frame_ancestors == "'self'"
    ):
        changed["frame_ancestors"] = f"'self' {NOTEBOOKS}"
    return settings.model_copy(update=changed)


def _joined(users: Any) -> str:
    """Logins as the setting `auth` writes them.

    Raises:
        InvalidInput: they cannot be written so.
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
def _bare_server() -> Iterator[None]:
    """Uvicorn believes no X-Forwarded-For (that is --trust-proxy's to say), Gradio starts no
    processes that give out files before our lock."""
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
