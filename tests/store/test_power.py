"""The power goes after any call: what was acknowledged is there, and nothing is made up."""

from __future__ import annotations

import inspect

import pytest

from tests.store.crowd import Crowd, Queue
from tests.store.model import contents, same
from tests.store.outage import Outages
from tests.store.simulated import FOLDER, SimulatedSystem
from voicelab.store import TinyStore
from voicelab.store.journal.system import System

pytestmark = pytest.mark.timeout(900)  # --slow
CUTS_EACH = 10


def test_every_call_of_the_system_is_simulated() -> None:
    calls = {name for name, _ in inspect.getmembers(System, inspect.isfunction) if name[0] != "_"}
    assert calls <= set(vars(SimulatedSystem))


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_what_was_acknowledged_survives_every_cut(durability: str, slow: bool) -> None:
    """At full nothing is lost, at normal the last commits may be: never one from the middle."""
    for seed in range(1_000 if slow else 120):
        Outages(seed, durability).run(CUTS_EACH)


@pytest.mark.parametrize("killed", [True, False])
def test_a_cut_at_any_call_after_a_failure_at_any_call(killed: bool, slow: bool) -> None:
    """What a killed process wrote but never synced is still in memory when the power goes."""
    step = 1 if killed or slow else 4
    for seed in range(5 if slow else 1):
        whole = again = False
        first = 0
        while not whole:
            first, again, second = first + step, False, 0
            while not again:
                second += 1
                run = Outages(seed * 10_000 + first * 100 + second)
                whole = run.life(first, "cccfcc")
                run.fail(killed=killed)
                again = run.life(second, "c")
                run.fail(killed=False)
                run.life(None, "c")
        assert first > 20


def test_a_reader_at_any_call_of_a_writer_sees_whole_commits() -> None:
    for seed in range(8):
        run = Outages(seed)
        run.disk.hook = Reading(run)
        for script in ("cccfccfcc", "fcccf"):
            assert run.life(None, script)


class Reading:
    """Opens the store for reading before each call of the one that writes."""

    def __init__(self, run: Outages):
        self._run = run
        self._is_open = False

    def __call__(self, call: str, name: str) -> None:
        if self._is_open:
            assert call in ("names", "read"), f"a reader made the call {call} {name}"
            return
        self._is_open = True
        reader = TinyStore(FOLDER, system=self._run.disk, read_only=True, locked=False)
        found = contents(reader)
        reader.close()
        assert any(same(found, state) for state in self._run.possible), f"before {call} {name}"
        self._is_open = False


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("closing", [False, True])
def test_threads_lose_nothing_that_they_were_told_is_saved(
    background: bool, closing: bool, slow: bool
) -> None:
    """Commits meet in one sync, in the middle of compactions, and while the store is closed."""
    for seed in range(250 if slow else 12):
        Crowd(seed, background=background, closing=closing).run(CUTS_EACH)


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_threads_commits_survive_in_their_order(durability: str, slow: bool) -> None:
    """Of all threads' commits together a beginning is left, never one without those before it."""
    for seed in range(250 if slow else 12):
        Queue(seed, durability).run(CUTS_EACH)
