"""The data folder of one process: opened, locked, refused, full."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tinydb import TinyDB

from tests.store.conftest import fill
from voicelab.errors import StorageError, StoreCorrupt, StoreFull
from voicelab.store import TinyStore
from voicelab.store.journal.system import System


def test_what_was_inserted_is_there_after_a_restart(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    fill(store)
    store.close()
    again = TinyStore(tmp_path)
    assert again.get("t", "i3")["n"] == 3
    again.close()
    assert len(TinyDB(tmp_path / "db.json").table("t")) == 5


class FullDisk(System):
    """A disk that takes half of what is written while it is full."""

    is_full = False

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        if not self.is_full:
            return super().write(descriptor, content, offset)
        super().write(descriptor, content[: len(content) // 2], offset)
        raise OSError(errno.ENOSPC, "full")


def test_a_full_disk_changes_nothing_and_the_store_goes_on(tmp_path: Path) -> None:
    system = FullDisk()
    store = TinyStore(tmp_path, system=system)
    fill(store)
    system.is_full = True
    with pytest.raises(StoreFull):
        store.insert("t", {"id": "new"})
    system.is_full = False
    assert store.get("t", "new") is None
    assert not (tmp_path / "db.json.tmp").exists()
    store.insert("t", {"id": "new"})
    assert store.count("t") == 6
    store.close()
    again = TinyStore(tmp_path)
    assert again.count("t") == 6 and not again.findings
    again.close()


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"t": 1}', b'{"t": {"1": {"no": "id"}}}', b"\x00" * 50]
)
def test_a_broken_file_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "db.json").write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"db\.json"):
        TinyStore(tmp_path)
    assert (tmp_path / "db.json").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="--data-dir"):
        TinyStore(tmp_path / "file" / "data")
