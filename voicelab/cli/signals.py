"""Signals that ask the process to end: it ends in order, once, and within a bounded time."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType

__all__ = ["LIMIT_S", "end_in_order"]

log = logging.getLogger(__name__)

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
RELOADER = "GRADIO_WATCH_DIRS"
"""Set by `gradio app.py`, which hands no signal on to the process that serves."""

PARENT_POLL_S = 0.5
LIMIT_S = 8.0
"""`docker stop` kills after ten seconds."""


def end_in_order(limit_s: float = LIMIT_S) -> None:
    """From now on the first of SIGINT, SIGTERM, SIGHUP or SIGBREAK raises SystemExit(0).

    It is raised in the main thread, whose `finally` blocks close what is open; further signals do
    not disturb them. A process that has not ended after `limit_s` is ended with status 0: all
    that was acknowledged is in the journal, which the next start reads.

    Called again, or in another thread, it does nothing; a signal that whoever started the process
    had ignored (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    asked = threading.Event()

    handled = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]

    def end(number: int, _: FrameType | None) -> None:
        # Not a function of ours: Python puts those back to the default before it has ended.
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        asked.set()
        raise SystemExit(0)

    if any(getattr(signal.getsignal(number), "__module__", "") == __name__ for number in handled):
        return
    for number in handled:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    if RELOADER in os.environ:
        follow = threading.Thread(
            target=_follow, args=(os.getppid(),), name="voicelab-parent", daemon=True
        )
        follow.start()
    # Started now: a signal may come while the main thread holds what starting one needs.
    threading.Thread(target=_watch, args=(asked, limit_s), name="voicelab-end", daemon=True).start()


def _follow(parent: int) -> None:
    """End as by SIGTERM when the process that started this one has ended."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _watch(asked: threading.Event, limit_s: float) -> None:
    asked.wait()
    log.info("asked to end")
    threading.Event().wait(limit_s)
    log.warning("not all had ended after %g s; the next start goes on from the journal", limit_s)
    os._exit(0)
