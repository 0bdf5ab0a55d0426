"""Ends the process in order on a signal, within a bounded time."""

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
"""Set by `gradio app.py`, which does not pass signals on to the serving process."""

PARENT_POLL_S = 0.5
LIMIT_S = 8.0
"""Seconds; `docker stop` kills after ten."""


def end_in_order(limit_s: float = LIMIT_S) -> None:
    """Make the first SIGINT, SIGTERM, SIGHUP or SIGBREAK raise SystemExit(0) in the main thread.

    The `finally` blocks of the main thread close what is open; further signals are ignored. A
    process that has not ended after `limit_s` seconds is ended with status 0: acknowledged data is
    in the journal, which the next start reads.

    It has no effect when called again, or in another thread. A signal that the parent process had
    ignored (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    received = threading.Event()

    handled = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]

    def end(number: int, _: FrameType | None) -> None:
        # SIG_IGN, as Python resets Python functions to the default before it ends.
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        received.set()
        raise SystemExit(0)

    if any(getattr(signal.getsignal(number), "__module__", "") == __name__ for number in handled):
        return
    for number in handled:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    if RELOADER in os.environ:
        follow = threading.Thread(
            target=_follow_parent, args=(os.getppid(),), name="voicelab-parent", daemon=True
        )
        follow.start()
    # Started now, as a thread cannot always be started while a signal is handled.
    threading.Thread(
        target=_limit_time, args=(received, limit_s), name="voicelab-end", daemon=True
    ).start()


def _follow_parent(parent: int) -> None:
    """End the process as by SIGTERM when its parent process has ended."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _limit_time(received: threading.Event, limit_s: float) -> None:
    received.wait()
    log.info("asked to end")
    threading.Event().wait(limit_s)
    log.warning("not all had ended after %g s; the next start goes on from the journal", limit_s)
    os._exit(0)
