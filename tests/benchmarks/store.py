"""The store against SQLite and plain TinyDB: `python tests/benchmarks/store.py --records 100000`.

All in one process, operations of the two taking turns, medians. SQLite is set up as a good
engineer would: WAL, generated columns over a JSON column, an index for each question, the folded
text in a column of its own; FTS5 (trigram) beside it, in a column of its own of the table.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import orjson
import psutil
from tinydb import TinyDB
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from voicelab.store import Query, Term, TinyStore

TABLES = ("generations", "versions", "story_items")
PLAIN_RECORDS = 1000
SEARCHED = ("text", "tags", "instruct", "label")
WORDS = {"common": "quiet", "rare": "xylophone", "absent": "zeppelin"}
VOCABULARY = ("fjord", "quiet", "wind", "sleep", "river", "stone", "voice", "paper", "and", "of")
Operation = Callable[[], Any]


def record(n: int) -> dict[str, Any]:
    """A take of about 900 bytes; the same for the same n."""
    choose = random.Random(n)
    text = " ".join(choose.choices(VOCABULARY, k=40))
    return {
        "id": f"{choose.getrandbits(128):032x}",
        "profile_id": f"profile-{choose.randrange(20)}",
        "text": f"{text} xylophone." if n % 5000 == 0 else f"{text}.",
        "language": "en",
        "audio_path": f"generations/{n:08}.wav",
        "duration": round(choose.uniform(1, 60), 3),
        "seed": choose.getrandbits(32),
        "instruct": None,
        "engine": "chatterbox",
        "model_size": None,
        "status": "completed",
        "error": None,
        "is_favorited": n % 50 == 0,
        "created_at": f"2026-01-{1 + n // 86_400:02}T{n // 3600 % 24:02}:{n // 60 % 60:02}"
        f":{n % 60:02}.000000Z",
        "parameters": {"exaggeration": 0.5, "cfg_weight": 0.5, "temperature": 0.8},
        "chunks": [{"index": 0, "text": text, "start_s": 0.0, "duration_s": 3.0, "seed": 1}],
        "request_id": f"{choose.getrandbits(64):016x}",
        "real_time_factor": 0.41,
        "sample_rate": 24_000,
        "size_bytes": 144_044,
        "source": "rest",
        "tags": ["calm"] if n % 3 == 0 else [],
        "label": None,
    }


class Engine(Protocol):
    """What is measured."""

    def load(self, records: list[dict[str, Any]]) -> None: ...
    def insert(self, *rows: dict[str, Any]) -> None: ...
    def insert_three(self, row: dict[str, Any]) -> None: ...
    def patch(self, id: str, fields: dict[str, Any]) -> Any: ...
    def delete(self, id: str) -> None: ...
    def get(self, id: str) -> Any: ...
    def newest(self, **where: Any) -> list[Any]: ...
    def search(self, word: str) -> tuple[list[Any], int]: ...
    def count(self, **where: Any) -> int: ...
    def close(self) -> None: ...


class Ours:
    """`TinyStore`."""

    def __init__(self, folder: Path, durability: Any):
        self.store = TinyStore(folder, durability=durability)

    def load(self, records: list[dict[str, Any]]) -> None:
        with self.store.batch():
            for row in records:
                self.store.insert(TABLES[0], row)

    def insert(self, *rows: dict[str, Any]) -> None:
        if len(rows) == 1:
            self.store.insert(TABLES[0], rows[0])
        else:
            self.load(list(rows))

    def insert_three(self, row: dict[str, Any]) -> None:
        with self.store.batch():
            for table in TABLES:
                self.store.insert(table, row)

    def patch(self, id: str, fields: dict[str, Any]) -> Any:
        return self.store.patch(TABLES[0], id, fields)

    def delete(self, id: str) -> None:
        assert self.store.delete(TABLES[0], id)

    def get(self, id: str) -> Any:
        return self.store.get(TABLES[0], id)

    def newest(self, **where: Any) -> list[Any]:
        return self.store.page(TABLES[0], Query(where=where), limit=20)[0]

    def search(self, word: str) -> tuple[list[Any], int]:
        return self.store.page(TABLES[0], Query(terms=(Term(word, SEARCHED),)), limit=20)

    def count(self, **where: Any) -> int:
        return self.store.count(TABLES[0], Query(where=where))

    def close(self) -> None:
        self.store.close()


class Sqlite:
    """SQLite in WAL mode."""

    def __init__(self, folder: Path, durability: str):
        self.connection = sqlite3.connect(folder / "store.sqlite", isolation_level=None)
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={durability.upper()}",
            "cache_size=-131072",
            "mmap_size=1073741824",
            "temp_store=MEMORY",
        ):
            self.connection.execute(f"PRAGMA {pragma}")
        for table in TABLES:
            self._create(table)
        self.connection.execute(
            "CREATE VIRTUAL TABLE search USING fts5(folded, content='', tokenize='trigram')"
        )

    def _create(self, table: str) -> None:
        columns = "".join(
            f", {name} GENERATED ALWAYS AS (json_extract(doc, '$.{name}')) VIRTUAL"
            for name in ("created_at", "profile_id", "is_favorited")
        )
        self.connection.execute(
            f"CREATE TABLE {table} (id TEXT PRIMARY KEY, doc TEXT NOT NULL, folded TEXT{columns})"
        )
        for name, on in {
            "newest": "(created_at, id)",
            "profile": "(profile_id, created_at, id)",
            "favourite": "(created_at, id) WHERE is_favorited = 1",
        }.items():
            self.connection.execute(f"CREATE INDEX {table}_{name} ON {table} {on}")

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        self.connection.execute(
            f"INSERT INTO {table} (id, doc, folded) VALUES (?, ?, ?)",
            (row["id"], orjson.dumps(row).decode(), folded(row)),
        )

    def load(self, records: list[dict[str, Any]]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for row in records:
            self._insert(TABLES[0], row)
        self.connection.execute("COMMIT")

    def load_words(self) -> None:
        """Fill FTS5, which the other operations leave alone."""
        self.connection.execute(
            f"INSERT INTO search (rowid, folded) SELECT rowid, folded FROM {TABLES[0]}"
        )

    def insert(self, *rows: dict[str, Any]) -> None:
        if len(rows) == 1:
            self._insert(TABLES[0], rows[0])
        else:
            self.load(list(rows))

    def insert_three(self, row: dict[str, Any]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            self._insert(table, row)
        self.connection.execute("COMMIT")

    def patch(self, id: str, fields: dict[str, Any]) -> Any:
        sql = f"UPDATE {TABLES[0]} SET doc = json_patch(doc, ?) WHERE id = ? RETURNING doc"
        rows = self.connection.execute(sql, (orjson.dumps(fields).decode(), id)).fetchall()
        return orjson.loads(rows[0][0])

    def delete(self, id: str) -> None:
        assert self.connection.execute(f"DELETE FROM {TABLES[0]} WHERE id = ?", (id,)).rowcount

    def get(self, id: str) -> Any:
        sql = f"SELECT doc FROM {TABLES[0]} WHERE id = ?"
        return orjson.loads(self.connection.execute(sql, (id,)).fetchone()[0])

    def newest(self, **where: Any) -> list[Any]:
        return self._rows(*_condition(where))

    def search(self, word: str) -> tuple[list[Any], int]:
        found = "WHERE instr(folded, ?)", (word,)
        return self._rows(*found), self._total(*found)

    def search_words(self, word: str) -> tuple[list[Any], int]:
        """By FTS5."""
        found = "WHERE rowid IN (SELECT rowid FROM search WHERE search MATCH ?)", (f'"{word}"',)
        sql = "SELECT count(*) FROM search WHERE search MATCH ?"
        return self._rows(*found), self.connection.execute(sql, found[1]).fetchone()[0]

    def count(self, **where: Any) -> int:
        return self._total(*_condition(where))

    def close(self) -> None:
        self.connection.close()

    def _rows(self, condition: str, values: tuple[Any, ...]) -> list[Any]:
        sql = f"SELECT doc FROM {TABLES[0]} {condition} ORDER BY created_at DESC, id DESC LIMIT 20"
        return [orjson.loads(doc) for (doc,) in self.connection.execute(sql, values)]

    def _total(self, condition: str, values: tuple[Any, ...]) -> int:
        sql = f"SELECT count(*) FROM {TABLES[0]} {condition}"
        return self.connection.execute(sql, values).fetchone()[0]


class Plain:
    """TinyDB as it comes."""

    def __init__(self, folder: Path):
        self.database = TinyDB(folder / "plain.json")
        self.table = self.database.table(TABLES[0])

    def load(self, records: list[dict[str, Any]]) -> None:
        self.table.insert_multiple(records)

    def insert(self, *rows: dict[str, Any]) -> None:
        self.table.insert_multiple(rows)

    def insert_three(self, row: dict[str, Any]) -> None:
        for table in TABLES:
            self.database.table(table).insert(row)

    def patch(self, id: str, fields: dict[str, Any]) -> None:
        self.table.update(fields, lambda row: row["id"] == id)

    def delete(self, id: str) -> None:
        assert self.table.remove(lambda row: row["id"] == id)

    def get(self, id: str) -> Any:
        return self.table.get(lambda row: row["id"] == id)

    def newest(self, **where: Any) -> list[Any]:
        return self._found(lambda row: all(row[key] == v for key, v in where.items()))[:20]

    def search(self, word: str) -> tuple[list[Any], int]:
        found = self._found(lambda row: word in folded(row))
        return found[:20], len(found)

    def count(self, **where: Any) -> int:
        return len(self._found(lambda row: all(row[key] == v for key, v in where.items())))

    def close(self) -> None:
        self.database.close()

    def _found(self, holds: Callable[[Any], bool]) -> list[Any]:
        found = [row for row in self.table.all() if holds(row)]
        return sorted(found, key=lambda row: (row["created_at"], row["id"]), reverse=True)


def folded(row: dict[str, Any]) -> str:
    """What is searched in."""
    return "\n".join([row["text"], *row["tags"], row["instruct"] or ""]).casefold()


def _condition(where: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    if where == {"is_favorited": True}:  # as the partial index has it
        return "WHERE is_favorited = 1", ()
    names = " AND ".join(f"{name} = ?" for name in where)
    return (f"WHERE {names}" if names else ""), tuple(where.values())


def operations(engine: Engine, records: list[dict[str, Any]], seed: int) -> dict[str, Operation]:
    """Name -> one call, on fresh records and random old ones."""
    choose = random.Random(seed)
    fresh = iter(range(10_000_000, 20_000_000))
    mine: list[str] = []

    def inserted(*rows: dict[str, Any]) -> None:
        engine.insert(*rows)
        mine.extend(row["id"] for row in rows)

    def prepared(count: int, call: Callable[..., Any]) -> Operation:
        rows = iter([])

        def run() -> Any:
            return call(*next(rows))

        def prepare() -> None:
            nonlocal rows
            rows = iter([[record(next(fresh)) for _ in range(count)]])

        run.prepare = prepare  # type: ignore[attr-defined]
        return run

    def any_id() -> str:
        return choose.choice(records)["id"]

    favourite = {"is_favorited": True}
    profile = {"profile_id": "profile-7"}
    return {
        "insert": prepared(1, inserted),
        "patch": lambda: engine.patch(any_id(), {"label": f"label {choose.random()}"}),
        "favourite": lambda: engine.patch(any_id(), {"is_favorited": choose.random() < 0.02}),
        "delete": lambda: engine.delete(mine.pop()),
        "three tables": prepared(1, engine.insert_three),
        "import of 100": prepared(100, inserted),
        "get": lambda: engine.get(any_id()),
        "newest 20": lambda: engine.newest(),
        "of a profile": lambda: engine.newest(**profile),
        "favourites": lambda: engine.newest(**favourite),
        "common word": lambda: engine.search(WORDS["common"]),
        "rare word": lambda: engine.search(WORDS["rare"]),
        "absent word": lambda: engine.search(WORDS["absent"]),
        "count all": lambda: engine.count(),
        "count profile": lambda: engine.count(**profile),
    }


def measured(engines: dict[str, dict[str, Operation]], rounds: int) -> dict[str, dict[str, float]]:
    """Operation -> engine -> median in microseconds; the engines take turns."""
    first = next(iter(engines.values()))
    result: dict[str, dict[str, float]] = {}
    for name in tqdm(first, leave=False):
        times: dict[str, list[float]] = {engine: [] for engine in engines}
        slow = name.endswith("word") or name == "import of 100"
        for turn in range(max(5, rounds // 10) if slow else rounds):
            for engine in sorted(engines, reverse=bool(turn % 2)):
                operation = engines[engine].get(name)
                if operation is not None:
                    getattr(operation, "prepare", lambda: None)()
                    began = time.perf_counter()
                    operation()
                    times[engine].append(time.perf_counter() - began)
        result[name] = {e: statistics.median(t) * 1e6 for e, t in times.items() if t}
    return result


def agree(ours: Engine, sqlite: Engine) -> None:
    """Both give the same answers."""
    for where in ({}, {"profile_id": "profile-7"}, {"is_favorited": True}):
        assert ours.newest(**where) == sqlite.newest(**where), where
        assert ours.count(**where) == sqlite.count(**where), where
    for word in WORDS.values():
        assert ours.search(word) == sqlite.search(word), word


def opening(folder: Path, durability: Any) -> dict[str, float]:
    """Seconds to close and open again, MB that opening took."""
    began = time.perf_counter()
    before = psutil.Process().memory_info().rss
    store = TinyStore(folder, durability=durability)
    open_s = time.perf_counter() - began
    rss_mb = (psutil.Process().memory_info().rss - before) / 2**20
    began = time.perf_counter()
    store.page(TABLES[0], Query(), limit=20)
    first_page_s = time.perf_counter() - began
    store.insert(TABLES[0], record(30_000_000))
    began = time.perf_counter()
    store.close()
    close_s = time.perf_counter() - began
    figures = {"open_s": open_s, "first_page_s": first_page_s, "close_s": close_s}
    return {name: round(value, 3) for name, value in figures.items()} | {"rss_mb": round(rss_mb)}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--durability", choices=["full", "normal"], default="full")
    options.add_argument("--folder", type=Path, help="on the disk to measure")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        records = [record(n) for n in range(chosen.records)]
        Ours(folder, chosen.durability).close()
        filling = Ours(folder, chosen.durability)
        filling.load(records)
        filling.close()
        del filling
        figures = opening(folder, chosen.durability)
        ours, sqlite = Ours(folder, chosen.durability), Sqlite(folder, chosen.durability)
        sqlite.load(records)
        sqlite.insert(record(30_000_000))
        sqlite.load_words()
        plain = Plain(folder)
        plain.load(records[:PLAIN_RECORDS])
        agree(ours, sqlite)
        gc.collect()
        gc.freeze()  # the records above are this script's, not what is measured
        engines = {
            "ours": operations(ours, records, 1),
            "sqlite": operations(sqlite, records, 1),
            "fts5": {
                f"{kind} word": lambda word=word: sqlite.search_words(word)
                for kind, word in WORDS.items()
            },
        }
        table = measured(engines, chosen.rounds)
        slow = operations(plain, records[:PLAIN_RECORDS], 1)
        for operation, row in measured({"plain": slow}, 5).items():
            table[operation] |= row
        for engine in (ours, sqlite, plain):
            engine.close()
    show(table)
    ratios = {name: round(row["sqlite"] / row["ours"], 2) for name, row in table.items()}
    print(json.dumps({"ratios": ratios, **figures}))


def show(table: dict[str, dict[str, float]]) -> None:
    """Microseconds; the ratio is SQLite over ours."""
    print(
        f"{'operation':16}{'ours':>12}{'SQLite':>12}{'ratio':>8}{'FTS5':>12}{'TinyDB, 1,000':>16}"
    )
    for name, row in table.items():
        fts5 = f"{row['fts5']:12,.0f}" if "fts5" in row else " " * 12
        ratio = row["sqlite"] / row["ours"]
        print(
            f"{name:16}{row['ours']:12,.0f}{row['sqlite']:12,.0f}{ratio:8.2f}{fts5}"
            f"{row['plain']:16,.0f}"
        )


if __name__ == "__main__":
    main()
