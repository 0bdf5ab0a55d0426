"""All records from one kind of store to another, and back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.conftest import fill
from tests.store.server import PASSWORD, Server
from voicelab.errors import Conflict, StorageError
from voicelab.store import MemoryStore, Query, Store, TinyStore, open_store
from voicelab.store.copying import copy

ODD = {
    "id": "odd\x00",
    "text": "\x00\x01 ß \ud800",
    "list": [1, 2.5, None, {"a\x00": True}],
    "big": 2**70,
}


def filled(store: Store) -> Store:
    fill(store, 1200)
    store.insert("notes", ODD)
    store.insert("emptied", {"id": "a"})
    store.delete("emptied", "a")
    store.insert("replicas", {"id": "alive"})
    return store


def everything(store: Store) -> dict[str, list]:
    order = Query(order="id")
    return {table: store.page(table, order)[0] for table in ("t", "notes", "emptied", "replicas")}


def test_every_record_arrives_and_is_counted(store: Store) -> None:
    source, steps = filled(MemoryStore()), []
    assert copy(source, store, steps.append) == {"notes": 1, "t": 1200}
    assert sum(steps) == 1201
    assert everything(store) == everything(source) | {"replicas": []}
    back = MemoryStore()
    assert copy(store, back) == {"notes": 1, "t": 1200} and everything(back) == everything(store)


def test_a_dry_run_counts_and_copies_nothing(store: Store) -> None:
    assert copy(filled(MemoryStore()), store, dry_run=True) == {"notes": 1, "t": 1200}
    assert store.count("t") == 0


def test_a_store_with_records_is_not_copied_into(store: Store) -> None:
    fill(store)
    with pytest.raises(Conflict, match="5 records"):
        copy(filled(MemoryStore()), store)
    assert store.count("t") == 5


def test_what_is_not_read_back_as_it_was_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = store.insert
    monkeypatch.setattr(
        store, "insert", lambda table, row: insert(table, row | {"n": 0} if table == "t" else row)
    )
    with pytest.raises(StorageError, match="nothing was copied"):
        copy(filled(MemoryStore()), store)
    assert store.count("t") == store.count("notes") == 0


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "voicelab", "db", "copy", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_copies_there_and_back(tmp_path: Path, database: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    store = TinyStore(first)
    before = everything(filled(store))
    store.close()
    tried = command(first, database, "--dry-run")
    assert tried.returncode == 0 and "would copy 1,201 records" in tried.stdout, tried.stderr
    for source, target in ((first, database), (database, second)):
        done = command(source, target)
        assert done.returncode == 0 and "copied 1,201 records" in done.stdout, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
    again = open_store(second)
    assert everything(again) == before | {"replicas": []}
    again.close()
    refused = command(first, second)
    assert refused.returncode == 1 and "1,201 records already" in refused.stderr


def test_the_commands_dry_run_takes_and_makes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    store = TinyStore(source)
    filled(store)
    tried = command(source, target, "--dry-run")
    assert tried.returncode == 0 and "would copy 1,201 records" in tried.stdout, tried.stderr
    assert not target.exists()
    refused = command(source, source, "--dry-run")
    assert refused.returncode == 1 and "1,201 records already" in refused.stderr
    store.insert("t", {"id": "more"})
    store.close()


def test_the_command_makes_no_source_and_tells_no_password(tmp_path: Path, server: Server) -> None:
    missing = command(tmp_path / "typo", tmp_path / "target")
    assert missing.returncode == 1 and "no data folder" in missing.stderr
    assert not (tmp_path / "typo").exists() and not (tmp_path / "target").exists()
    refused = command(f"postgresql://lab:{PASSWORD}@127.0.0.1:1/x", tmp_path / "target")
    assert refused.returncode == 1 and PASSWORD not in refused.stderr
    assert refused.stderr.count("\n") == 1
