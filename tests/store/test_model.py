"""Random calls compared with a plain dictionary, through reopening, compaction and crashes."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.store.simulated import FOLDER, SimulatedSystem
from voicelab.errors import Conflict, InvalidInput, NotFound
from voicelab.store import Query, Term, TinyStore, index, ordering, search
from voicelab.store.protocol import Document

TABLES = ("takes", "voices")
IDS = st.sampled_from([f"i{n}" for n in range(12)])
WORDS = ("die", "stra\u00dfe", "STRASSE", "100%", ".*", "a b", "\u0130x", "\u2028", "\n", '"')
TEXTS = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "created_at": st.sampled_from(["2026-01", "2026-02", "2026-03"]),
    "n": st.none() | st.integers(-3, 3),
    "profile": st.none() | st.sampled_from(["p", "q", ""]),
    "favourite": st.booleans(),
    "text": TEXTS,
    "tags": st.lists(st.sampled_from(["a", "b", "A\u00df"]), max_size=2),
    "deep": st.sampled_from([{}, {"a": [1, {"b": None}]}, [], 2**63 - 1, 0.1, -0.0]),
}
FIELDS = st.fixed_dictionaries({}, optional=VALUES)
TERMS = st.builds(
    lambda word, fields, also: Term(word.casefold(), fields, also),
    st.sampled_from([*WORDS, "s", "ss", "", "nothing"]),
    st.sampled_from([("text",), ("text", "tags"), ("profile", "text"), ("none",)]),
    st.sampled_from([{}, {"profile": frozenset({"p"})}, {"profile": frozenset({"", "q"})}]),
)
RANGES = st.fixed_dictionaries(
    {},
    optional={
        "n": st.tuples(st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3)),
        "created_at": st.sampled_from(
            [(None, "2026-02"), ("2026-02", None), ("2026-02", "2026-02")]
        ),
    },
)
WHERE = st.fixed_dictionaries(
    {},
    optional={key: VALUES[key] for key in ("profile", "favourite", "n", "tags", "created_at")},
)
Calls = list[tuple[bool, str, str, Document]]
CALLS = st.lists(st.tuples(st.booleans(), st.sampled_from(TABLES), IDS, FIELDS), max_size=3)
QUERIES = st.builds(
    Query,
    where=st.just({}) | WHERE,
    has=st.just({}) | st.sampled_from([{"tags": "a"}, {"tags": "A\u00df"}, {"none": "a"}]),
    ranges=st.just({}) | RANGES,
    terms=st.lists(TERMS, max_size=2),
    order=st.sampled_from(["created_at", "n", "text", "profile", "id", "missing"]),
    descending=st.booleans(),
)


def matches(row: Document, query: Query) -> bool:
    """The words of `Query`'s documentation, one by one."""
    return (
        all(row.get(key) == value for key, value in query.where.items())
        and all(value in (row.get(key) or []) for key, value in query.has.items())
        and all(between(row.get(key), *ends) for key, ends in query.ranges.items())
        and all(has_term(row, term) for term in query.terms)
    )


def between(value: Any, least: Any, greatest: Any) -> bool:
    if value is None or (least is not None and value < least):
        return False
    return greatest is None or value <= greatest


def has_term(row: Document, term: Term) -> bool:
    texts: list[str] = []
    for name in term.fields:
        value = row.get(name) or ""
        texts += value if isinstance(value, list) else [str(value)]
    return any(term.text in text.casefold() for text in texts) or any(
        row.get(key) in values for key, values in term.also.items()
    )


def sort_key(row: Document, order: str) -> tuple[bool, Any, str]:
    value = row.get(order)
    if order == "text" and value is not None:
        value = value.casefold()
    return (value is not None, 0 if value is None else value, row["id"])


class StoreMachine(RuleBasedStateMachine):
    """A TinyStore on a simulated disk beside a dictionary."""

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed: int) -> None:
        self.disk = SimulatedSystem(Random(seed))
        self.rows: dict[str, dict[str, Document]] = {table: {} for table in TABLES}
        self.open()

    def open(self) -> None:
        self.store = TinyStore(
            FOLDER, system=self.disk, background=False, locked=False, compact_after_bytes=2_000
        )

    def insert(self, table: str, id: str, fields: Document) -> None:
        document = {"id": id, **copy.deepcopy(fields)}
        if id in self.rows[table]:
            with pytest.raises(Conflict):
                self.store.insert(table, document)
            return
        self.store.insert(table, document)
        self.rows[table][id] = copy.deepcopy(document)
        document["tags"] = ["changed by the caller"]

    def patch(self, table: str, id: str, fields: Document) -> None:
        if id not in self.rows[table]:
            with pytest.raises(NotFound):
                self.store.patch(table, id, fields)
            return
        row = self.rows[table][id] = {**self.rows[table][id], **copy.deepcopy(fields)}
        given = self.store.patch(table, id, fields)
        assert given == row
        given["deep"] = ["changed by the caller"]

    inserting = rule(table=st.sampled_from(TABLES), id=IDS, fields=FIELDS)(insert)
    patching = rule(table=st.sampled_from(TABLES), id=IDS, fields=FIELDS)(patch)

    @rule(table=st.sampled_from(TABLES), id=IDS, fields=FIELDS, n=st.integers(-3, 3))
    def patch_expecting(self, table: str, id: str, fields: Document, n: int) -> None:
        row = self.rows[table].get(id)
        if row is None or row.get("n") == n:
            self.patch(table, id, fields)
        else:
            with pytest.raises(Conflict):
                self.store.patch(table, id, fields, expected={"n": n})

    @rule(table=st.sampled_from(TABLES), ids=st.lists(IDS, max_size=4))
    def delete_many(self, table: str, ids: list[str]) -> None:
        there = set(ids) & set(self.rows[table])
        assert self.store.delete_many(table, ids) == len(there)
        for id in there:
            del self.rows[table][id]

    @rule(table=st.sampled_from(TABLES), id=IDS)
    def delete(self, table: str, id: str) -> None:
        assert self.store.delete(table, id) == (self.rows[table].pop(id, None) is not None)

    @rule(
        before=CALLS, within=st.none() | CALLS, after=CALLS, fails=st.booleans(), all=st.booleans()
    )
    def batch(self, before: Calls, within: Calls | None, after: Calls, fails: bool, all: bool):
        """One commit, with another inside it that may fail alone."""
        rows = copy.deepcopy(self.rows)
        with contextlib.suppress(ZeroDivisionError), self.store.batch():
            self.call(before)
            if within is not None:
                self.nested(within, fails)
            self.call(after)
            if all:
                raise ZeroDivisionError
        if all:
            self.rows = rows

    def nested(self, calls: Calls, fails: bool) -> None:
        rows = copy.deepcopy(self.rows)
        with contextlib.suppress(ZeroDivisionError), self.store.batch():
            self.call(calls)
            if fails:
                raise ZeroDivisionError
        if fails:
            self.rows = rows
        self.compare()

    def call(self, calls: Calls) -> None:
        for inserts, *call in calls:
            (self.insert if inserts else self.patch)(*call)
            self.compare()

    @rule(ids=st.lists(IDS, max_size=5), table=st.sampled_from(TABLES))
    def get(self, ids: list[str], table: str) -> None:
        rows = self.rows[table]
        assert self.store.get_many(table, ids) == [rows[id] for id in ids if id in rows]
        for id in ids:
            found = self.store.get(table, id)
            assert found == rows.get(id)
            if found is not None:
                found.setdefault("tags", []).append("changed by the caller")

    @rule(
        table=st.sampled_from(TABLES),
        query=QUERIES,
        limit=st.none() | st.integers(0, 5),
        offset=st.integers(0, 3),
    )
    def page(self, table: str, query: Query, limit: int | None, offset: int) -> None:
        rows = [row for row in self.rows[table].values() if matches(row, query)]
        rows.sort(key=lambda row: sort_key(row, query.order), reverse=query.descending)
        end = None if limit is None else offset + limit
        found = self.store.page(table, query, limit=limit, offset=offset)
        assert found == (rows[offset:end], len(rows))
        assert self.store.count(table, query) == len(rows)
        values = self.store.values(table, ("id", "n"), query)
        assert sorted(values, key=str) == sorted(((r["id"], r.get("n")) for r in rows), key=str)
        groups = Counter(row["id"][:1] for row in rows)
        assert dict(self.store.tally(table, (("id", 1),), (), query)) == groups

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule(power=st.booleans())
    def crash(self, power: bool) -> None:
        self.disk = self.disk.cut() if power else self.disk.kill()
        self.open()

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def compare(self) -> None:
        for table, rows in self.rows.items():
            assert self.store.count(table) == len(rows)
            found = self.store.page(table, Query())[0]
            assert {row["id"]: row for row in found} == rows


StoreMachine.TestCase.settings = settings(
    max_examples=70, stateful_step_count=30, deadline=None, derandomize=True
)
TestStore = StoreMachine.TestCase


class SmallBlocks(StoreMachine):
    """The same with tables that are long for the index: many blocks, no short cuts."""

    def __init__(self) -> None:
        super().__init__()
        self._patches = pytest.MonkeyPatch()
        self._patches.setattr(ordering, "BLOCK", 2)
        self._patches.setattr(search, "SMALL_COUNT", 3)
        self._patches.setattr(index, "MAX_GROUPED_FIELDS", 2)

    def teardown(self) -> None:
        self._patches.undo()


SmallBlocks.TestCase.settings = StoreMachine.TestCase.settings
TestSmallBlocks = SmallBlocks.TestCase


@pytest.mark.parametrize(
    "value",
    [2**70, "\ud800", (1, 2), {1: 2}, -0.0, True, 1e22, "\0\x1e\n", {"a": [None, [{}]]}],
    ids=str,
)
def test_what_is_kept_is_kept_as_it_was_read(tmp_path: Path, value: Any) -> None:
    store = TinyStore(tmp_path)
    store.insert("t", {"id": "a", "value": value})
    kept = repr(store.get("t", "a"))
    store.abandon()
    for _ in range(2):  # from the journal, then from the base
        store = TinyStore(tmp_path)
        assert repr(store.get("t", "a")) == kept
        store.close()


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {1}, b"", object(), TABLES.index])
def test_what_json_cannot_hold_is_refused_and_changes_nothing(tmp_path: Path, value: Any) -> None:
    store = TinyStore(tmp_path)
    store.insert("t", {"id": "a"})
    for refused in (
        lambda: store.insert("t", {"id": "b", "value": value}),
        lambda: store.patch("t", "a", {"value": value}),
    ):
        with pytest.raises(InvalidInput):
            refused()
    store.close()
    store = TinyStore(tmp_path)
    assert store.page("t", Query())[0] == [{"id": "a"}]
    store.close()


@pytest.mark.parametrize("name", [5, None, True, "_meta"])
def test_a_table_has_a_text_for_a_name(tmp_path: Path, name: Any) -> None:
    store = TinyStore(tmp_path)
    with pytest.raises(InvalidInput):
        store.insert(name, {"id": "a"})
    store.insert("t", {"id": "a"})
    store.close()
    TinyStore(tmp_path).close()
