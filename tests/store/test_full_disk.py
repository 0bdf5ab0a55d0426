"""Real disks that are full, limited or read-only: refused in one sentence, and it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    done = subprocess.run(
        [*before, sys.executable, "-c", PREPARE + code, folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


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
