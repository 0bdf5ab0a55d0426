"""The power goes after any call: what was acknowledged is there, and nothing is made up."""

from __future__ import annotations

import inspect

import pytest

from tests.store.crowd import Crowd
from tests.store.outage import Outages
from tests.store.simulated import SimulatedSystem
from voicelab.store.system import System

CUTS_EACH = 10


def test_every_call_of_the_system_is_simulated() -> None:
    calls = {name for name, _ in inspect.getmembers(System, inspect.isfunction) if name[0] != "_"}
    assert calls <= set(vars(SimulatedSystem))


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_what_was_acknowledged_survives_every_cut(durability: str, slow: bool) -> None:
    """At full nothing is lost, at normal the last commits may be: never one from the middle."""
    for seed in range(1_000 if slow else 150):
        Outages(seed, durability).run(CUTS_EACH)


@pytest.mark.parametrize("background", [False, True])
def test_threads_lose_nothing_that_they_were_told_is_saved(background: bool, slow: bool) -> None:
    """Commits meet in one sync, and in the middle of compactions."""
    for seed in range(1_000 if slow else 60):
        Crowd(seed, background=background).run(CUTS_EACH)
