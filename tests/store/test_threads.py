"""Many threads, many processes, one folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from tests.store.conftest import together
from voicelab.errors import StorageError, StoreLocked, VoicelabError
from voicelab.store import Query, TinyStore
from voicelab.store.protocol import Document

ROOT = Path(__file__).parents[2]
SMALL = 20_000


def python(code: str, *arguments: object, timeout_s: float = 60) -> tuple[int, str, str]:
    """Exit status, output and errors of a process; with its children it ends in time."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, output, errors


class Writer:
    """One thread's own documents in a table that all share."""

    def __init__(self, store: TinyStore, number: int, steps: int):
        self.store, self.number, self.steps = store, number, steps
        self.draw = Random(number)
        self.rows: dict[str, Document] = {}

    def __call__(self) -> None:
        for step in range(self.steps):
            kind = self.draw.random()
            if not self.rows or kind < 0.5:
                self.insert(f"{self.number}-{step}")
            elif kind < 0.8:
                self.patch(self.draw.choice(sorted(self.rows)), step)
            else:
                self.delete(self.draw.choice(sorted(self.rows)))
            self.look()

    def insert(self, id: str) -> None:
        row = {"id": id, "created_at": id, "who": self.number, "n": 0, "text": "x" * 50}
        with self.store.batch():
            self.store.insert("t", row)
            self.store.insert("twin", row)
        self.rows[id] = row

    def patch(self, id: str, n: int) -> None:
        before = self.rows[id]["n"]
        with self.store.batch():
            self.store.patch("t", id, {"n": n}, expected={"n": before})
            self.store.patch("twin", id, {"n": n})
        self.rows[id] = {**self.rows[id], "n": n}

    def delete(self, id: str) -> None:
        with self.store.batch():
            assert self.store.delete("t", id) and self.store.delete("twin", id)
        del self.rows[id]

    def look(self) -> None:
        query = Query(where={"who": self.number}, order="id", descending=False)
        mine, total = self.store.page("t", query)
        assert mine == [self.rows[id] for id in sorted(self.rows)] and total == len(mine)
        ids = [row["id"] for row in self.store.page("t", Query())[0]]
        assert len(ids) == len(set(ids)), "a scan saw a document twice"


def test_eight_threads_see_what_they_wrote_and_lose_nothing(tmp_path: Path) -> None:
    store = TinyStore(tmp_path, compact_after_bytes=SMALL, durability="normal")
    writers = [Writer(store, number, 60) for number in range(8)]
    together(list(writers))
    expected = {id: row for writer in writers for id, row in writer.rows.items()}
    for _ in range(2):
        for table in ("t", "twin"):
            assert {row["id"]: row for row in store.page(table, Query())[0]} == expected
        store.close()
        store = TinyStore(tmp_path)
    store.close()


def test_of_threads_that_insert_the_same_id_one_wins(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    won: list[int] = []

    def work(number: int) -> None:
        for n in range(20):
            try:
                store.insert("t", {"id": f"i{n}", "created_at": "", "by": number})
                won.append(n)
            except VoicelabError as error:
                assert type(error).__name__ == "Conflict"

    together([lambda number=number: work(number) for number in range(8)])
    assert sorted(won) == list(range(20))
    store.close()


def test_an_expected_value_is_a_lock(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.insert("t", {"id": "counter", "created_at": "", "n": 0})

    def count() -> None:
        for _ in range(15):
            done = False
            while not done:
                n = store.get("t", "counter")["n"]  # type: ignore[index]
                try:
                    store.patch("t", "counter", {"n": n + 1}, expected={"n": n})
                    done = True
                except VoicelabError as error:
                    assert type(error).__name__ == "Conflict"

    together([count] * 8)
    assert store.get("t", "counter")["n"] == 120  # type: ignore[index]
    store.close()


OPEN = """
import pathlib, sys
from voicelab.store import TinyStore
store = TinyStore(pathlib.Path(sys.argv[1]))
"""


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.insert("t", {"id": "a", "created_at": ""})
    _, _, errors = python(OPEN, tmp_path)
    assert "StoreLocked" in errors
    assert str(os.getpid()) in errors and socket.gethostname() in errors
    store.insert("t", {"id": "b", "created_at": ""})
    store.close()
    assert python(OPEN + "print(store.count('t'))", tmp_path)[1].strip() == "2"


def test_a_store_closed_twice_is_closed_and_takes_nothing_more(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.insert("t", {"id": "a", "created_at": ""})
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.insert("t", {"id": "b", "created_at": ""})
    again = TinyStore(tmp_path)
    assert again.count("t") == 1
    again.close()


FORK = """
import gc, os, pathlib, subprocess, sys, threading
from voicelab.errors import StorageError
from voicelab.store import Query, TinyStore

folder = pathlib.Path(sys.argv[1])
store = TinyStore(folder, compact_after_bytes=5_000)
store.insert("t", {"id": "before", "created_at": ""})
OPEN = "import pathlib as p, sys; from voicelab.store import TinyStore as T; T(p.Path(sys.argv[1]))"

def refused(call):
    try:
        call()
    except StorageError:
        return True
    return False

def in_child():
    global store
    found = [
        refused(lambda: store.insert("t", {"id": "child", "created_at": ""})),
        refused(store.compact),
        refused(lambda: TinyStore(folder)),
    ]
    try:
        store.close()
    except StorageError:
        pass
    del store
    gc.collect()
    return all(found)

def write():
    n = 0
    while not stop.is_set():
        store.insert("w", {"id": str(n), "created_at": ""})
        n += 1

stop = threading.Event()
writer = threading.Thread(target=write)
if sys.argv[2] == "busy":
    writer.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        sys.exit(0 if in_child() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child was not refused"
stop.set()
if writer.is_alive():
    writer.join()
store.insert("t", {"id": "after", "created_at": ""})
other = subprocess.run([sys.executable, "-c", OPEN, folder], capture_output=True, text=True)
assert "StoreLocked" in other.stderr, "a child released its parent's lock"
store.close()
again = TinyStore(folder)
print(sorted(row["id"] for row in again.page("t", Query())[0]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.parametrize("parent", ["idle", "busy"])
def test_a_fork_may_not_write_nor_wait_for_ever(tmp_path: Path, parent: str) -> None:
    status, output, errors = python(FORK, tmp_path, parent, timeout_s=20)
    assert status == 0, errors
    assert output.strip() == "['after', 'before']"


def test_a_reader_writes_nothing_and_needs_no_lock(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.insert("t", {"id": "a", "created_at": ""})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    reader = TinyStore(tmp_path, read_only=True)
    assert reader.get("t", "a")
    for change in (
        lambda: reader.insert("t", {"id": "b", "created_at": ""}),
        lambda: reader.patch("t", "a", {"n": 1}),
        lambda: reader.delete("t", "a"),
        reader.compact,
    ):
        with pytest.raises(StorageError):
            change()
    assert reader.count("t") == 1
    reader.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    store.close()


def test_a_reader_of_nothing_makes_nothing(tmp_path: Path) -> None:
    try:
        reader = TinyStore(tmp_path, read_only=True)
        assert reader.count("t") == 0
        reader.close()
    except StorageError:
        pass
    assert list(tmp_path.iterdir()) == []


def test_readers_beside_a_writer_that_compacts_see_whole_commits(tmp_path: Path) -> None:
    store = TinyStore(tmp_path, compact_after_bytes=SMALL, durability="normal")
    acknowledged = [0]
    writing = threading.Event()
    writing.set()

    def write() -> None:
        try:
            for n in range(1, 1_200):
                row = {"id": f"i{n % 40}", "created_at": "", "n": n, "text": "x" * 300}
                with store.batch():
                    for table in ("t", "twin"):
                        store.delete(table, row["id"])
                        store.insert(table, row)
                acknowledged[0] = n
        finally:
            writing.clear()

    def read() -> None:
        least, opened = 0, 0
        while writing.is_set():
            least = max(least, acknowledged[0])
            reader = TinyStore(tmp_path, read_only=True)
            pages = [reader.page(table, Query(order="n"))[0] for table in ("t", "twin")]
            reader.close()
            opened += 1
            assert pages[0] == pages[1], "half a commit"
            newest = pages[0][0]["n"] if pages[0] else 0
            assert newest >= least, "an acknowledged commit is not seen"
            least = newest
        assert opened > 3

    together([write, read, read])
    store.close()


def test_two_stores_in_one_process_are_refused(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    with pytest.raises(StoreLocked):
        TinyStore(tmp_path)
    store.close()
    TinyStore(tmp_path).close()
