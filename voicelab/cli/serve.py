"""`python -m voicelab serve`, the default command: serves the page and the routes."""

from __future__ import annotations

import argparse
import importlib
import threading

from voicelab.cli.command import Command
from voicelab.cli.signals import end_in_order
from voicelab.lab import VoiceLab
from voicelab.settings import Settings

__all__ = ["COMMAND"]


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    """Open the page and the routes, until Ctrl+C.

    This is what runs when no command is named.
    """
    end_in_order()
    # Gradio takes seconds to import; meanwhile the store is opened.
    threading.Thread(target=importlib.import_module, args=("voicelab.server",)).start()
    with VoiceLab(settings) as lab:
        lab.launch(prevent_thread_lock=False)
    return 0


COMMAND = Command(_serve, settings=None)
