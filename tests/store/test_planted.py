"""Stores that are wrong in one way each: the cuts of test_power must find every one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from tests.store.outage import Lost, Outages
from tests.store.simulated import SimulatedSystem
from voicelab.store.journal.system import Identity

CUTS = 600


def is_segment(name: str) -> bool:
    return ".j-" in name


class NoDataSync(SimulatedSystem):
    """Answers a commit before it is on the platter."""

    def sync(self, descriptor: int) -> None:
        if not is_segment(self._opened(descriptor)[0]):
            super().sync(descriptor)


class NoFolderSync(SimulatedSystem):
    """Renames, but never syncs the directory."""

    def sync_folder(self, folder: Path) -> None:
        self._enter("sync_folder", "")
        self._done(None)


class NoBaseSync(SimulatedSystem):
    """Renames the new base over the old one with its bytes still in memory."""

    def sync(self, descriptor: int) -> None:
        if is_segment(self._opened(descriptor)[0]):
            super().sync(descriptor)


class SegmentDeletedEarly(SimulatedSystem):
    """Deletes what was sealed as soon as the new base is begun."""

    def __init__(self, draw: Random, files: Mapping[str, bytes] | None = None):
        super().__init__(draw, files)
        self._early: dict[str, Identity] = {}

    def create(self, path: Path) -> int:
        if path.name == "db.json.tmp":
            written = {name for name, _ in self._open.values()}
            for name in set(filter(is_segment, self._live)) - written:
                self._early[name] = self.identity(path.with_name(name))
                super().remove(path.with_name(name))
        return super().create(path)

    def identity(self, file: Path | int) -> Identity:
        # A store that does this would not miss them.
        early = self._early.get(file.name) if isinstance(file, Path) else None
        return early or super().identity(file)

    def remove(self, path: Path) -> None:
        if path.name in self._live:
            super().remove(path)


class BaseInPlace(SimulatedSystem):
    """Writes the new base over the old one."""

    def create(self, path: Path) -> int:
        return super().create(in_place(path))

    def replace(self, source: Path, target: Path) -> None:
        if source.name != "db.json.tmp":
            super().replace(source, target)

    def remove(self, path: Path) -> None:
        if path.name != "db.json.tmp":
            super().remove(path)


def in_place(path: Path) -> Path:
    return path.with_name("db.json") if path.name == "db.json.tmp" else path


FAULTS = [NoDataSync, NoFolderSync, NoBaseSync, SegmentDeletedEarly, BaseInPlace]


@pytest.mark.parametrize("faulty", FAULTS)
def test_a_store_that_is_wrong_in_one_way_is_found(faulty: type[SimulatedSystem]) -> None:
    with pytest.raises(Lost, match=r"none was found|refused to open"):
        for seed in range(CUTS // 10):
            Outages(seed, "full", faulty).run(10)


@pytest.mark.parametrize("faulty", FAULTS)
def test_what_is_wrong_shows_only_when_the_power_goes(faulty: type[SimulatedSystem]) -> None:
    """Else the test above would pass for a fault that has nothing to do with power."""
    run = Outages(1, "full", faulty)
    for _ in range(5):
        assert run.life(None, None)
        run.fail(killed=True)
    assert run.states[-1]
