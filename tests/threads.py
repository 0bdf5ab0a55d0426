"""Functions called at once, each by a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["at_once"]


def at_once(*functions: Callable[[], Any]) -> list[Any]:
    """What each gave, or the exception that it raised, in their order."""
    with ThreadPoolExecutor(len(functions)) as threads:
        running = [threads.submit(function) for function in functions]
        return [each.exception() or each.result() for each in running]
