"""kill -9 at any moment: every acknowledged commit is there, at most one more, all in order."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random

import pytest

from tests.store.child import commit, operate
from tests.store.model import Tables, applied, contents, same
from voicelab.store import TinyStore

pytestmark = pytest.mark.timeout(900)  # --slow
EACH = 20
"""Kills of one store."""


@pytest.fixture(scope="module")
def children() -> Iterator[ForkServerContext]:
    """Processes that start with the store imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([operate.__module__])
    yield context


def killed(children: ForkServerContext, folder: Path, durability: str, draw: Random) -> int:
    """How many commits a child acknowledged before it was killed."""
    ours, theirs = children.Pipe(duplex=False)
    child = children.Process(target=operate, args=(folder, durability, theirs))
    child.start()
    theirs.close()
    acknowledged = 0
    if draw.random() < 0.8:
        acknowledged = received(ours, draw.randint(1, 120))
        time.sleep(draw.uniform(0, 0.002))
    else:
        time.sleep(draw.uniform(0, 0.08))
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL, "the child ended of itself: see its output"
    return acknowledged + received(ours)


def received(pipe: Connection, at_most: float = float("inf")) -> int:
    """How many messages came, until there are so many or the other end is gone."""
    count = 0
    try:
        while count < at_most:
            pipe.recv_bytes()
            count += 1
    except EOFError:
        pass
    return count


def test_a_kill_loses_nothing_acknowledged(
    children: ForkServerContext, tmp_path: Path, slow: bool
) -> None:
    tables: Tables = {}
    number = commits = 0
    for seed in range(300 if slow else 40):
        draw = Random(seed)
        if seed % EACH == 0:  # small enough to be quick
            folder, tables, number = tmp_path / str(seed), {}, 0
        acknowledged = killed(children, folder, draw.choice(("full", "full", "normal")), draw)
        for _ in range(acknowledged):
            tables, number = applied(tables, commit(number, tables)), number + 1
        store = TinyStore(folder)
        found = contents(store)
        if not same(found, tables):
            tables, number = applied(tables, commit(number, tables)), number + 1
        assert same(found, tables), f"seed {seed}, after commit {number}"
        assert store.sequence == number
        draw.choice((store.close, store.abandon))()
        commits += acknowledged
    assert commits > 100
    print(f"{commits} commits before {seed + 1} kills")
