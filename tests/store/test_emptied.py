"""A folder that had records, and has none: refused, told how to go on, and brought back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tinydb import TinyDB

from tests.cli.test_db import command
from tests.store.conftest import Opened, fill, ids
from voicelab.errors import StoreCorrupt
from voicelab.store import TinyStore
from voicelab.store.journal.lock import NEW_FOLDER, OWNER, ProcessLock

EMPTY = [b"", b" \n\t\r\n", b"\0" * 4096]


def take(folder: Path, name: str = "take.wav", place: str = "generations") -> Path:
    (folder / place).mkdir(exist_ok=True)
    (folder / place / name).write_bytes(b"RIFF")
    return folder / place / name


@pytest.fixture
def kept(opened: Opened, tmp_path: Path) -> Path:
    """The folder of a store that was closed: three records, a voice and its clip."""
    store = opened()
    fill(store, 3)
    clip = {"profile_id": "p", "audio_path": "profiles/take.wav"}
    store.insert("profiles", {"id": "p", "created_at": "0", "name": "Anna"})
    store.insert("samples", {"id": "s", "created_at": "0"} | clip)
    store.close()
    take(tmp_path, place="profiles")
    return tmp_path


def refused(folder: Path, match: str) -> None:
    """Opening fails, a second time too, and changes nothing."""
    before = contents_below(folder)
    for read_only in (False, True, False):
        with pytest.raises(StoreCorrupt, match=match) as raised:
            TinyStore(folder, read_only=read_only)
        assert "db restore" in raised.value.message and "--from-audio" in raised.value.message
    assert contents_below(folder) == before


def contents_below(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): p.read_bytes() for p in paths if p.name not in (OWNER, "db.lock")}


@pytest.mark.parametrize("content", EMPTY)
def test_an_empty_file_is_never_a_new_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "db.json").write_bytes(content)
    refused(tmp_path, r"db\.json cannot be read: it is empty")


def test_a_folder_of_that_name_is_no_new_store(tmp_path: Path) -> None:
    (tmp_path / "db.json").mkdir()
    refused(tmp_path, r"db\.json is no file of records")


def test_a_pipe_of_that_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "db.json")
    refused(tmp_path, r"db\.json is no file of records")


@pytest.mark.parametrize("content", [None, b"{}", b'{"_default": {}}', b'{"t": {}, "u": {}}'])
def test_no_records_beside_takes_are_no_new_store(kept: Path, content: bytes | None) -> None:
    (kept / "db.json").unlink()
    if content is not None:
        (kept / "db.json").write_bytes(content)
    refused(
        kept,
        r"db\.json (is gone|holds no records), .* clips of voices, owner\.txt\.",
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("generations/x.wav", "takes"),
        ("generations/x.flac", "takes"),
        ("clips/x.wav", "clips of takes"),
        ("profiles/x.wav", "clips of voices"),
        ("db-20260101T000000.000000Z.backup.json", "backups"),
        ("db.json.damaged-20260101T000000.000000Z", "copies of older records"),
        ("db.json.tail-00000001", "copies of older records"),
        ("owner.txt", "owner.txt"),
    ],
)
def test_each_trace_of_records_is_enough(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("process 1 on host since 2026-01-01 00:00:00 UTC (app.py)")
    refused(tmp_path, f"it has {told}")


def test_a_journal_without_its_base_is_refused(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store, 2)
    store.abandon()
    (tmp_path / "db.json").unlink()
    refused(tmp_path, "its journal is there")


def test_a_new_folder_opens_whatever_a_killed_first_start_left(tmp_path: Path) -> None:
    for folder in ("generations", "profiles", "clips", "cache"):
        (tmp_path / folder).mkdir()
    (tmp_path / "generations" / ".half.wav.1.tmp").write_bytes(b"x")
    (tmp_path / "db.json.tmp").write_bytes(b"{")
    (tmp_path / "db.json.reserve").write_bytes(b"x" * 100)
    for _ in range(2):  # killed before there were records
        ProcessLock(tmp_path).release()
        assert (tmp_path / OWNER).read_text().endswith(NEW_FOLDER)
    store = TinyStore(tmp_path)
    assert store.count("t") == 0 and not (tmp_path / OWNER).read_text().endswith(NEW_FOLDER)
    store.abandon()
    (tmp_path / "db.json").unlink()
    refused(tmp_path, r"it has owner\.txt\.")


def test_plain_tinydb_that_has_nothing_is_taken_in(tmp_path: Path) -> None:
    (tmp_path / "db.json").write_bytes(b"{}")
    store = TinyStore(tmp_path)
    fill(store, 1)
    store.close()
    assert len(TinyDB(tmp_path / "db.json").table("t")) == 1


@pytest.mark.parametrize("content", [None, *EMPTY, b"{}"])
def test_check_tells_and_restore_brings_back(kept: Path, content: bytes | None, capsys) -> None:
    assert command(kept, "backup") == 0
    (kept / "db.json").unlink()
    if content is not None:
        (kept / "db.json").write_bytes(content)
    assert command(kept, "check") == 1
    assert "db restore" in capsys.readouterr().out
    assert command(kept, "restore", "--list") == 0
    assert "5 records" in capsys.readouterr().out
    assert command(kept, "restore") == 0
    if content is not None:
        (aside,) = kept.glob("db.json.replaced-*")
        assert aside.read_bytes() == content
    assert command(kept, "check") == 0
    store = TinyStore(kept)
    assert ids(store) == ["i0", "i1", "i2"] and store.count("t") == 3
    store.close()


def test_restore_takes_the_newest_that_is_whole(kept: Path, capsys) -> None:
    assert command(kept, "backup") == 0
    for day, content in (("1", "{"), ("2", ""), ("3", "{}")):
        (kept / f"db-9999010{day}T000000.000000Z.backup.json").write_text(content)
    (kept / "db.json").write_bytes(b"")
    capsys.readouterr()
    assert command(kept, "restore", "--list") == 0
    told = capsys.readouterr().out
    assert told.count("cannot be restored") == 2 and "1 backups can be" in told
    assert command(kept, "restore") == 0
    assert capsys.readouterr().out.count("passed over") == 3
    assert command(kept, "check") == 0


def test_restore_without_a_whole_backup_says_so(kept: Path, capsys) -> None:
    (kept / "db.json").unlink()
    assert command(kept, "restore") == 1
    assert "--from-audio" in capsys.readouterr().err
    assert command(kept, "restore", "--list") == 1
    (kept / "db-99990101T000000.000000Z.backup.json").write_text("{")
    before = contents_below(kept)
    assert command(kept, "restore") == 1
    assert "cannot be read" in capsys.readouterr().err and contents_below(kept) == before


def test_records_are_copied_to_a_folder_that_has_its_sounds_already(kept: Path, tmp_path) -> None:
    from voicelab.cli import main

    target = tmp_path / "target"
    target.mkdir()
    take(target)
    assert main(["db", "copy", str(kept), str(target), "--dry-run"]) == 0
    assert main(["db", "copy", str(kept), str(target)]) == 0
    assert len(json.loads((target / "db.json").read_bytes())["t"]) == 3
