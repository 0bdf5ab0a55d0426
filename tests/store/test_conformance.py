"""The protocol of a store, held by each of them: TinyDB JSON, in memory, PostgreSQL."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.conftest import fill, together
from voicelab.errors import Conflict, InvalidInput, NotFound
from voicelab.store import MemoryStore, Query, Store, Term, TinyStore, open_store


def ids(store: Store, query: Query, table: str = "t", **window: int) -> list[str]:
    return [row["id"] for row in store.page(table, query, **window)[0]]


def test_reads_are_copies(store: Store) -> None:
    given = {"id": "a", "tags": []}
    store.insert("t", given)
    given["tags"].append("later")
    store.get("t", "a")["tags"].append("x")
    store.page("t", Query())[0][0]["tags"].append("x")
    store.get_many("t", ["a"])[0]["tags"].append("x")
    assert store.get("t", "a") == {"id": "a", "tags": []}
    changes = {"tags": ["y"]}
    store.patch("t", "a", changes)["tags"].append("x")
    changes["tags"].append("x")
    assert store.get("t", "a") == {"id": "a", "tags": ["y"]}


def test_patch_expects_and_names_what_is_missing(store: Store) -> None:
    fill(store)
    assert store.patch("t", "i1", {"n": 7}, expected={"n": 1})["n"] == 7
    assert store.get("t", "i1")["text"] == "Text 1"
    with pytest.raises(Conflict):
        store.patch("t", "i1", {"n": 8}, expected={"n": 1})
    with pytest.raises(NotFound):
        store.patch("t", "none", {"n": 8})
    with pytest.raises(Conflict, match="taken"):
        store.insert("t", {"id": "i1"})
    store.insert("u", {"id": "i1"})


def test_patch_changes_no_id(store: Store) -> None:
    fill(store)
    with pytest.raises(Conflict, match="cannot be changed"):
        store.patch("t", "i1", {"id": "other"})
    assert store.patch("t", "i1", {"id": "i1", "n": 7})["n"] == 7
    assert store.get("t", "other") is None and store.count("t") == 5


def test_many_are_read_in_the_order_asked_for(store: Store) -> None:
    fill(store)
    found = store.get_many("t", ["i3", "nobody", "i0", "i3"])
    assert [row["id"] for row in found] == ["i3", "i0", "i3"]
    assert store.get_many("t", []) == [] and store.get("none", "i0") is None


def test_many_go_at_once(store: Store) -> None:
    fill(store)
    assert store.delete_many("t", []) == 0 and store.delete_many("none", ["i0"]) == 0
    assert store.delete_many("t", ["i1", "i1", "i2", "nobody"]) == 2
    assert store.delete("t", "i0") and not store.delete("t", "i0")
    assert ids(store, Query(order="id", descending=False)) == ["i3", "i4"]


def test_pages_are_ordered_filtered_and_counted(store: Store) -> None:
    fill(store)
    rows, total = store.page("t", Query(ranges={"n": (1, None)}), limit=2, offset=1)
    assert ([row["n"] for row in rows], total) == ([3, 2], 4)
    assert store.page("t", Query(), limit=0) == ([], 5)
    assert ids(store, Query(), offset=3) == ["i1", "i0"] and ids(store, Query(), offset=9) == []
    assert store.count("t", Query(where={"n": 2})) == 1 and store.count("none") == 0


def test_nulls_come_first_and_ids_break_ties(store: Store) -> None:
    for id, n in (("b", 1), ("a", 1), ("d", None), ("e", 0.5), ("f", 10)):
        store.insert("t", {"id": id, "n": n})
    store.insert("t", {"id": "c"})
    assert ids(store, Query(order="n", descending=False)) == ["c", "d", "e", "a", "b", "f"]
    assert ids(store, Query(order="n")) == ["f", "b", "a", "e", "d", "c"]


def test_texts_are_sorted_by_code_point_and_takes_texts_folded(store: Store) -> None:
    words = ["a", "B", "Á", "_", "b", "ß", "st", "sz", "\U0001f600", "\uffff", "a\x00", "a\x01"]
    for n, word in enumerate(words):
        store.insert("t", {"id": f"{n:02}", "text": word, "name": word})
    for order, key in (("name", lambda w: w), ("text", str.casefold)):
        rows, _ = store.page("t", Query(order=order, descending=False))
        assert [row["name"] for row in rows] == sorted(
            words, key=lambda w: (key(w), words.index(w))
        )


def test_words_are_plain_and_folded(store: Store) -> None:
    text = 'Die STRASSE 100% f\\x_y "q"\n\x01'
    store.insert("t", {"id": "a", "created_at": "1", "text": text, "p": "x", "tags": ["Ab", "cd"]})
    found = {"straße": 1, "100%": 1, "1%0": 0, ".*": 0, "_": 1, "x_y": 1, "xxy": 0, "\\x": 1}
    found |= {
        "\\": 1,
        '"q"': 1,
        "\n": 1,
        "\x01": 1,
        "\x02": 0,
        "\x00": 0,
        "": 1,
        "ab": 0,
        "\ud800": 0,
    }
    for word, count in found.items():
        assert store.count("t", Query(terms=[Term(word.casefold(), ("text",))])) == count, word
    for word, count in {"ab": 1, "cd": 1, "abcd": 0, "b\x01": 0}.items():
        assert store.count("t", Query(terms=[Term(word, ("text", "tags"))])) == count, word
    assert store.count("t", Query(terms=[Term("die", ("text",)), Term("none", ("text",))])) == 0
    also = Term("nothing", ("text",), {"p": frozenset({"x"})})
    assert store.count("t", Query(terms=[also])) == 1


def test_where_is_equality_and_null_is_missing(store: Store) -> None:
    chain = [{"type": "reverb", "params": {"room": 0.5}}]
    store.insert("t", {"id": "a", "n": 1, "s": "1", "yes": True, "chain": chain})
    store.insert("t", {"id": "b", "n": None, "s": "", "yes": False, "chain": []})
    cases = [("n", 1, "a"), ("n", 1.0, "a"), ("n", None, "b"), ("s", "1", "a"), ("s", "", "b")]
    cases += [("yes", True, "a"), ("yes", False, "b"), ("chain", chain, "a"), ("chain", [], "b")]
    for key, value, id in cases:
        assert ids(store, Query(where={key: value})) == [id], (key, value)
    assert store.count("t", Query(where={"none": None})) == 2
    assert store.count("t", Query(where={"s": 1})) == store.count("t", Query(where={"n": "1"})) == 0


def test_lists_have_and_ranges_leave_nulls_out(store: Store) -> None:
    store.insert("t", {"id": "a", "tags": ["x", "y z"], "d": 1.5})
    store.insert("t", {"id": "b", "tags": [], "d": None})
    store.insert("t", {"id": "c"})
    assert (
        ids(store, Query(has={"tags": "y z"})) == ["a"]
        and ids(store, Query(has={"tags": "y"})) == []
    )
    for ends, found in {
        (1.5, 1.5): 1,
        (1, 2): 1,
        (None, 1): 0,
        (2, None): 0,
        (None, None): 1,
    }.items():
        assert store.count("t", Query(ranges={"d": ends})) == found, ends
    assert store.count("t", Query(ranges={"d": (float("-inf"), float("inf"))})) == 1
    assert store.count("t", Query(ranges={"d": (float("nan"), None)})) == 0


def test_values_are_fields_of_what_matches(store: Store) -> None:
    fill(store)
    store.insert("t", {"id": "odd", "tags": ["a"]})
    assert store.values("t", ("id",), Query(where={"n": 3})) == [("i3",)]
    assert set(store.values("t", ("id", "n"))) == {*((f"i{n}", n) for n in range(5)), ("odd", None)}
    assert ("odd", ["a"]) in store.values("t", ("id", "tags"))
    assert store.values("none", ("id", "n")) == []


def test_groups_are_counted_and_summed_as_they_are_now(store: Store) -> None:
    rows = [("x\x00", "01T1", 1.5), ("x\x00", "01T2", None), (None, "02", 2)]
    for n, (kind, day, size) in enumerate(rows):
        document = {"id": f"i{n}", "kind": kind, "created_at": f"2026-01-{day}", "size": size}
        store.insert("t", document)
    by = ("kind", ("created_at", 10))

    def tally(**where: Any) -> set[tuple[Any, ...]]:
        return set(store.tally("t", by, ("size", "none"), Query(where=where)))

    first = ("x\x00", "2026-01-01", 2, 1.5, 0)
    assert tally() == {first, (None, "2026-01-02", 1, 2, 0)}
    assert tally(id="i2") == {(None, "2026-01-02", 1, 2, 0)} and tally(id="none") == set()
    store.patch("t", "i1", {"size": 4})
    store.delete("t", "i2")
    assert tally() == {("x\x00", "2026-01-01", 2, 5.5, 0)}
    since = Query(ranges={"created_at": ("2026-01-01T2", None)})
    assert store.tally("t", (), ("size",), since) == [(1, 4)]
    assert store.tally("none", (), ("size",)) == []


def test_what_is_odd_comes_back_as_it_was(store: Store) -> None:
    odd = {
        "id": "i\x00 '%\\",
        "text": "\x00\x01\x02\x03\x04 \u2028 \U0001f600 %s :x {}",
        "k\x00": {"nested\x00": ["\x01\x02", None, True, 0, -1.5, 2**53, 1e-9]},
        "%(a)s": 1,
    }
    store.insert("o'd\x00d", odd)
    assert store.get("o'd\x00d", odd["id"]) == odd
    assert store.values("o'd\x00d", ("k\x00", "%(a)s")) == [(odd["k\x00"], 1)]
    assert ids(store, Query(where={"text": odd["text"], "%(a)s": 1}), "o'd\x00d") == [odd["id"]]
    assert store.patch("o'd\x00d", odd["id"], {"text": "\x00"})["text"] == "\x00"
    assert store.tables() == ["o'd\x00d"]
    assert store.get("t", "\ud800") is None and store.count("t", Query(where={"a": "\ud800"})) == 0
    half = {"id": "\ud800", "text": "a\udfffb", "large": [2**70, -(2**64)], "tags": ["\ude00"]}
    store.insert("t", half)
    assert store.get("t", "\ud800") == half and store.values("t", ("large",)) == [(half["large"],)]
    for word, count in {"\udfff": 1, "a\udfff": 1, "\x02": 0, "\x03": 0, chr(0xD801): 0}.items():
        assert store.count("t", Query(terms=[Term(word, ("text", "tags"))])) == count, word
    assert store.count("t", Query(has={"tags": "\ude00"}, where={"text": "a\udfffb"})) == 1
    for wrong in (float("nan"), object()):
        with pytest.raises(InvalidInput):
            store.insert("t", {"id": "wrong", "value": wrong})
        with pytest.raises(InvalidInput):
            store.patch("t", "\ud800", {"value": wrong})
    assert store.delete("t", "\ud800")
    assert store.delete("o'd\x00d", odd["id"])


def test_a_batch_is_all_or_nothing(store: Store) -> None:
    fill(store)
    with pytest.raises(RuntimeError), store.batch():
        store.delete("t", "i1")
        store.insert("u", {"id": "x"})
        store.patch("t", "i2", {"n": 99})
        assert store.get("t", "i1") is None and store.count("u") == 1
        raise RuntimeError
    assert store.get("t", "i1") and store.get("t", "i2")["n"] == 2
    assert store.get("u", "x") is None
    store.insert("t", {"id": "after"})
    assert store.count("t") == 6


def test_a_refusal_inside_a_batch_can_be_passed_over(store: Store) -> None:
    fill(store)
    with store.batch():
        with pytest.raises(Conflict):
            store.insert("t", {"id": "i1"})
        with pytest.raises(Conflict):
            store.patch("t", "i1", {"n": 2}, expected={"n": 9})
        with pytest.raises(NotFound):
            store.patch("t", "nobody", {"n": 2})
        store.insert("t", {"id": "new"})
    assert store.count("t") == 6


def test_a_batch_within_a_batch_fails_alone(store: Store) -> None:
    with store.batch():
        store.insert("t", {"id": "outer"})
        with store.batch():
            store.insert("t", {"id": "inner"})
        with pytest.raises(RuntimeError), store.batch():
            store.delete("t", "outer")
            store.insert("t", {"id": "undone"})
            raise RuntimeError
        store.insert("t", {"id": "last"})
    assert ids(store, Query(order="id", descending=False)) == ["inner", "last", "outer"]


def test_many_threads_lose_nothing(store: Store) -> None:
    def work(name: int) -> None:
        for n in range(20):
            store.insert("t", {"id": f"{name}-{n}", "created_at": "1"})

    together([lambda name=name: work(name) for name in range(8)])
    assert store.count("t") == 160


def test_a_batch_has_the_records_to_itself(store: Store) -> None:
    """Reading and then changing loses nothing, whoever else does the same, in whatever order."""
    store.insert("t", {"id": "a", "n": 0})
    store.insert("t", {"id": "b", "n": 0})

    def work(first: str, second: str) -> None:
        for _ in range(10):
            with store.batch():
                for id in (first, second):
                    store.patch("t", id, {"n": store.get("t", id)["n"] + 1})
            store.patch("t", second, {"seen": first})

    together([lambda pair=pair: work(*pair) for pair in ("ab", "ba", "ab", "ba")])
    assert [row["n"] for row in store.get_many("t", ["a", "b"])] == [40, 40]


def test_a_change_waits_for_the_batch_of_another(store: Store) -> None:
    store.insert("t", {"id": "a", "n": 0})
    inside, seen = threading.Event(), []

    def other() -> None:
        inside.wait(60)
        seen.append(store.patch("t", "a", {"m": 1})["n"])

    thread = threading.Thread(target=other)
    thread.start()
    with store.batch():
        inside.set()
        thread.join(0.2)
        assert thread.is_alive()
        store.patch("t", "a", {"n": 1})
    thread.join(60)
    assert seen == [1]


CHARACTERS = st.sampled_from("aAbBsSßẞ éÉİıſk\x00\x01\x02\x03%_\\\"'\n\U0001f600\uffff")
TEXTS = st.text(CHARACTERS, max_size=4)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15).map(lambda x: x + 0.0)
DOCUMENTS = st.fixed_dictionaries(
    {"id": TEXTS},
    optional={
        "created_at": TEXTS,
        "text": st.none() | TEXTS,
        "name": st.none() | TEXTS,
        "n": st.none() | NUMBERS,
        "flag": st.booleans(),
        "tags": st.lists(TEXTS, max_size=3),
    },
)
ENDS = st.tuples(st.none() | NUMBERS, st.none() | NUMBERS)
TERMS = st.builds(
    Term,
    TEXTS.map(str.casefold),
    st.lists(st.sampled_from(["text", "name", "tags"]), unique=True, max_size=3).map(tuple),
    st.dictionaries(st.just("name"), st.frozensets(TEXTS, max_size=2), max_size=1),
)
QUERIES = st.builds(
    Query,
    where=st.dictionaries(st.sampled_from(["text", "name"]), st.none() | TEXTS, max_size=1)
    | st.fixed_dictionaries({}, optional={"n": st.none() | NUMBERS, "flag": st.booleans()}),
    has=st.dictionaries(st.just("tags"), TEXTS, max_size=1),
    ranges=st.dictionaries(st.just("n"), ENDS, max_size=1)
    | st.dictionaries(st.just("created_at"), st.tuples(TEXTS, st.none() | TEXTS), max_size=1),
    terms=st.lists(TERMS, max_size=2),
    order=st.sampled_from(["created_at", "text", "name", "n", "flag", "id"]),
    descending=st.booleans(),
)


@pytest.fixture
def three(tmp_path: Path, database: str):
    stores: list[Store] = [MemoryStore(), TinyStore(tmp_path), open_store(database)]
    yield stores
    for store in stores:
        store.close()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    documents=st.lists(DOCUMENTS, unique_by=lambda d: d["id"], max_size=8),
    queries=st.lists(QUERIES, min_size=1, max_size=6),
    window=st.tuples(st.none() | st.integers(0, 4), st.integers(0, 4)),
)
def test_all_stores_give_the_same_answers(
    three: list[Store], documents: list[dict], queries: list[Query], window: tuple
) -> None:
    for store in three:
        store.delete_many("t", [id for (id,) in store.values("t", ("id",))])
        with store.batch():
            for document in documents:
                store.insert("t", document)
    limit, offset = window
    for query in queries:
        memory, *others = (store.page("t", query, limit=limit, offset=offset) for store in three)
        assert others == [memory, memory], query
        fields = ("id", "tags", "n")
        values = [
            sorted(store.values("t", fields, query), key=lambda row: row[0]) for store in three
        ]
        assert values[1:] == [values[0]] * 2 and len(values[0]) == memory[1]
        assert {store.count("t", query) for store in three} == {memory[1]}
