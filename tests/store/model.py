"""What a store should hold: tables as plain dictionaries, and changes drawn from a seed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from random import Random
from typing import Any

from voicelab.store.protocol import Document, Query, Store

__all__ = ["TABLES", "Change", "Tables", "applied", "changes", "contents", "perform", "same"]

TABLES = ("takes", "voices", "stories")
TEXTS = ("", "plain", 'quoted "\\" text', "two\nlines\r", "\u2028 \u00df \U0001f600", "\x00\x7f")

Tables = dict[str, dict[str, Document]]
Change = tuple[str, str, Any, Any]  # "insert" | "patch" | "delete", table, id(s), document | fields


def changes(draw: Random, tables: Tables) -> list[Change]:
    """One commit that `tables` allows: a change, or now and then a batch of several."""
    drawn: list[Change] = []
    for _ in range(1 if draw.random() < 0.75 else draw.randint(2, 5)):
        drawn.append(one_change(draw, tables))
        tables = applied(tables, drawn[-1:])
    return drawn


def one_change(draw: Random, tables: Tables) -> Change:
    table = draw.choice(TABLES)
    ids = sorted(tables.get(table, ()))
    kind = draw.random()
    if not ids or kind < 0.45:
        id = f"{table[0]}{draw.getrandbits(40):x}"
        return ("insert", table, id, {"id": id, **fields(draw)})
    if kind < 0.8:
        return ("patch", table, draw.choice(ids), fields(draw))
    return (
        "delete",
        table,
        tuple(draw.sample(ids, min(len(ids), draw.choice((1, 1, 1, 3))))),
        None,
    )


def fields(draw: Random) -> Document:
    return {
        "created_at": f"2026-{draw.randint(1, 12):02}",
        "n": draw.choice((None, True, draw.randint(-9, 9), draw.random(), 2**53 + 1)),
        "text": draw.choice(TEXTS) + "x" * draw.choice((0, 5, 60, 600, 1500)),
        "tags": [{"deep": draw.choice(TEXTS)}] * draw.randint(0, 2),
    }


def applied(tables: Tables, drawn: Sequence[Change]) -> Tables:
    """The tables after these changes; `tables` stays as it is."""
    after = dict(tables)
    for kind, table, id, document in drawn:
        rows = after[table] = dict(after.get(table, {}))
        if kind == "insert":
            rows[id] = document
        elif kind == "patch":
            rows[id] = {**rows[id], **document}
        else:
            for one in id:
                del rows[one]
    return after


def perform(store: Store, drawn: Sequence[Change]) -> None:
    """The same on a store, as one commit."""
    with store.batch() if len(drawn) > 1 else contextlib.nullcontext():
        for kind, table, id, document in drawn:
            if kind == "insert":
                store.insert(table, document)
            elif kind == "patch":
                store.patch(table, id, document)
            elif len(id) == 1:
                assert store.delete(table, id[0])
            else:
                assert store.delete_many(table, id) == len(id)


def contents(store: Store) -> Tables:
    """All that a store holds; tables without documents are left out."""
    found = {table: store.page(table, Query())[0] for table in TABLES}
    return {table: {row["id"]: row for row in rows} for table, rows in found.items() if rows}


def same(found: Tables, expected: Tables) -> bool:
    """Whether two are equal but for empty tables."""
    return found == {table: rows for table, rows in expected.items() if rows}
