"""The garbage collector, kept from walking over all documents again and again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

__all__ = ["quiet_collector"]

FREEZE_FROM = 5_000
"""Documents from which it is told to leave all there is alone."""


@contextlib.contextmanager
def quiet_collector() -> Iterator[Callable[[int], None]]:
    """While hundreds of thousands of objects are made, none of them garbage, nobody looks for any.

    What it gives, called with a number of documents, lets none of many be looked at ever after.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield lambda documents: gc.freeze() if documents >= FREEZE_FROM else None
    finally:
        if was_enabled:
            gc.enable()
