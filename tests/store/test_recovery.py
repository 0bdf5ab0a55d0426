"""What opening finds: crashes, damage, edits by hand, older and newer files, other readers."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest
from tinydb import TinyDB

from tests.store.conftest import Opened, fill, ids, journals
from voicelab.errors import StorageError, StoreCorrupt
from voicelab.store.journal.snapshot import Tables
from voicelab.store.journal.system import System
from voicelab.store.tinydb.migration import Migration


def crashed(opened: Opened, folder: Path, count: int = 4) -> bytes:
    """The journal of a store that died with that many commits in it."""
    store = opened()
    fill(store, count)
    store.abandon()
    (journal,) = journals(folder)
    return journal.read_bytes().rstrip(b"\0")


def test_a_segment_cut_anywhere_leaves_a_prefix(opened: Opened, tmp_path: Path) -> None:
    content = crashed(opened, tmp_path)
    (journal,) = journals(tmp_path)
    base = (tmp_path / "db.json").read_bytes()
    first = content.index(b"\n") + 1
    for size in range(first, len(content) + 1, 3):  # at every byte: test_damage
        (tmp_path / "db.json").write_bytes(base)
        journal.write_bytes(content[:size])
        store = opened()
        # A line without its end of line is whole: its checksum says so.
        ends = content[first : size + 1].endswith(b"\n")
        whole = content[first : size + 1].count(b"\n")
        cut = b"" if ends else content[first:size].rpartition(b"\n")[2]
        assert ids(store) == [f"i{n}" for n in range(whole)]
        aside = tmp_path / f"db.json.tail-{int(journal.name[-8:]):08}"
        assert aside.exists() == bool(cut) and bool(store.findings) == bool(cut)
        assert not cut or aside.read_bytes() == cut
        aside.unlink(missing_ok=True)
        store.abandon()


def test_a_bit_flipped_anywhere_is_never_taken_for_data(opened: Opened, tmp_path: Path) -> None:
    content = crashed(opened, tmp_path)
    (journal,) = journals(tmp_path)
    base = (tmp_path / "db.json").read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    for at in range(0, len(content), 3):  # at every byte: test_damage
        (tmp_path / "db.json").write_bytes(base)
        journal.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        if at < last:
            with pytest.raises(StoreCorrupt, match="db repair"):
                opened()
            continue
        store = opened()  # nothing after it says that the last line was answered
        assert ids(store) == ["i0", "i1", "i2"] and store.findings
        store.abandon()


def test_a_bit_flipped_in_the_base_is_told(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store, 2)
    store.close()
    path = tmp_path / "db.json"
    content = path.read_bytes()
    for at in range(0, len(content), 2):
        flipped = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
        path.write_bytes(flipped)
        try:
            store = opened()
        except StorageError:
            assert path.read_bytes() == flipped
            continue
        assert store.is_edited
        store.abandon()
        copies = list(tmp_path.glob("db.json.edited-*"))
        assert [copy.read_bytes() for copy in copies] == [flipped] * store.is_edited
        for copy in copies:
            copy.unlink()


def test_a_missing_base_or_segment_is_corruption(opened: Opened, tmp_path: Path) -> None:
    crashed(opened, tmp_path)
    base = (tmp_path / "db.json").read_bytes()
    (tmp_path / "db.json").unlink()
    with pytest.raises(StoreCorrupt, match="is gone"):
        opened()
    (tmp_path / "db.json").write_bytes(base)
    (journal,) = journals(tmp_path)
    content = journal.read_bytes()
    store = opened()
    fill(store, 1, start=4)
    store.abandon()
    (tmp_path / "db.json").write_bytes(base)
    with pytest.raises(StoreCorrupt, match="commit 1,"):
        opened()
    journal.write_bytes(content)
    assert len(ids(opened())) == 5


def test_what_was_being_made_is_dropped(opened: Opened, tmp_path: Path) -> None:
    crashed(opened, tmp_path)
    for name in ("db.json.tmp", "db.json.j-00000009.new", "notes.tmp"):
        (tmp_path / name).write_bytes(b"half")
    opened()
    assert (tmp_path / "notes.tmp").exists()
    assert not list(tmp_path.glob("db.json.*tmp")) and not list(tmp_path.glob("*.new"))


def test_a_plain_file_from_before_is_adopted(opened: Opened, tmp_path: Path) -> None:
    with TinyDB(tmp_path / "db.json") as database:
        database.table("t").insert_multiple([{"id": "a", "n": 2**80}, {"id": "b"}])
        database.table("empty").truncate()
    store = opened()
    assert store.get("t", "a") == {"id": "a", "n": 2**80} and not store.findings
    store.insert("t", {"id": "c"})
    store.close()
    again = opened()
    assert again.count("t") == 3 and sorted(again.tables()) == ["empty", "t"]


def test_an_edit_by_hand_is_told_and_copied_then_taken(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store, 2)
    store.close()
    tables = json.loads((tmp_path / "db.json").read_bytes())
    tables["t"]["1"]["text"] = "edited"
    (tmp_path / "db.json").write_text(json.dumps(tables, indent=2))
    store = opened()
    assert store.get("t", "i0")["text"] == "edited"
    assert store.is_edited and "another program" in store.findings[0]
    (copy,) = tmp_path.glob("db.json.edited-*")
    assert json.loads(copy.read_bytes()) == tables
    store.close()
    assert not opened().findings


def test_an_edit_while_the_journal_is_not_folded_is_refused(opened: Opened, tmp_path: Path) -> None:
    crashed(opened, tmp_path)
    path = tmp_path / "db.json"
    path.write_bytes(path.read_bytes().replace(b"_meta", b"_metb"))
    with pytest.raises(StoreCorrupt, match="journal"):
        opened()


class Reads(System):
    """Counts them; raises an error instead when it has one."""

    def __init__(self, error: int | None = None) -> None:
        self.bases = 0
        self.error = error

    def read(self, path: Path) -> bytes:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error), str(path))
        self.bases += path.name == "db.json"
        return super().read(path)


def test_a_reader_looks_twice_at_what_is_damaged(opened: Opened, tmp_path: Path) -> None:
    crashed(opened, tmp_path)
    (journal,) = journals(tmp_path)
    journal.write_bytes(journal.read_bytes().replace(b"Text 2", b"Test 2"))
    system = Reads()
    with pytest.raises(StoreCorrupt, match="commit 3"):
        opened(read_only=True, system=system)
    assert system.bases == 2


def test_a_reader_is_told_in_a_sentence_what_it_cannot_read(opened: Opened) -> None:
    fill(opened(), 1)
    with pytest.raises(StorageError, match="Input/output error"):
        opened(read_only=True, system=Reads(errno.EIO))


def test_a_newer_file_is_refused_or_only_read(opened: Opened, tmp_path: Path) -> None:
    newer = Migration(schema=3, min_reader=1)
    store = opened(migration=newer)
    fill(store, 2)
    store.close()
    assert ids(opened(migration=newer, locked=False)) == ["i0", "i1"]
    with pytest.raises(StorageError, match="newer version"):
        opened()
    assert ids(opened(read_only=True)) == ["i0", "i1"]


def test_a_file_that_needs_a_newer_reader_is_refused(opened: Opened) -> None:
    store = opened(migration=Migration(schema=3, min_reader=2))
    fill(store, 1)
    store.close()
    for read_only in (True, False):
        with pytest.raises(StorageError, match="newer version"):
            opened(read_only=read_only)


def renamed(tables: Tables) -> Tables:
    return {"takes" if name == "t" else name: rows for name, rows in tables.items()}


def test_a_migration_keeps_a_copy_and_happens_once(opened: Opened, tmp_path: Path) -> None:
    crashed(opened, tmp_path, 3)
    second = Migration(schema=2, min_reader=2, steps={1: renamed})
    store = opened(migration=second)
    assert ids(store, "takes") == ["i0", "i1", "i2"] and store.tables() == ["takes"]
    store.abandon()
    (copy,) = tmp_path.glob("db.json.schema-1-*")
    assert len(TinyDB(copy).table("t")) == 3
    store = opened(migration=second)
    store.insert("takes", {"id": "i3", "created_at": "9"})
    store.close()
    assert len(ids(opened(migration=second), "takes")) == 4
    assert len(list(tmp_path.glob("db.json.schema-*"))) == 1


def test_a_migration_that_fails_leaves_the_file(opened: Opened, tmp_path: Path) -> None:
    def broken(tables: Tables) -> Tables:
        raise ValueError("no")

    crashed(opened, tmp_path, 3)
    with pytest.raises(ValueError):
        opened(migration=Migration(schema=2, steps={1: broken}))
    assert len(ids(opened())) == 3


def test_a_reader_sees_a_live_store_and_changes_nothing(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store, 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    reader = opened(read_only=True)
    assert ids(reader) == ["i0", "i1", "i2"] and reader.sequence == 3
    with pytest.raises(StorageError, match="reading only"):
        reader.delete("t", "i0")
    reader.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    fill(store, 1, start=3)


def test_readers_that_open_while_the_writer_compacts_do_not_fail(opened: Opened) -> None:
    store = opened()
    fill(store, 20)
    done = threading.Event()

    def write() -> None:
        for n in range(150):
            fill(store, 1, start=20 + n)
            store.compact()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        reader = opened(read_only=True)
        assert len(ids(reader)) >= seen
        seen = len(ids(reader))
    writer.join()
    assert seen >= 20
