"""Faults of a full disk injected into every call: what frees is written, nothing else is lost."""

from __future__ import annotations

import errno
from random import Random

import pytest

from tests.store.conftest import fill, ids
from tests.store.simulated import FOLDER, SimulatedSystem
from voicelab.errors import StorageError, StoreFull
from voicelab.store import TinyStore

RESERVE = "db.json.reserve"


def opened(disk: SimulatedSystem) -> TinyStore:
    return TinyStore(FOLDER, system=disk, background=False, locked=False, reserve_bytes=5000)


def full(disk: SimulatedSystem) -> None:
    """From now on nothing can grow while the reserve is there, nor can it be had again."""

    def refuse(call: str, name: str) -> None:
        if call in ("write", "create") and (RESERVE in disk.files or RESERVE in name):
            raise OSError(errno.ENOSPC, "full")

    disk.hook = refuse


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("began", [True, False], ids=["in a segment", "without one"])
def test_a_deletion_has_the_reserve_and_survives_a_cut(seed: int, began: bool) -> None:
    disk = SimulatedSystem(Random(seed))
    store = opened(disk)
    fill(store, 10)
    if not began:
        store.compact()
    full(disk)
    with pytest.raises(StoreFull):
        fill(store, 1, start=20)
    assert store.shortage() and RESERVE in disk.files
    store.delete("t", "i3")
    with store.batch(frees=True):
        store.patch("t", "i4", {"text": "other"})
        store.delete("t", "i5")
    assert RESERVE not in disk.files
    disk.hook = None
    left = [f"i{n}" for n in range(10) if n not in (3, 5)]
    assert ids(store) == left
    after = opened(disk.cut())
    assert ids(after) == left
    assert (after.get("t", "i4") or {})["text"] == "other"


def test_no_call_that_finds_no_room_costs_a_commit() -> None:
    """ENOSPC at the n-th call, for every n: the commit is whole or undone, and the next works."""
    number, reached = 0, True
    while reached:
        number += 1
        disk = SimulatedSystem(Random(number))
        store = opened(disk)
        fill(store, 3)
        start = disk.calls

        def refuse(call: str, _: str) -> None:
            if disk.calls - start == number and call != "close":  # noqa: B023
                raise OSError(errno.ENOSPC, "full")

        disk.hook = refuse
        left = ["i0", "i1", "i2"]
        try:
            store.delete("t", "i1")
            left.remove("i1")
            store.compact()
        except StorageError:
            pass
        reached = disk.calls - start >= number
        disk.hook = None
        assert ids(opened(disk.cut())) == left
    assert number > 5


def test_a_journal_goes_on_where_a_new_base_finds_no_room() -> None:
    """Opened after a crash: it cannot be folded, and what is deleted is written all the same."""
    disk = SimulatedSystem(Random(1))
    fill(opened(disk), 10)
    disk = disk.kill()

    def refuse(call: str, name: str) -> None:
        if call == "write" and name == "db.json.tmp":
            raise OSError(errno.ENOSPC, "full")

    disk.hook = refuse
    store = opened(disk)
    store.delete("t", "i3")
    fill(store, 1, start=10)
    disk.hook = None
    left = [f"i{n}" for n in range(11) if n != 3]
    assert ids(opened(disk.cut())) == left
    disk = disk.cut()
    store = opened(disk)
    store.close()
    assert [name for name in disk.files if ".j-" in name] == []
    assert ids(opened(disk)) == left


def test_the_reserve_is_had_once(tmp_path) -> None:
    for _ in range(2):
        store = TinyStore(tmp_path, reserve_bytes=5000)
        fill(store, 1, start=0) if not ids(store) else None
        assert (tmp_path / RESERVE).stat().st_size == 5000
        store.close()
    before = (tmp_path / RESERVE).read_bytes()
    TinyStore(tmp_path, reserve_bytes=5000).close()
    assert (tmp_path / RESERVE).read_bytes() == before
