"""The files under an open store removed, moved or replaced: nothing is acknowledged any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.conftest import fill, ids, journals
from voicelab.errors import StorageError, StoreLost
from voicelab.store import TinyStore
from voicelab.store.journal.system import System


def folder_removed(folder: Path) -> None:
    shutil.rmtree(folder)


def folder_moved(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def folder_replaced(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    shutil.copytree(folder.with_name("elsewhere"), folder)


def lock_removed(folder: Path) -> None:
    (folder / "db.lock").unlink()


def lock_replaced(folder: Path) -> None:
    (folder / "db.lock").rename(folder / "other")
    (folder / "db.lock").touch()


def journal_removed(folder: Path) -> None:
    journals(folder)[0].unlink()


def journal_renamed(folder: Path) -> None:
    journals(folder)[0].rename(folder / "kept")


def base_removed(folder: Path) -> None:
    (folder / "db.json").unlink()


def base_replaced(folder: Path) -> None:
    shutil.copy(folder / "db.json", folder / "copy")
    (folder / "copy").replace(folder / "db.json")


HARMS = [
    *(folder_removed, folder_moved, folder_replaced, lock_removed, lock_replaced),
    *(journal_removed, journal_renamed, base_removed, base_replaced),
]
Harm = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(folder: Path) -> TinyStore:
    """With a base, a journal, and both in use."""
    store = TinyStore(folder, background=False)
    fill(store, 3)
    store.compact()
    fill(store, 2, start=3)
    return store


@pytest.mark.parametrize("harm", HARMS)
def test_every_change_is_refused_from_then_on(store: TinyStore, folder: Path, harm: Harm) -> None:
    store.check()
    harm(folder)
    before = sorted(path.name for path in folder.rglob("*")) if folder.exists() else None
    for change in (
        store.check,
        lambda: fill(store, 1, start=9),
        lambda: store.patch("t", "i1", {"text": "other"}),
        lambda: store.delete("t", "i1"),
        store.compact,
    ):
        with pytest.raises(StoreLost, match="while the app was running: nothing more is saved"):
            change()
    assert ids(store) == [f"i{n}" for n in range(5)]
    store.close()
    after = sorted(path.name for path in folder.rglob("*")) if folder.exists() else None
    assert after == before


def test_it_stays_so_until_it_is_opened_anew(store: TinyStore, folder: Path) -> None:
    moved = folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StoreLost):
        fill(store, 1, start=9)
    moved.rename(folder)
    with pytest.raises(StoreLost):
        fill(store, 1, start=9)
    store.close()
    again = TinyStore(folder, background=False)
    assert ids(again) == [f"i{n}" for n in range(5)]
    again.close()


def test_what_is_lost_during_the_sync_is_not_acknowledged(folder: Path) -> None:
    class Removing(System):
        armed = False

        def sync(self, descriptor: int) -> None:
            super().sync(descriptor)
            if self.armed:
                lock_removed(folder)

    system = Removing()
    store = TinyStore(folder, system=system, background=False)
    fill(store, 1)
    system.armed = True
    with pytest.raises(StoreLost, match=r"db\.lock"):
        fill(store, 1, start=1)
    store.abandon()


def test_a_second_holder_reads_all_that_the_first_acknowledged(
    store: TinyStore, folder: Path
) -> None:
    """Without the lock's file a second process can open; the first then writes nothing."""
    lock_removed(folder)
    second = TinyStore(folder, background=False)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    for change in (lambda: fill(store, 1, start=9), store.compact):
        with pytest.raises(StorageError):
            change()
    store.close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    fill(second, 1, start=5)
    assert ids(second) == [f"i{n}" for n in range(6)]
    second.close()


def test_a_folder_removed_during_a_fold_is_not_made_again(folder: Path) -> None:
    store = TinyStore(folder, background=False)
    fill(store, 3)
    harmed: list[int] = []

    def remove(_: int) -> None:
        if not harmed:
            harmed.append(1)
            lock_removed(folder)

    before = (folder / "db.json").read_bytes()
    with pytest.raises(StoreLost):
        store.compact(remove)
    assert (folder / "db.json").read_bytes() == before
    assert not (folder / "db.json.tmp").exists()
    store.abandon()


def test_another_current_folder_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    """A notebook's may change after the store was opened by a relative path."""
    monkeypatch.chdir(tmp_path)
    store = TinyStore(Path("data"), background=False)
    fill(store, 2)
    os.chdir("/")
    fill(store, 1, start=2)
    store.compact()
    store.close()
    again = TinyStore(tmp_path / "data", background=False)
    assert ids(again) == ["i0", "i1", "i2"]
    again.close()
