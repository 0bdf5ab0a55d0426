from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tinydb import TinyDB

from voicelab.errors import Conflict, NotFound, StorageError, StoreCorrupt, StoreFull, StoreLocked
from voicelab.store import Query, Store, Term, TinyStore
from voicelab.store.system import System


@pytest.fixture
def store(tmp_path: Path):
    store = TinyStore(tmp_path)
    yield store
    store.close()


def fill(store: Store, count: int = 5) -> None:
    for n in range(count):
        store.insert(
            "t", {"id": f"i{n}", "created_at": f"2026-01-0{n}", "n": n, "text": f"Text {n}"}
        )


def test_what_was_inserted_is_there_after_a_restart(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    fill(store)
    store.close()
    again = TinyStore(tmp_path)
    assert again.get("t", "i3")["n"] == 3
    again.close()
    assert len(TinyDB(tmp_path / "db.json").table("t")) == 5


def test_reads_are_copies(store: TinyStore) -> None:
    store.insert("t", {"id": "a", "tags": []})
    store.get("t", "a")["tags"].append("x")
    assert store.get("t", "a") == {"id": "a", "tags": []}


def test_patch_expects_and_names_what_is_missing(store: TinyStore) -> None:
    fill(store)
    assert store.patch("t", "i1", {"n": 7}, expected={"n": 1})["n"] == 7
    with pytest.raises(Conflict):
        store.patch("t", "i1", {"n": 8}, expected={"n": 1})
    with pytest.raises(NotFound):
        store.patch("t", "none", {"n": 8})
    with pytest.raises(Conflict, match="taken"):
        store.insert("t", {"id": "i1"})


def test_pages_are_ordered_filtered_and_counted(store: TinyStore) -> None:
    fill(store)
    rows, total = store.page("t", Query(ranges={"n": (1, None)}), limit=2, offset=1)
    assert ([row["n"] for row in rows], total) == ([3, 2], 4)
    assert store.count("t", Query(where={"n": 2})) == 1


def test_words_are_plain_and_folded(store: TinyStore) -> None:
    store.insert("t", {"id": "a", "created_at": "1", "text": "Die STRASSE 100%", "p": "x"})
    for word, found in {"straße": 1, "100%": 1, "1%0": 0, ".*": 0}.items():
        assert store.count("t", Query(terms=[Term(word.casefold(), ("text",))])) == found
    also = Term("nothing", ("text",), {"p": frozenset({"x"})})
    assert store.count("t", Query(terms=[also])) == 1


def test_a_batch_is_all_or_nothing(store: TinyStore) -> None:
    fill(store)
    with pytest.raises(RuntimeError), store.batch():
        store.delete("t", "i1")
        store.insert("u", {"id": "x"})
        store.patch("t", "i2", {"n": 99})
        raise RuntimeError
    assert store.get("t", "i1") and store.get("t", "i2")["n"] == 2
    assert store.get("u", "x") is None
    store.insert("t", {"id": "after"})
    assert store.count("t") == 6


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


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    code = (
        "import pathlib; from voicelab.store import TinyStore; "
        f"TinyStore(pathlib.Path({str(tmp_path)!r}))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    store.close()
    assert "StoreLocked" in other.stderr and f"process {os.getpid()}" in other.stderr


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    with pytest.raises(StoreLocked):
        TinyStore(tmp_path)
    store.close()
    TinyStore(tmp_path).close()


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


def test_many_threads_lose_nothing(store: TinyStore) -> None:
    def work(name: int) -> None:
        for n in range(20):
            store.insert("t", {"id": f"{name}-{n}", "created_at": "1"})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count("t") == 160


def test_a_killed_process_leaves_a_file_that_opens(tmp_path: Path) -> None:
    code = f"""
import pathlib
from voicelab.store import TinyStore
store = TinyStore(pathlib.Path({str(tmp_path)!r}))
for n in range(100000):
    store.insert("t", {{"id": str(n), "created_at": "1"}})
    print(n, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) >= 40:
                child.kill()
                break
    store = TinyStore(tmp_path)
    assert store.count("t") >= 41
    store.close()


def test_values_are_fields_of_what_matches(store: TinyStore) -> None:
    fill(store)
    store.insert("t", {"id": "odd"})
    assert sorted(store.values("t", ("id",), Query(where={"n": 3}))) == [("i3",)]
    assert set(store.values("t", ("id", "n"))) == {*((f"i{n}", n) for n in range(5)), ("odd", None)}
    assert store.values("none", ("id", "n")) == []
