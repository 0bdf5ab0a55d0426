"""A real small disk, full or read-only: a tmpfs in a namespace of the test's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import last_json

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

PREPARE = """
import json, os, subprocess, sys, time
from pathlib import Path
from voicelab import Settings, VoiceLab
from voicelab.errors import StorageError

folder = Path(sys.argv[1])
def mount(options): subprocess.run(["mount", "-t", "tmpfs", "-o", options, "t", folder], check=True)
def remount(mode): subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)
def opened(): return VoiceLab(Settings(engine="tone", data_dir=folder, min_free_disk_mb=0))
def files(): return sorted(p.name for p in folder.rglob("*") if p.suffix in (".wav", ".tmp"))
def refused(call):
    try:
        call()
    except StorageError as error:
        return [type(error).__name__, error.message]
LONG = "Twelve words stand here so that the tone is long enough today. "
"""


def on_small_disk(code: str, folder: Path) -> Any:
    """What `code` prints as JSON, run where it may mount."""
    return last_json(PREPARE + code, folder, "unshare", "--map-root-user", "--mount")


def test_a_disk_that_fills_up_keeps_what_was_whole_and_nothing_else(tmp_path: Path) -> None:
    found = on_small_disk(
        """
mount("size=1200k")
with opened() as lab:
    first = lab.generate("Short.", progress=False)
    error = refused(lambda: lab.generate(LONG * 8, progress=False))
    until = time.monotonic() + 5  # the chunk being spoken may still be on its way to the cache
    while len(after := files()) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    records = [(r["status"], r["error"]) for r in lab.history]
    again = lab.generate("Short again.", progress=False)
    lab.library.delete(first.record["id"])
with opened() as lab:
    statuses = [r["status"] for r in lab.history]
print(json.dumps([error, after, records, statuses, files()]))
""",
        tmp_path,
    )
    error, after, records, statuses, files = found
    assert error[0] == "StoreFull" and "disk is full" in error[1]
    assert len(after) == 1 and len(files) == 1
    assert [status for status, _ in records] == ["failed", "completed"]
    assert "disk is full" in records[0][1]
    assert statuses == ["completed", "failed"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    error = on_small_disk(
        """
mount("size=1m")
remount("ro")
print(json.dumps(refused(opened)))
""",
        tmp_path,
    )
    assert error == [
        "StorageError",
        f"The data folder {tmp_path} cannot be used: Read-only file system. "
        "Choose another with --data-dir.",
    ]


def test_a_full_disk_is_left_through_every_door_that_deletes(tmp_path: Path) -> None:
    found = on_small_disk(
        """
from fastapi.testclient import TestClient
from voicelab.rest import build
mount("size=4m")
def stuff():
    with open(folder / "other", "ab", buffering=0) as other:
        for size in (65536, 4096, 1):
            try:
                while True: other.write(bytes(size))
            except OSError:
                pass
lab = opened()
lab.registry.load("tone")
rest = TestClient(build(lab), raise_server_exceptions=False)
ids = [lab.generate(f"Take {n}.", progress=False).record["id"] for n in range(7)]
chain = {"effects_chain": [{"type": "speed", "params": {"rate": 1.5}}]}
version = rest.post(f"/generations/{ids[0]}/versions/apply-effects", json=chain).json()["id"]
profile, other = (rest.post("/profiles", json={"name": n}).json()["id"] for n in "ab")
story = rest.post("/stories", json={"name": "s"}).json()["id"]
items = [rest.post(f"/stories/{story}/items", json={"generation_id": ids[n]}) for n in (1, 1)]
preset = rest.post("/effects/presets", json={"name": "p", **chain}).json()["id"]
(folder / "generations" / "orphan.wav").write_bytes(bytes(5000))
before = rest.get("/health").json()["status"]
stuff()
status = [rest.post("/profiles", json={"name": f"{n:0>90}"}).status_code for n in range(100, 999)]
full = sorted(set(status[-20:]))
stuff()
health = rest.get("/health").json()
def delete(path, **more): return rest.request("DELETE", path, **more).status_code
gone = [
    delete(f"/stories/{story}/items/{items[0].json()['id']}"), delete(f"/stories/{story}"),
    delete(f"/effects/presets/{preset}"), delete(f"/generations/{ids[0]}/versions/{version}"),
    delete(f"/profiles/{profile}"), delete(f"/profiles/{other}?keep_generations=true"),
    rest.post("/status/history/clear?confirm=true").status_code,
    delete(f"/history/{ids[0]}"), delete("/history", json={"ids": ids[1:3]}),
    rest.post("/storage/cleanup?dry_run=false").status_code,
    delete("/history?confirm=true&search=Take 3"),
]
lab.library.store._storage._disk.reserve._next_attempt = 0
between = rest.get("/health").json()["status"]  # what was deleted is room for a reserve
stuff()
lab.library.store.abandon(); lab._closing.set(); lab.maintenance.stop()
with opened() as lab:  # after a crash, and the disk is full still
    rest = TestClient(build(lab), raise_server_exceptions=False)
    again = delete(f"/history/{ids[4]}")
    left = sorted(r["id"] for r in lab.history) == sorted(ids[5:])
    (folder / "other").unlink()
    lab.library.store._storage._disk.reserve._next_attempt = 0
    lab.registry.load("tone")
    after = rest.get("/health").json()["status"]
    made = rest.post("/profiles", json={"name": "after"}).status_code
print(json.dumps([before, full, health["status"], health["storage_error"], gone, between, again,
    left, after, made]))
""",
        tmp_path,
    )
    before, full, health, message, gone, *rest = found
    assert (before, full, health) == ("healthy", [507], "degraded")
    assert message.startswith("The disk is full")
    assert gone == [200] * 11
    assert rest == ["healthy", 200, True, "healthy", 200]


def test_the_chunks_that_are_kept_go_before_a_take_is_refused(tmp_path: Path) -> None:
    found = on_small_disk(
        """
mount("size=40m")
with opened() as lab:
    lab.generate(LONG, progress=False)
    kept = lab.cache.size_bytes
    with open(folder / "cache" / "chunk", "wb") as chunk: chunk.write(bytes(8_000_000))
    lab.cache._sizes = None
    free = lab.library.files.free_bytes()
    (folder / "other").write_bytes(bytes(free - 900_000))
    whole = lab.generate(LONG * 8, progress=False).record["status"]
    print(json.dumps([kept > 0, whole, lab.cache.size_bytes]))
""",
        tmp_path,
    )
    assert found == [True, "completed", 0]
