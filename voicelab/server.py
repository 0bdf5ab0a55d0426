"""The page and the REST routes as one Gradio application."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any

# Both are read when gradio is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_RUN_HISTORY", "False")

import gradio as gr
from gradio.tunneling import CURRENT_TUNNELS

from voicelab import rest, ui
from voicelab.errors import Unavailable
from voicelab.lab import VoiceLab
from voicelab.library.files import TAKES
from voicelab.settings import Settings
from voicelab.signals import end_in_order

if TYPE_CHECKING:
    from gradio.mcp import GradioMCPServer

__all__ = ["Lab"]

log = logging.getLogger(__name__)


class Lab(gr.Blocks):
    """The tabs over a lab; `launch` adds the routes.

    A `gr.Blocks` whose `launch` stays what notebooks, Spaces and hot reload expect.
    """

    def __init__(self, lab: VoiceLab):
        self.lab = lab
        super().__init__(title="voicelab", analytics_enabled=False)
        with self:
            ui.build(lab)
        # Who may speak when is the runner's to decide; a queue before it would only add waiting.
        self.queue(default_concurrency_limit=None)

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

        Raises:
            Unavailable: the port is taken.
        """
        settings = self.lab.settings
        share = bool(arguments.get("share", settings.share))
        application = rest.build(self.lab)
        defaults = {
            "server_name": settings.host,
            "server_port": settings.port or _free_port(settings.host),
            "share": share,
            "inbrowser": settings.open_browser,
            "root_path": settings.root_path or None,
            "auth": settings.users() or None,
            "max_file_size": settings.max_upload_mb << 20,
            "show_error": True,
            "mcp_server": ui.tools.installed(),
            "footer_links": ["api", "settings"],
            # Takes alone: the records lie beside them.
            "allowed_paths": [str(self.lab.files.target(TAKES))],
        }
        fixed = {
            # Server-side rendering puts a Node proxy before us that answers /status with a page.
            "ssr_mode": False,
            "app_kwargs": {
                "routes": application.routes,
                "exception_handlers": application.exception_handlers,
                "middleware": rest.middleware(settings, share),
                "openapi_url": None,
            },
        }
        _warn_when_open(settings)
        self.lab.runner.preload(self.lab.rack.default)
        self.lab.resume_interrupted()
        try:
            return super().launch(*args, **{**defaults, **ui.appearance(), **arguments, **fixed})
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
