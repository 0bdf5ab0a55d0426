"""TinyDB's own calls, at random, compared with TinyDB on its memory storage."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tinydb import TinyDB, operations, where
from tinydb.storages import MemoryStorage
from tinydb.table import Document

from tests.store.simulated import FOLDER, SimulatedSystem
from voicelab.store.tinydb.table import JournalDB

TABLES = st.sampled_from(["_default", "takes", "a 'b\"\n"])
VALUES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([1.0, 0.5, "a", "b", []])
KEYS = ("n", "m", "s")
DOCUMENTS = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, VALUES))
NUMBERS = st.integers(1, 9)
QUERIES = st.one_of(
    st.builds(lambda key, value: where(key) == value, st.sampled_from(KEYS), VALUES),
    st.builds(lambda key: where(key).exists(), st.sampled_from(KEYS)),
    st.builds(lambda value: where("s").matches(value), st.sampled_from(["a", ".*"])),
    st.builds(lambda a, b: (where("n") == a) | ~(where("m") == b), VALUES, VALUES),
)
UPDATES = st.one_of(
    DOCUMENTS,
    st.builds(operations.set, st.sampled_from(KEYS), VALUES),
    st.just(lambda document: document.clear()),
    st.just(lambda document: document.setdefault("log", []).append(len(document))),
)


def plain(result: Any) -> Any:
    """With its types: True is not 1, and the order of a list counts."""
    if isinstance(result, Document):
        return ["document", result.doc_id, json.dumps(result, sort_keys=True)]
    if isinstance(result, list):
        return [plain(item) for item in result]
    return sorted(result) if isinstance(result, set) else result


class TinyMachine(RuleBasedStateMachine):
    """A JournalDB on a simulated disk beside a TinyDB in memory."""

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed: int) -> None:
        self.disk = SimulatedSystem(Random(seed))
        self.open(None)

    def open(self, memory: Any) -> None:
        self.theirs = TinyDB(storage=MemoryStorage)
        self.theirs.storage.memory = memory
        self.ours = JournalDB(
            FOLDER / "db.json",
            system=self.disk,
            background=False,
            locked=False,
            compact_after_bytes=1_500,
        )

    def both(self, call: Callable[[TinyDB], Any]) -> None:
        results = []
        for db in (self.ours, self.theirs):
            try:
                results.append(plain(call(db)))
            except Exception as error:
                results.append(type(error))
        assert results[0] == results[1]

    @rule(table=TABLES, document=DOCUMENTS)
    def insert(self, table: str, document: dict[str, Any]) -> None:
        self.both(lambda db: db.table(table).insert(copy.deepcopy(document)))

    @rule(table=TABLES, document=DOCUMENTS, number=NUMBERS)
    def insert_numbered(self, table: str, document: dict[str, Any], number: int) -> None:
        self.both(lambda db: db.table(table).insert(Document(copy.deepcopy(document), number)))

    @rule(table=TABLES, documents=st.lists(DOCUMENTS, max_size=3))
    def insert_multiple(self, table: str, documents: list[dict[str, Any]]) -> None:
        self.both(lambda db: db.table(table).insert_multiple(copy.deepcopy(documents)))

    @rule(table=TABLES, update=UPDATES, query=st.none() | QUERIES)
    def update(self, table: str, update: Any, query: Any) -> None:
        self.both(lambda db: db.table(table).update(copy.deepcopy(update), query))

    @rule(table=TABLES, update=UPDATES, numbers=st.lists(NUMBERS, max_size=3, unique=True))
    def update_numbered(self, table: str, update: Any, numbers: list[int]) -> None:
        self.both(lambda db: db.table(table).update(copy.deepcopy(update), doc_ids=numbers))

    @rule(table=TABLES, updates=st.lists(st.tuples(UPDATES, QUERIES), max_size=3))
    def update_multiple(self, table: str, updates: list[tuple[Any, Any]]) -> None:
        self.both(lambda db: db.table(table).update_multiple(copy.deepcopy(updates)))

    @rule(table=TABLES, document=DOCUMENTS, query=QUERIES)
    def upsert(self, table: str, document: dict[str, Any], query: Any) -> None:
        self.both(lambda db: db.table(table).upsert(copy.deepcopy(document), query))

    @rule(table=TABLES, document=DOCUMENTS, number=NUMBERS)
    def upsert_numbered(self, table: str, document: dict[str, Any], number: int) -> None:
        self.both(lambda db: db.table(table).upsert(Document(copy.deepcopy(document), number)))

    @rule(table=TABLES, query=QUERIES)
    def remove(self, table: str, query: Any) -> None:
        self.both(lambda db: db.table(table).remove(query))

    @rule(table=TABLES, numbers=st.lists(NUMBERS, min_size=1, max_size=3, unique=True))
    def remove_numbered(self, table: str, numbers: list[int]) -> None:
        self.both(lambda db: db.table(table).remove(doc_ids=numbers))

    @rule(table=TABLES)
    def truncate(self, table: str) -> None:
        self.both(lambda db: db.table(table).truncate())

    @rule(table=TABLES)
    def drop_table(self, table: str) -> None:
        self.both(lambda db: db.drop_table(table))

    @rule()
    def drop_tables(self) -> None:
        self.both(lambda db: db.drop_tables())

    @rule(table=TABLES, query=QUERIES, number=NUMBERS)
    def look(self, table: str, query: Any, number: int) -> None:
        self.both(lambda db: db.table(table).search(query))
        self.both(lambda db: db.table(table).count(query))
        self.both(lambda db: db.table(table).get(query))
        self.both(lambda db: db.table(table).get(doc_id=number))
        self.both(lambda db: db.table(table).get(doc_ids=[number, 1]))
        self.both(lambda db: db.table(table).contains(doc_id=number))
        self.both(lambda db: list(db.table(table)))
        self.both(lambda db: len(db.table(table)))

    @rule()
    def change_what_was_read(self) -> None:
        for document in self.ours.all():
            document["mine"] = True
            document.setdefault("log", []).append("mine")

    @rule()
    def compact(self) -> None:
        self.ours.storage.compact()

    @rule()
    def reopen(self) -> None:
        self.ours.close()
        self.open(self.theirs.storage.memory)

    @rule(power=st.booleans())
    def crash(self, power: bool) -> None:
        self.disk = self.disk.cut() if power else self.disk.kill()
        self.open(self.theirs.storage.memory)

    @invariant()
    @precondition(lambda self: hasattr(self, "ours"))
    def compare(self) -> None:
        self.both(lambda db: db.tables())
        for table in ("_default", "takes", "a 'b\"\n"):
            self.both(lambda db, table=table: db.table(table).all())


TinyMachine.TestCase.settings = settings(
    max_examples=70, stateful_step_count=30, deadline=None, derandomize=True
)
TestTinyDB = TinyMachine.TestCase
