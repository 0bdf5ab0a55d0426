"""Real disks that are full, limited or read-only: refused in one sentence, and it goes on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import last_json

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

PREPARE = """
import json, os, resource, subprocess, sys
from pathlib import Path
from voicelab.errors import StorageError, StoreFull
from voicelab.store import Query, TinyStore

folder = Path(sys.argv[1])
def mount(options): subprocess.run(["mount", "-t", "tmpfs", "-o", options, "t", folder], check=True)
def remount(mode): subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)
def row(n): return {"id": f"i{n}", "created_at": "", "text": "x" * 900}
def numbers(store): return sorted(int(r["id"][1:]) for r in store.page("t", Query())[0])
def refused(call):
    try:
        call()
    except StorageError as error:
        return [type(error).__name__, error.message]
def filled(store, limit):
    for n in range(limit):
        try:
            store.insert("t", row(n))
        except StoreFull as error:
            print(error.message)
            return n
"""
UNSHARE = ("unshare", "--map-root-user", "--mount")


def run(code: str, folder: Path, *before: str) -> Any:
    """What `code` prints last, as JSON."""
    return last_json(PREPARE + code, folder, *before)


@pytest.mark.parametrize("compact_after_bytes", [50_000, 10_000_000])
def test_a_full_disk_refuses_and_goes_on(tmp_path: Path, compact_after_bytes: int) -> None:
    """Nothing refused is seen, nothing acknowledged is lost, and what can be made room for is."""
    found = run(
        f"""
mount("size=700k")
store = TinyStore(folder, compact_after_bytes={compact_after_bytes})
count = filled(store, 2000)
kept = numbers(store) == list(range(count))
store.abandon()
store = TinyStore(folder, compact_after_bytes={compact_after_bytes})
again = numbers(store) == list(range(count))
error = refused(lambda: [store.insert("t", row(n)) for n in range(5000, 9000)])
left = numbers(store)
store.close()
store = TinyStore(folder)
print(json.dumps([count > 100, kept, again, error[0], numbers(store) == left]))
""",
        tmp_path,
        *UNSHARE,
    )
    assert found == [True, True, True, "StoreFull", True]


def test_room_made_elsewhere_is_used_at_once(tmp_path: Path) -> None:
    found = run(
        """
mount("size=1m")
(folder / "other").write_bytes(bytes(500_000))
store = TinyStore(folder)
count = filled(store, 2000)
(folder / "other").unlink()
more = refused(lambda: [store.insert("t", row(n)) for n in range(count, count + 50)])
store.close()
store = TinyStore(folder)
print(json.dumps([more, numbers(store) == list(range(count + 50))]))
""",
        tmp_path,
        *UNSHARE,
    )
    assert found == [None, True]


def test_a_limit_of_the_files_size_is_a_full_disk(tmp_path: Path) -> None:
    found = run(
        """
store = TinyStore(folder, compact_after_bytes=10**9)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
count = filled(store, 2000)
left = numbers(store) == list(range(count))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.insert("t", row(count))
store.abandon()
store = TinyStore(folder)
print(json.dumps([count > 100, left, numbers(store) == list(range(count + 1))]))
""",
        tmp_path,
    )
    assert found == [True, True, True]


def test_a_folder_that_becomes_read_only_is_one_sentence(tmp_path: Path) -> None:
    error, kept, read, closed = run(
        """
mount("size=1m")
store = TinyStore(folder)
for n in range(20): store.insert("t", row(n))
store.compact()
store.insert("t", row(20))
store.abandon()
remount("ro")
error = refused(lambda: TinyStore(folder))
reader = TinyStore(folder, read_only=True)
read = numbers(reader) == list(range(21))
reader.close()
remount("rw")
store = TinyStore(folder)
kept = numbers(store) == list(range(21))
closed = refused(store.close)
print(json.dumps([error, kept, read, closed]))
""",
        tmp_path,
        *UNSHARE,
    )
    assert error[0] == "StorageError"
    assert error[1].endswith("Read-only file system. Choose another with --data-dir.")
    assert kept and read and closed is None


RESERVE = """
def open_it(**options): return TinyStore(folder, reserve_bytes=100_000, **options)
def sizes(): return {p.name: p.stat().st_size for p in folder.iterdir()}
def stuff(): # nothing is left for anybody
    with open(folder / f"other{len(sizes())}", "wb", buffering=0) as other:
        for size in (65536, 4096, 1):
            try:
                while True: other.write(bytes(size))
            except OSError:
                pass
"""


def test_a_full_disk_is_left_by_deleting(tmp_path: Path) -> None:
    found = run(
        RESERVE
        + """
mount("size=1500k")
store = open_it()
for n in range(200): store.insert("t", row(n))
stuff()
full = refused(lambda: [store.insert("t", row(n)) for n in range(1000, 3000)])
stuff()
told = store.shortage()
reserve = sizes().get("db.json.reserve")
again = refused(lambda: store.patch("t", "i1", {"text": "y" * 300_000}))
store.delete("t", "i0")
store.delete_many("t", [f"i{n}" for n in range(1, 50)])
with store.batch(frees=True):
    store.delete("t", "i50")
    store.patch("t", "i51", {"text": "changed"})
given = "db.json.reserve" not in sizes()
left = [n for n in numbers(store) if n < 1000]
store.abandon()
store = open_it()  # after a crash, on the full disk
same = [n for n in numbers(store) if n < 1000] == left
store.delete("t", "i60")
ended = refused(store.close)
store = open_it()
rest = [n for n in numbers(store) if n < 1000]
for other in folder.glob("other*"): other.unlink()
store.compact()
room = store._storage._disk.reserve
room._next_attempt = 0
after = store.shortage(), sizes()["db.json.reserve"]
store.insert("t", row(7000))
store.close()
last = TinyStore(folder)
kept = rest == [n for n in range(51, 200) if n != 60]
print(json.dumps([full[0], told, reserve, again[0], given, left == list(range(51, 200)), same,
    ended, kept, after, 7000 in numbers(last)]))
""",
        tmp_path,
        *UNSHARE,
    )
    sentence = "The disk is full: nothing new is saved. Delete takes, or free some space elsewhere."
    assert found == [
        *("StoreFull", sentence, 100_000, "StoreFull", True, True, True, None, True),
        *([None, 100_000], True),
    ]


def test_others_make_room_before_anything_is_refused(tmp_path: Path) -> None:
    found = run(
        RESERVE
        + """
mount("size=1500k")
def drop():
    size = (folder / "cache").stat().st_size if (folder / "cache").exists() else 0
    (folder / "cache").unlink(missing_ok=True)
    calls.append(size)
    return size
calls = []
(folder / "cache").write_bytes(bytes(600_000))
store = open_it(make_room=drop)
stuff()
for n in range(300): store.insert("t", row(n))
print(json.dumps([calls, numbers(store) == list(range(300)), "db.json.reserve" in sizes()]))
""",
        tmp_path,
        *UNSHARE,
    )
    assert found == [[600_000], True, True]
