"""TinyDB's own operations on the journalled storage, compared with TinyDB in memory."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tinydb import TinyDB, where
from tinydb.operations import add, delete
from tinydb.storages import MemoryStorage
from tinydb.table import Document

from voicelab.errors import InvalidInput
from voicelab.store import JournalDB
from voicelab.store.tinydb.storage import JournalStorage


@pytest.fixture
def database(tmp_path: Path) -> Iterator[JournalDB]:
    database = JournalDB(tmp_path / "db.json", background=False)
    yield database
    database.close()


def sequence(database: TinyDB) -> int:
    storage = database.storage
    assert isinstance(storage, JournalStorage)
    return storage.sequence


OPERATIONS: list[Callable[[Any], Any]] = [
    lambda t: t.insert({"n": 1, "x": {"y": []}}),
    lambda t: t.insert_multiple([{"n": n} for n in range(5)]),
    lambda t: t.insert(Document({"n": 7}, 5 + max((d.doc_id for d in t), default=0))),
    lambda t: t.update({"m": 1}, where("n") > 2),
    lambda t: t.update(add("n", 1), where("n").exists()),
    lambda t: t.update(delete("n"), doc_ids=[d.doc_id for d in t if "n" in d][:1]),
    lambda t: t.update_multiple([({"k": 1}, where("n") == 1), (add("n", 1), where("n") == 2)]),
    lambda t: t.upsert({"n": 3, "new": True}, where("n") == 3),
    lambda t: t.upsert({"n": -1}, where("n") == -999),
    lambda t: t.remove(where("n") == 4),
    lambda t: t.remove(doc_ids=[d.doc_id for d in t][:2]),
    lambda t: t.truncate(),
]


def test_random_operations_do_what_tinydb_does(tmp_path: Path) -> None:
    choose = random.Random(7)
    model = TinyDB(storage=MemoryStorage)
    path = tmp_path / "db.json"
    database = JournalDB(path, background=False, compact_after_bytes=2000)
    for step in range(600):
        name = choose.choice(["_default", "a", "b"])
        operation = choose.choices(OPERATIONS, weights=[9] * 11 + [1])[0]
        assert operation(database.table(name)) == operation(model.table(name))
        if step % 40 == 0:
            choose.choice([database.drop_table, model.drop_table])("nobody")
            database.drop_table("b")
            model.drop_table("b")
        if step % 29 == 0:
            assert isinstance(database.storage, JournalStorage)
            (database.storage.abandon if step % 2 else database.close)()
            database = JournalDB(path, background=False, compact_after_bytes=2000)
            assert database.tables() == model.tables()
            model._tables.clear()  # a new process does not remember ids that are gone
        for table in model.tables():
            assert database.table(table).all() == model.table(table).all()
    database.close()
    with TinyDB(path) as plain:
        assert plain.tables() - {"_meta"} == model.tables()
        assert all(plain.table(t).all() == model.table(t).all() for t in model.tables())


@pytest.mark.parametrize("operation", OPERATIONS[:8])
def test_an_operation_is_one_commit(database: JournalDB, operation) -> None:
    database.insert_multiple([{"n": n} for n in range(6)])
    before = sequence(database)
    operation(database)
    assert sequence(database) == before + 1


def test_what_touches_nothing_writes_nothing(database: JournalDB) -> None:
    database.insert({"n": 1})
    before = sequence(database)
    database.update({"n": 1})
    database.remove(where("n") == 5)
    assert sequence(database) == before


@pytest.mark.parametrize("value", [True, 1.0])
def test_what_python_holds_for_equal_is_a_change_in_json(database: JournalDB, value) -> None:
    database.insert({"n": 1, "deep": [1]})
    database.update({"n": value})
    assert type(database.get(doc_id=1)["n"]) is type(value)
    tables = database.storage.read()
    tables["_default"]["1"]["deep"] = [value]
    database.storage.write(tables)
    assert type(database.get(doc_id=1)["deep"][0]) is type(value)


def test_a_failing_updater_changes_nothing(database: JournalDB) -> None:
    database.insert_multiple([{"n": 1}, {"m": 1}])

    def broken(document: Any) -> None:
        document["n"] += 1

    with pytest.raises(KeyError):
        database.update(broken)
    with pytest.raises(InvalidInput):
        database.update({"n": float("nan")})
    assert database.all() == [{"n": 1}, {"m": 1}]


def test_what_is_read_is_the_readers_own(database: JournalDB) -> None:
    database.insert({"tags": []})
    database.all()[0]["tags"].append(1)
    database.search(where("tags").exists())[0]["tags"].append(1)
    database.storage.read()["_default"]["1"]["tags"].append(1)
    assert database.get(doc_id=1) == {"tags": []}


def test_a_stock_table_on_the_storage_commits_what_differs(tmp_path: Path) -> None:
    with TinyDB(tmp_path / "db.json", storage=JournalStorage) as database:
        database.insert_multiple([{"n": n, "x": "y" * 100} for n in range(100)])
        storage = database.storage
        assert isinstance(storage, JournalStorage)
        before = storage.journal_bytes
        database.update({"n": -1}, where("n") == 50)
        assert storage.journal_bytes - before < 400
        database.drop_tables()
        assert database.tables() == set()
    with JournalDB(tmp_path / "db.json") as again:
        assert again.tables() == set()


def test_threads_may_search_and_change_at_once(database: JournalDB) -> None:
    database.insert_multiple([{"n": n, "hit": False} for n in range(50)])
    stop = threading.Event()
    found: list[int] = []

    def search() -> None:
        while not stop.is_set():
            assert len(database.all()) >= 25
            found.append(len(database.search(where("hit") == True)))  # noqa: E712

    searchers = [threading.Thread(target=search) for _ in range(3)]
    for searcher in searchers:
        searcher.start()
    for n in range(50):
        database.update({"hit": True}, doc_ids=[n + 1])
        database.remove(doc_ids=[n + 1] if n % 2 else [])
    stop.set()
    for searcher in searchers:
        searcher.join()
    assert database.count(where("hit") == True) == 25 and max(found) <= 50  # noqa: E712
