"""A real small disk, full or read-only: a tmpfs in a namespace of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-c", PREPARE + code, folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


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
    lab.delete(first.record["id"])
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
