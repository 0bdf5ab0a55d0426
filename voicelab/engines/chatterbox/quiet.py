"""What upstream says to the terminal: kept from it, without touching other threads."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["quiet", "replaced"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings; no prints, progress bars and lines of transformers' log from this thread.

    Upstream warns on every call of things that no user can change, prints, and draws a bar for
    every chunk. Warnings are per process, so callers hold the engines' lock meanwhile.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for redirect, stream in (
            (contextlib.redirect_stdout, sys.stdout),
            (contextlib.redirect_stderr, sys.stderr),
        ):
            muted = _Muted(stream)
            stack.callback(muted.end)
            stack.enter_context(redirect(muted))  # pyright: ignore[reportArgumentType]
        thread = threading.get_ident()

        def elsewhere(record: logging.LogRecord) -> bool:
            return record.thread != thread

        for handler in logging.getLogger("transformers").handlers:
            handler.addFilter(elsewhere)
            stack.callback(handler.removeFilter, elsewhere)
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` while the block lasts."""
    own = name in vars(owner)
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:  # it was inherited
            delattr(owner, name)


class _Muted:
    """A stream that drops what its maker's thread writes, until `end`.

    It may outlive the block: a logging handler made meanwhile keeps it as its stream.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self._thread: int | None = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread or self._stream is None:
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def end(self) -> None:
        self._thread = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
