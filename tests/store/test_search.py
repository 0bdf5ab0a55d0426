"""Pages, values and counts over many documents, compared with looking at each."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.store.conftest import Opened
from voicelab.store import Query, Term, TinyStore
from voicelab.store.search import SMALL_COUNT

WORDS = ("fjord", "Straße", "wind", "STRASSE", "sleep", "\x1e", "a\nb", "ﬁn")
TERMS = ("fjord", "strasse", "zebra", "\x1e", "a\nb", "fi", "jord w", "", "wind")


def made(choose: random.Random, n: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": f"{choose.randrange(10**9):09}-{n}",
        "created_at": f"2026-{choose.randrange(500):04}",
        "text": " ".join(choose.choices(WORDS, k=4)),
        "tags": choose.choices(["calm", "Wind"], k=choose.randrange(3)),
        "profile_id": choose.choice(["p1", "p2", None, "p3"]),
        "is_favorited": choose.random() < 0.05,
        "duration": choose.choice([None, 1, 2.5, 3]),
    }
    if choose.random() < 0.1:
        del document["duration"], document["profile_id"]
    return document


def asked(choose: random.Random) -> Query:
    where: dict[str, Any] = {}
    if choose.random() < 0.5:
        where["profile_id"] = choose.choice(["p1", None, "nobody"])
    if choose.random() < 0.3:
        where["is_favorited"] = choose.choice([True, False, 1])
    if choose.random() < 0.1:
        where["tags"] = ["calm"]
    also = {"profile_id": frozenset({"p2"})} if choose.random() < 0.3 else {}
    return Query(
        where=where,
        has={"tags": "calm"} if choose.random() < 0.2 else {},
        ranges={"duration": choose.choice([(2, None), (None, 2), (1, 3)])}
        if choose.random() < 0.2
        else {},
        terms=[
            Term(choose.choice(TERMS), ("text", "tags"), also) for _ in range(choose.randrange(3))
        ],
        order=choose.choice(["created_at", "created_at", "duration", "text"]),
        descending=choose.random() < 0.7,
    )


def expected(rows: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    def has(row: dict[str, Any], term: Term) -> bool:
        texts = [row["text"], *row["tags"]]
        return any(term.text in text.casefold() for text in texts) or any(
            row.get(key) in values for key, values in term.also.items()
        )

    def holds(row: dict[str, Any]) -> bool:
        within = all(
            row.get(key) is not None
            and (low is None or row[key] >= low)
            and (high is None or row[key] <= high)
            for key, (low, high) in query.ranges.items()
        )
        return (
            within
            and all(row.get(key) == value for key, value in query.where.items())
            and all(value in row[key] for key, value in query.has.items())
            and all(has(row, term) for term in query.terms)
        )

    def key(row: dict[str, Any]) -> Any:
        value = row.get(query.order)
        value = value.casefold() if query.order == "text" else value
        return (value is not None, value or 0 if value is None else value, row["id"])

    return sorted(filter(holds, rows), key=key, reverse=query.descending)


@pytest.mark.parametrize("count", [40, 3 * SMALL_COUNT])
def test_every_query_finds_what_looking_at_each_finds(opened: Opened, count: int) -> None:
    choose = random.Random(count)
    store = opened()
    model = {row["id"]: row for row in (made(choose, n) for n in range(count))}
    with store.batch():
        for row in model.values():
            store.insert("t", row)
    for step in range(150):
        change(choose, store, model, step)
        query, limit, offset = asked(choose), choose.choice([None, 0, 20]), choose.randrange(300)
        rows = expected(list(model.values()), query)
        end = None if limit is None else offset + limit
        assert store.page("t", query, limit=limit, offset=offset) == (rows[offset:end], len(rows))
        assert store.count("t", query) == len(rows)
        found = sorted(store.values("t", ("id", "duration"), query), key=lambda row: row[0])
        assert found == sorted((row["id"], row.get("duration")) for row in rows)


def change(choose: random.Random, store: TinyStore, model: dict[str, Any], step: int) -> None:
    """One change of everything an index looks at, or one that is taken back."""
    id = choose.choice(list(model))
    if step % 4 == 0:
        model[id] = store.patch("t", id, {**made(choose, 0), "id": id})
    elif step % 4 == 1:
        row = made(choose, 10_000 + step)
        store.insert("t", row)
        model[row["id"]] = row
    elif step % 4 == 2:
        store.delete("t", id)
        del model[id]
    else:
        with pytest.raises(RuntimeError), store.batch():
            store.delete("t", id)
            store.insert("t", made(choose, 20_000 + step))
            store.patch("t", choose.choice([i for i in model if i != id]), {"profile_id": "p9"})
            raise RuntimeError
