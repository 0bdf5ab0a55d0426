"""Suppression of upstream's warnings, prints, progress bars and log lines, for one thread."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["suppressed_progress", "suppressed_output", "patched"]

LOOPS = ("chatterbox.models.t3.t3", "chatterbox.models.s3gen.flow_matching")


@contextlib.contextmanager
def suppressed_output() -> Iterator[None]:
    """No warnings; no prints, progress bars and lines of transformers' log from this thread.

    For loading and for encoding a clip: filters and streams belong to the process, so what
    another thread changes of them meanwhile is lost. `suppressed_progress` changes neither.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for redirect, stream in (
            (contextlib.redirect_stdout, sys.stdout),
            (contextlib.redirect_stderr, sys.stderr),
        ):
            muted = _MutedStream(stream)
            stack.callback(muted.end)
            stack.enter_context(redirect(muted))  # pyright: ignore[reportArgumentType]
        stack.enter_context(_without_transformers_log())
        yield


@contextlib.contextmanager
def suppressed_progress() -> Iterator[None]:
    """No progress bars and prints of the two loops, nor lines of transformers' log."""
    with contextlib.ExitStack() as stack:
        for name in LOOPS:
            module = importlib.import_module(name)
            stack.enter_context(patched(module, "tqdm", lambda steps, **_: steps))
            stack.enter_context(patched(module, "print", lambda *_, **__: None))
        stack.enter_context(_without_transformers_log())
        yield


@contextlib.contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` while the block lasts."""
    own = name in vars(owner)
    original = getattr(owner, name, None)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:  # it was inherited, or a built-in
            delattr(owner, name)


@contextlib.contextmanager
def _without_transformers_log() -> Iterator[None]:
    thread = threading.get_ident()
    handlers = list(logging.getLogger("transformers").handlers)

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    for handler in handlers:
        handler.addFilter(elsewhere)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(elsewhere)


class _MutedStream:
    """A stream that drops what the thread that made it writes, until `end`.

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
