"""What runs in a process that is killed: commits that are a pure function of (k, state)."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from tests.store.model import Change, Tables, applied, changes, contents, perform
from voicelab.store import TinyStore

__all__ = ["commit", "operate"]

COMPACT_AFTER_BYTES = 20_000


def commit(number: int, tables: Tables) -> list[Change]:
    """The changes of the commit after `number` commits."""
    return changes(Random(number), tables)


def operate(folder: Path, durability: str, pipe: Connection) -> None:
    """Commit until killed; a message of one byte for each that was acknowledged."""
    store = TinyStore(folder, durability=durability, compact_after_bytes=COMPACT_AFTER_BYTES)
    tables = contents(store)
    number = store.sequence
    while True:
        drawn = commit(number, tables)
        perform(store, drawn)
        pipe.send_bytes(b".")
        tables = applied(tables, drawn)
        number += 1
        if number % 97 == 0:  # closing and opening are killed as well
            store.close()
            store = TinyStore(folder, durability=durability)
