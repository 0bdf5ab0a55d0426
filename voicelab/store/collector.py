"""Control of Python's garbage collector, which would repeatedly traverse all documents."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

__all__ = ["paused_collector"]

FREEZE_FROM = 5_000
"""Number of documents from which existing objects are excluded from collection."""


@contextlib.contextmanager
def paused_collector() -> Iterator[Callable[[int], None]]:
    """Disable garbage collection while many objects are created, none of which is garbage.

    Yields a function of the number of documents: with FREEZE_FROM or more it calls gc.freeze, so
    that later collections skip all objects that exist.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield lambda documents: gc.freeze() if documents >= FREEZE_FROM else None
    finally:
        if was_enabled:
            gc.enable()
