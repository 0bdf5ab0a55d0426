"""`python -m voicelab db`."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pytest
from tinydb import TinyDB

from tests.store.conftest import Opened, fill, ids, journals
from voicelab.cli import main
from voicelab.cli.db import COMMANDS
from voicelab.store.journal.system import System


def command(folder: Path, *words: str) -> int:
    return main(["db", words[0], "--data-dir", str(folder), *words[1:]])


def contents(folder: Path) -> dict[str, bytes]:
    before = (path for path in folder.iterdir() if path.name not in ("owner.txt", "db.lock"))
    return {path.name: path.read_bytes() for path in before}


def damaged(opened: Opened, folder: Path) -> None:
    """Commit 3 of 5 is broken in the journal."""
    store = opened()
    fill(store, 5)
    store.abandon()
    (journal,) = journals(folder)
    journal.write_bytes(journal.read_bytes().replace(b'"text":"Text 2"', b'"text":"Next 2"'))


def test_check_counts_records_also_of_a_store_in_use(opened: Opened, tmp_path, capsys) -> None:
    fill(opened(), 5)
    before = contents(tmp_path)
    assert command(tmp_path, "check") == 0
    assert re.search(r"^t +5 records$", capsys.readouterr().out, re.M)
    assert contents(tmp_path) == before


def test_check_fails_and_names_what_is_damaged(opened: Opened, tmp_path, capsys) -> None:
    damaged(opened, tmp_path)
    before = contents(tmp_path)
    assert command(tmp_path, "check") == 1
    output = capsys.readouterr().out
    assert "commit 3" in output and "damaged line" in output
    assert contents(tmp_path) == before


def test_check_fails_on_an_edit(opened: Opened, tmp_path: Path, capsys) -> None:
    store = opened()
    fill(store, 2)
    store.close()
    path = tmp_path / "db.json"
    path.write_bytes(path.read_bytes().replace(b"Text 1", b"Test 1"))
    assert command(tmp_path, "check") == 1
    assert "another program" in capsys.readouterr().out


def test_repair_keeps_what_is_whole_and_the_rest_aside(opened: Opened, tmp_path, capsys) -> None:
    damaged(opened, tmp_path)
    before = contents(tmp_path)
    assert command(tmp_path, "repair", "--dry-run") == 0
    assert contents(tmp_path) == before and "would keep: 4" in capsys.readouterr().out
    assert command(tmp_path, "repair") == 0
    output = capsys.readouterr().out
    assert "kept: 4 records" in output and "lost: 1 commits: 3" in output
    for name, content in before.items():
        (copy,) = tmp_path.glob(f"{name}.damaged-*")
        assert copy.read_bytes() == content
    assert command(tmp_path, "check") == 0
    store = opened()
    assert ids(store) == ["i0", "i1", "i3", "i4"] and not store.findings
    fill(store, 1, start=5)


def test_repair_reads_a_broken_base_line_by_line(opened: Opened, tmp_path, capsys) -> None:
    store = opened()
    fill(store, 5)
    store.insert("u", {"id": "other"})
    store.close()
    path = tmp_path / "db.json"
    path.write_bytes(path.read_bytes().replace(b'"text":"Text 2"', b'"text":"Text 2'))
    assert command(tmp_path, "check") == 1
    assert command(tmp_path, "repair") == 0
    assert "lost: db.json: a damaged line" in capsys.readouterr().out
    store = opened()
    assert ids(store) == ["i0", "i1", "i3", "i4"] and store.get("u", "other")
    fill(store, 1, start=7)


@pytest.mark.parametrize(
    ("name", "border", "after"),
    [("u", b'"u":{', b'"u":z'), ("u", b'},\n"u":{', b'},x"u":{'), ("t", b'"t":{', b'"t"x{')],
)
def test_repair_pours_no_table_into_another(
    opened: Opened, tmp_path: Path, name: str, border: bytes, after: bytes, capsys
) -> None:
    store = opened()
    fill(store, 3)
    for id in ("first", "second"):
        store.insert("u", {"id": id, "created_at": id})
    before = {"t": ids(store), "u": ids(store, "u")}
    store.close()
    path = tmp_path / "db.json"
    path.write_bytes(path.read_bytes().replace(border, after))
    assert command(tmp_path, "repair") == 0
    output = re.search(
        r"lost: db.json: the name of a table, .* (unnamed-\d+)", capsys.readouterr().out
    )
    assert output
    before[output[1]] = before.pop(name)
    store = opened()
    assert {table: ids(store, table) for table in store.tables()} == before


def test_repair_numbers_what_has_no_number(opened: Opened, tmp_path: Path) -> None:
    rows = {"x": "odd", "7": "even", "1e3": "far", "8": "late"}
    documents = {key: {"id": id, "created_at": id} for key, id in rows.items()}
    (tmp_path / "db.json").write_text(json.dumps({"t": documents}))
    assert command(tmp_path, "check") == 1
    assert command(tmp_path, "repair") == 0
    store = opened()
    assert ids(store) == sorted(rows.values())
    store.insert("t", {"id": "new", "created_at": "z"})
    store.close()
    assert [row.doc_id for row in TinyDB(tmp_path / "db.json").table("t")] == [7, 8, 9, 10, 11]


def test_repair_with_a_broken_first_line_and_a_lost_base(opened: Opened, tmp_path, capsys) -> None:
    store = opened()
    fill(store, 3)
    store.abandon()
    (journal,) = journals(tmp_path)
    journal.write_bytes(b"x" + journal.read_bytes()[1:])
    (tmp_path / "db.json").unlink()
    assert command(tmp_path, "repair") == 0
    output = capsys.readouterr().out
    assert "first line is damaged" in output and "db.json is gone" in output
    assert ids(opened()) == ["i0", "i1", "i2"]


def test_repair_gives_up_when_nothing_is_left(tmp_path: Path, capsys) -> None:
    (tmp_path / "db.json").write_bytes(b"\0" * 100)
    assert command(tmp_path, "repair") == 1
    assert "Restore a backup" in capsys.readouterr().err
    assert (tmp_path / "db.json").read_bytes() == b"\0" * 100


def test_repair_of_a_sound_store_does_nothing(opened: Opened, tmp_path: Path, capsys) -> None:
    store = opened()
    fill(store, 2)
    store.close()
    before = contents(tmp_path)
    assert command(tmp_path, "repair") == 0
    assert contents(tmp_path) == before and "nothing to repair" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["repair", "compact", "restore"])
def test_a_store_in_use_is_not_touched(opened: Opened, tmp_path: Path, word: str, capsys) -> None:
    store = opened()
    fill(store, 1)
    assert command(tmp_path, "backup") == 0
    assert command(tmp_path, word) == 1
    assert "in use by process" in capsys.readouterr().err
    fill(store, 1, start=1)


@pytest.mark.parametrize("word", ["repair", "restore", "compact", "backup"])
def test_a_full_disk_is_one_sentence(
    opened: Opened, tmp_path: Path, word: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    fill(store, 1)
    store.close()
    assert command(tmp_path, "backup") == 0
    path = tmp_path / "db.json"
    if word == "repair":
        path.write_bytes(path.read_bytes()[:-9])
    before = contents(tmp_path)
    monkeypatch.setattr(System, "write", disk_full)
    assert command(tmp_path, word) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("voicelab: The disk is full")
    assert contents(tmp_path) == before


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_compact_folds_the_journal_of_a_crash(opened: Opened, tmp_path: Path, capsys) -> None:
    store = opened()
    fill(store, 3)
    store.abandon()
    before = contents(tmp_path)
    assert command(tmp_path, "compact", "--dry-run") == 0
    assert contents(tmp_path) == before
    assert command(tmp_path, "compact") == 0
    assert not journals(tmp_path) and "journal 0 bytes" in capsys.readouterr().out
    assert len(TinyDB(tmp_path / "db.json").table("t")) == 3


def test_a_backup_has_the_journal_too_and_is_restored(opened: Opened, tmp_path, capsys) -> None:
    store = opened()
    fill(store, 3)
    assert command(tmp_path, "backup", "--dry-run") == 0
    assert not list(tmp_path.glob("*.backup.json"))
    assert command(tmp_path, "backup") == 0
    (backup,) = tmp_path.glob("db-*.backup.json")
    assert len(TinyDB(backup).table("t")) == 3
    store.delete("t", "i0")
    fill(store, 4, start=3)
    store.abandon()
    before = contents(tmp_path)
    assert command(tmp_path, "restore", "--dry-run") == 0
    assert contents(tmp_path) == before
    assert command(tmp_path, "restore") == 0
    assert "restore 3 records" in capsys.readouterr().out
    for name in ("db.json", *(name for name in before if ".j-" in name)):
        (copy,) = tmp_path.glob(f"{name}.replaced-*")
        assert copy.read_bytes() == before[name]
    store = opened()
    assert ids(store) == ["i0", "i1", "i2"] and store.sequence > 8


def test_a_backup_goes_elsewhere_and_comes_back_from_there(opened: Opened, tmp_path) -> None:
    store = opened()
    fill(store, 3)
    store.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert command(tmp_path, "backup", "--to", str(elsewhere)) == 0
    (backup,) = elsewhere.iterdir()
    (tmp_path / "db.json").write_bytes(b"junk")
    assert command(tmp_path, "restore", str(backup)) == 0
    assert len(ids(opened())) == 3


def test_a_backup_keeps_the_newest(opened: Opened, tmp_path: Path, capsys) -> None:
    fill(opened(), 3)
    folder = tmp_path / "backups"
    folder.mkdir()
    mine = folder / "db-before the move.backup.json"
    mine.write_text("{}")

    def backups(*words: str) -> list[str]:
        assert command(tmp_path, "backup", "--to", str(folder), *words) == 0
        return sorted(path.name for path in folder.iterdir() if path != mine)

    for _ in range(3):
        three = backups()
    assert backups("--keep", "2", "--dry-run") == three
    assert capsys.readouterr().out.count("would remove: ") == 2
    two = backups("--keep", "2")
    assert two[0] == three[2] and len(two) == 2
    assert backups("--keep", "9")[:2] == two and len(backups("--keep", "1")) == 1
    assert mine.exists()


def test_a_backup_is_kept_whatever_the_clock_says(opened: Opened, tmp_path: Path) -> None:
    fill(opened(), 3)
    (tmp_path / "db-99991231T000000.000000Z.backup.json").write_text("{}")
    assert command(tmp_path, "backup", "--keep", "1") == 0
    (backup,) = tmp_path.glob("*.backup.json")
    assert len(TinyDB(backup).table("t")) == 3


@pytest.mark.parametrize("keep", ["0", "-1", "x"])
def test_a_backup_keeps_itself(opened: Opened, tmp_path: Path, keep: str) -> None:
    fill(opened(), 1)
    with pytest.raises(SystemExit):
        command(tmp_path, "backup", "--keep", keep)
    assert not list(tmp_path.glob("*.backup.json"))


def test_a_backup_that_fails_removes_none(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(opened(), 1)
    assert command(tmp_path, "backup") == 0
    before = contents(tmp_path)
    monkeypatch.setattr(System, "write", disk_full)
    assert command(tmp_path, "backup", "--keep", "1") == 1
    assert contents(tmp_path) == before


def test_a_damaged_backup_is_not_restored(opened: Opened, tmp_path: Path, capsys) -> None:
    store = opened()
    fill(store, 3)
    store.close()
    assert command(tmp_path, "backup") == 0
    (backup,) = tmp_path.glob("db-*.backup.json")
    backup.write_bytes(backup.read_bytes().replace(b"Text 1", b"Test 1"))
    before = contents(tmp_path)
    assert command(tmp_path, "restore") == 1
    assert "not as it was written" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "rows", [{"a": {"id": "x"}}, {"1": {}}, {"1": {"id": "x"}, "2": {"id": "x"}}]
)
def test_what_would_not_open_is_not_restored(opened: Opened, tmp_path, rows, capsys) -> None:
    store = opened()
    fill(store, 1)
    store.close()
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"t": rows}))
    before = contents(tmp_path)
    assert command(tmp_path, "restore", str(other)) == 1
    assert f"{other}: t has " in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_plain_tinydb_file_can_be_restored(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store, 1)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"t": {"1": {"id": "plain", "created_at": "1"}}}))
    assert command(tmp_path, "restore", str(other)) == 1  # in use
    assert ids(opened(read_only=True)) == ["i0"]
    store.close()
    assert command(tmp_path, "restore", str(other)) == 0
    store = opened()
    assert ids(store) == ["plain"] and not store.findings


@pytest.mark.parametrize("word", [word for word, c in COMMANDS.items() if c.settings])
def test_no_command_makes_a_folder(tmp_path: Path, word: str, capsys) -> None:
    assert command(tmp_path / "typo", word) == 1
    assert "no data folder" in capsys.readouterr().err and not (tmp_path / "typo").exists()
