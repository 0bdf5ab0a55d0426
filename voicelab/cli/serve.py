"""`python -m voicelab`: serve, as `python app.py` does, or run another command."""

from __future__ import annotations

import importlib
import logging
import sys
import threading

from voicelab.cli import check_takes, db, doctor, storage
from voicelab.cli.signals import end_in_order
from voicelab.engines import engine_names
from voicelab.errors import VoicelabError
from voicelab.lab import VoiceLab
from voicelab.settings import Settings

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Open the page and serve until Ctrl+C or SIGTERM, or run a command; the exit status.

    Args:
        arguments: options; those of the process when None.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # One line a download or poll is noise in a log that people read.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["db"]:
            return db.main(words[1:])
        if words[:1] == ["doctor"]:
            return doctor.main(words[1:])
        if words[:1] == ["check-takes"]:
            return check_takes.main(words[1:])
        if words[:1] == ["storage"]:
            return storage.main(words[1:])
        _serve(arguments)
    except VoicelabError as error:
        print(f"voicelab: {error.message}", file=sys.stderr)
        return 1
    return 0


def _serve(arguments: list[str] | None) -> None:
    settings = Settings.from_arguments(arguments, engine_names())
    end_in_order()
    # Gradio takes seconds to import, a large store one to open: both at once.
    threading.Thread(target=importlib.import_module, args=("voicelab.server",)).start()
    with VoiceLab(settings) as lab:
        lab.launch(prevent_thread_lock=False)
