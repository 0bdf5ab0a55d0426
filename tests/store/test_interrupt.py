"""Ctrl+C anywhere in the store: a commit is whole or was never there."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from random import Random
from types import FrameType
from typing import Any

import pytest

from tests.store.model import applied, changes, contents, perform, same
from tests.store.simulated import FOLDER, SimulatedSystem
from voicelab.store import TinyStore
from voicelab.store.journal.system import System

SYSTEM_CALLS = {name for name in vars(System) if name[0] != "_"}


class Interruption:
    """Raises KeyboardInterrupt at the n-th place where Python looks for signals in the store.

    That is at the beginning of a function, and when a function of C has returned.

    Attributes:
        place: where that was; None as long as there were not so many.
    """

    def __init__(self, number: int):
        self.place: str | None = None
        self._left = number

    def during(self, action: Callable[[], object]) -> bool:
        """Whether it came in the middle."""
        sys.setprofile(self._look)
        try:
            action()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        return False

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        in_store = event in ("call", "c_return") and "/voicelab/store/" in name
        after_system = event == "return" and frame.f_code.co_name in SYSTEM_CALLS
        if (in_store or after_system) and self.place is None:
            self._left -= 1
            if self._left == 0:
                self.place = f"{name}:{frame.f_lineno} {event}"
                raise KeyboardInterrupt


def opened(disk: SimulatedSystem) -> TinyStore:
    return TinyStore(FOLDER, system=disk, background=False, locked=False)


def in_another_thread(action: Callable[[], object]) -> bool:
    """Whether it came to an end."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


@pytest.mark.parametrize("kind", ["first", "single", "batch", "compact"])
def test_an_interrupt_anywhere_leaves_a_commit_whole_or_undone(kind: str) -> None:
    for seed in range(2):
        number, reached = 0, True
        while reached:
            number += 1
            reached = interrupted(kind, seed, number)
        assert number > 20


def interrupted(kind: str, seed: int, number: int) -> bool:
    """Whether there were so many places; the commit is the seed's alone, so each has its turn."""
    draw = Random(seed)
    disk = SimulatedSystem(draw)
    store = opened(disk)
    state: dict = {}
    for _ in range(0 if kind == "first" else 3):
        drawn = changes(draw, state)
        perform(store, drawn)
        state = applied(state, drawn)
    drawn = changes(draw, state)
    if kind == "batch":
        drawn += changes(draw, applied(state, drawn))
    interruption = Interruption(number)
    action = store.compact if kind == "compact" else lambda: perform(store, drawn)
    came = interruption.during(action)
    assert in_another_thread(lambda: store.get("takes", "x")), f"locked at {interruption.place}"
    seen = contents(store)
    after = state if kind == "compact" else applied(state, drawn)
    assert same(seen, after) or (came and same(seen, state)), interruption.place
    for _ in range(2):
        drawn = changes(draw, seen)
        perform(store, drawn)
        seen = applied(seen, drawn)
    assert same(contents(store), seen), interruption.place
    assert same(contents(opened(disk.cut())), seen), interruption.place
    return interruption.place is not None
