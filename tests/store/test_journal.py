"""Commits in the journal: what is written, who waits for it, and what cannot be kept."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tinydb import TinyDB

from tests.store.conftest import Opened, fill, ids, journals
from voicelab.errors import Conflict, InvalidInput, StorageError, StoreFull
from voicelab.store import Query, TinyStore
from voicelab.store.journal.system import System


class Watched(System):
    """Counts, and fails on request."""

    def __init__(self) -> None:
        self.syncs = 0
        self.written_bytes = 0
        self.failing: dict[str, int] = {}
        self.may_sync = threading.Event()
        self.may_sync.set()

    def _fail(self, name: str) -> None:
        if name in self.failing:
            raise OSError(self.failing[name], "failing")

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        self._fail("write")
        self.written_bytes += len(content.rstrip(b"\0"))
        super().write(descriptor, content, offset)

    def sync(self, descriptor: int) -> None:
        self._fail("sync")
        self.syncs += 1
        assert self.may_sync.wait(60)
        super().sync(descriptor)

    def create(self, path: Path) -> int:
        self._fail("create")
        return super().create(path)

    def replace(self, source: Path, target: Path) -> None:
        self._fail("replace")
        super().replace(source, target)


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_commit_is_one_line_however_many_documents_there_are(opened: Opened) -> None:
    system = Watched()
    store = opened(system=system)
    with store.batch():
        fill(store, 2000)
    before = system.written_bytes, system.syncs
    store.patch("t", "i7", {"n": -1})
    store.delete("t", "i8")
    assert system.written_bytes - before[0] < 200 and system.syncs - before[1] == 2


def test_a_batch_over_tables_is_one_line(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    with store.batch():
        store.insert("t", {"id": "a"})
        with store.batch():
            store.insert("u", {"id": "b"})
        store.patch("t", "a", {"n": 1})
    (journal,) = journals(tmp_path)
    lines = journal.read_bytes().rstrip(b"\0").splitlines()
    assert len(lines) == 2 and store.sequence == 1
    assert json.loads(lines[1][9:]) == {
        "s": 1,
        "d": 0,
        "o": [["t", "1", {"id": "a"}], ["u", "1", {"id": "b"}], ["t", "1", {"n": 1}, 1]],
    }


def test_an_inner_batch_that_fails_takes_back_its_own_part(opened: Opened) -> None:
    store = opened()
    with store.batch():
        store.insert("t", {"id": "outer"})
        with pytest.raises(RuntimeError), store.batch():
            store.delete("t", "outer")
            store.insert("t", {"id": "inner"})
            raise RuntimeError
    store.abandon()
    assert ids(opened()) == ["outer"]


def test_a_reopened_store_is_the_same_folded_or_not(opened: Opened) -> None:
    store = opened()
    fill(store, 20)
    store.patch("t", "i3", {"n": -3, "tags": ["a"]})
    store.delete_many("t", ["i5", "i6"])
    rows = store.page("t", Query())
    store.abandon()
    after_crash = opened()
    assert after_crash.page("t", Query()) == rows and after_crash.sequence == 22
    after_crash.close()
    assert opened().page("t", Query()) == rows


def test_the_file_at_rest_is_plain_tinydb_with_meta_last(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store, 3)
    store.close()
    assert not journals(tmp_path)
    assert list(json.loads((tmp_path / "db.json").read_bytes())) == ["t", "_meta"]
    database = TinyDB(tmp_path / "db.json")
    assert database.table("t").get(doc_id=2)["id"] == "i1"
    assert database.table("_meta").get(doc_id=1)["seq"] == 3
    assert opened().tables() == ["t"]


def test_no_table_is_called_meta(opened: Opened) -> None:
    store = opened()
    with pytest.raises(InvalidInput, match="_meta"):
        store.insert("_meta", {"id": "a"})
    assert store.tables() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], {"x": math.nan}, object()])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(
    opened: Opened, tmp_path: Path, value: object
) -> None:
    store = opened()
    fill(store, 1)
    before = journals(tmp_path)[0].read_bytes()
    with pytest.raises(InvalidInput):
        store.insert("t", {"id": "bad", "value": value})
    with pytest.raises(InvalidInput):
        store.patch("t", "i0", {"value": value})
    assert journals(tmp_path)[0].read_bytes() == before and ids(store) == ["i0"]


@pytest.mark.parametrize("value", [2**70, -(2**64), "\ud800", "\x00\x1e\u2028", None, 1e308])
def test_every_json_value_comes_back_from_journal_and_base(opened: Opened, value: object) -> None:
    store = opened()
    store.insert("t", {"id": "a", "value": value, "list": [value]})
    store.insert("t", {"id": "b", "plain": 1})
    store.abandon()
    for _ in range(2):
        store = opened()
        assert store.get("t", "a") == {"id": "a", "value": value, "list": [value]}
        store.patch("t", "b", {"more": value})
        assert store.get("t", "b") == {"id": "b", "plain": 1, "more": value}
        store.close()


def test_those_who_wait_at_the_same_time_share_a_sync(opened: Opened) -> None:
    system = Watched()
    store = opened(system=system)
    fill(store, 1)
    system.may_sync.clear()
    before = system.syncs
    threads = [
        threading.Thread(target=store.insert, args=("t", {"id": f"x{n}"})) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: store.count("t") == 17)
    system.may_sync.set()
    for thread in threads:
        thread.join()
    # The first one's, and one for all that came meanwhile.
    assert system.syncs - before <= 2


def test_no_answer_comes_before_the_sync(opened: Opened) -> None:
    system = Watched()
    store = opened(system=system)
    fill(store, 1)
    system.may_sync.clear()
    writer = threading.Thread(target=store.insert, args=("t", {"id": "late"}))
    writer.start()
    wait_until(lambda: store.get("t", "late") is not None)
    assert writer.is_alive()
    system.may_sync.set()
    writer.join()


def test_normal_durability_syncs_within_a_second_or_so(opened: Opened) -> None:
    system = Watched()
    store = opened(system=system, durability="normal", background=True)
    fill(store, 1)
    before, began = system.syncs, time.monotonic()
    fill(store, 200, start=1)
    wait_until(lambda: system.syncs > before)
    # One each second, and one that was due when the clock started.
    assert system.syncs - before <= 2 + (time.monotonic() - began)


@pytest.mark.parametrize("when", ["commit", "batch"])
def test_a_full_disk_leaves_memory_and_file_as_they_were(opened: Opened, when: str) -> None:
    system = Watched()
    store = opened(system=system)
    fill(store, 3)
    system.failing = {"write": errno.ENOSPC}
    with pytest.raises(StoreFull):
        if when == "commit":
            store.delete("t", "i1")
        else:
            with store.batch():
                store.delete("t", "i1")
                store.insert("t", {"id": "new", "created_at": "x"})
    assert ids(store) == ["i0", "i1", "i2"] and store.sequence == 3
    system.failing = {}
    store.insert("t", {"id": "i4", "created_at": "9"})
    store.abandon()
    assert ids(opened()) == ["i0", "i1", "i2", "i4"]


def test_a_failed_sync_stops_the_store_and_reads_go_on(opened: Opened) -> None:
    system = Watched()
    store = opened(system=system)
    fill(store, 2)
    system.failing = {"sync": errno.EIO}
    with pytest.raises(StorageError, match="fsync"):
        store.insert("t", {"id": "lost"})
    system.failing = {}
    with pytest.raises(StorageError, match="fsync"):
        store.delete("t", "i0")
    assert store.get("t", "i1") and store.count("t", Query(where={"n": 0})) == 1
    store.close()
    assert {"i0", "i1"} <= set(ids(opened()))


def test_too_many_open_files_pass(opened: Opened, tmp_path: Path) -> None:
    system = Watched()
    store = opened(system=system)
    for name in ("create", "replace"):
        system.failing = {name: errno.EMFILE}
        with pytest.raises(StorageError, match="Too many open files"):
            store.insert("t", {"id": "a"})
        with pytest.raises(StorageError, match="Too many open files"):
            store.compact()
        assert not (tmp_path / "db.json.tmp").exists()
    system.failing = {}
    store.insert("t", {"id": "a"})
    store.abandon()
    assert ids(opened()) == ["a"]


def test_a_failed_sync_of_the_base_stops_the_store(opened: Opened) -> None:
    system = Watched()
    store = opened(system=system)
    fill(store, 2)
    store.compact()
    system.failing = {"sync": errno.EIO}
    with pytest.raises(StorageError):
        store.compact()
    system.failing = {}
    with pytest.raises(StorageError, match="fsync"):
        store.insert("t", {"id": "more"})
    store.close()
    assert ids(opened()) == ["i0", "i1"]


def test_a_base_that_cannot_be_written_leaves_the_journal_in_force(opened: Opened) -> None:
    system = Watched()
    store = opened(system=system)
    fill(store, 2)
    system.failing = {"write": errno.ENOSPC}
    with pytest.raises(StoreFull):
        store.compact()
    store.close()
    assert ids(opened()) == ["i0", "i1"]


def test_a_batch_that_fails_is_in_no_base_that_is_written_late(opened: Opened) -> None:
    store = opened()
    fill(store, 2)
    store.abandon()
    system = NoRoomForASegment()
    system.failing = {"write": errno.ENOSPC}
    store = opened(system=system)
    system.failing = {}
    with pytest.raises(StoreFull), store.batch():
        store.delete("t", "i0")
    assert ids(store) == ["i0", "i1"]
    store.close()
    assert ids(opened()) == ["i0", "i1"]


def test_an_edited_base_is_kept_once_however_often_settling_fails(
    opened: Opened, tmp_path: Path
) -> None:
    store = opened()
    fill(store, 1)
    store.close()
    path = tmp_path / "db.json"
    path.write_bytes(path.read_bytes().replace(b"Text 0", b"Test 0"))
    system = NoRoomForABase()
    system.tries = 1
    store = opened(system=system)
    for _ in range(3):
        with pytest.raises(StoreFull):
            store.insert("t", {"id": "new"})
    assert system.tries == 5 and len(list(tmp_path.glob("db.json.edited-*"))) == 1


class NoRoomForASegment(Watched):
    def create(self, path: Path) -> int:
        if path.name.endswith(".new"):
            raise OSError(errno.ENOSPC, "full")
        return super().create(path)


class NoRoomForABase(System):
    """Counts how often a new base file is tried."""

    tries = 0

    def create(self, path: Path) -> int:
        if path.name == "db.json.tmp":
            self.tries += 1
            if self.tries > 1:  # the first is that of a new store
                raise OSError(errno.ENOSPC, "full")
        return super().create(path)


@pytest.mark.parametrize("background", [True, False])
def test_a_fold_that_fails_is_not_tried_again_at_once(opened: Opened, background: bool) -> None:
    system = NoRoomForABase()
    store = opened(system=system, background=background, compact_after_bytes=2_000)
    fill(store, 200)
    wait_until(lambda: system.tries > 1)
    fill(store, 100, start=200)
    assert system.tries == 2
    store.close()  # tries at once
    assert system.tries == 3 and len(ids(opened())) == 300


def test_a_fold_that_failed_is_tried_again_in_time(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicelab.store.tinydb.folding.RETRY_S", 0.0)
    system = NoRoomForABase()
    fill(opened(system=system, compact_after_bytes=2_000), 100)
    assert system.tries > 20


def test_a_full_disk_at_the_opening_after_a_crash_still_shows_what_is_there(
    opened: Opened,
) -> None:
    store = opened()
    fill(store, 2)
    store.abandon()
    system = Watched()
    system.failing = {"write": errno.ENOSPC}
    store = opened(system=system)
    assert ids(store) == ["i0", "i1"]
    with pytest.raises(StoreFull):
        store.delete("t", "i0")
    system.failing = {}
    store.delete("t", "i0")
    store.abandon()
    assert ids(opened()) == ["i1"]


@pytest.mark.parametrize("background", [True, False])
def test_a_long_journal_is_folded(opened: Opened, tmp_path: Path, background: bool) -> None:
    store = opened(background=background, compact_after_bytes=20_000)
    fill(store, 1000)
    wait_until(lambda: sum(path.stat().st_size for path in journals(tmp_path)) < 90_000)
    assert (tmp_path / "db.json").stat().st_size > 1000
    store.abandon()
    assert len(ids(opened())) == 1000


def test_nothing_is_compacted_inside_a_batch(opened: Opened) -> None:
    store = opened()
    with pytest.raises(Conflict), store.batch():
        store.insert("t", {"id": "a"})
        store.compact()
    store.compact()
    assert ids(store) == []


def test_eight_threads_and_a_compactor_lose_nothing(opened: Opened) -> None:
    store = opened(background=True, compact_after_bytes=5_000)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            rows, total = store.page("t", Query(), limit=10)
            assert len(rows) <= total

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=fill, args=(store, 60, 100 * n)) for n in range(8)]
    for writer in writers:
        writer.start()
    store.compact()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    store.abandon()
    assert len(ids(opened())) == 480


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_may_read_but_not_write(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store, 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.insert("t", {"id": "child"})
        except StorageError as error:
            status = 0 if "fork" in error.message and store.get("t", "i0") else 2
        finally:
            store.close()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(StorageError, match="in use"):
        TinyStore(tmp_path)
    fill(store, 1, start=1)
    assert ids(store) == ["i0", "i1"]


def test_the_owner_is_named_without_values_of_options(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/x/app.py", "--api-key", "secret", "--auth=u:p"])
    opened()
    with pytest.raises(StorageError) as refused:
        TinyStore(tmp_path)
    message = refused.value.message
    assert f"process {os.getpid()} on " in message and "(app.py --api-key --auth)" in message
    assert " since 2" in message and "secret" not in message and "u:p" not in message
