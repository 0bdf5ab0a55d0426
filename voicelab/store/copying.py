"""Copies all records from one store to another in one commit, and verifies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from voicelab.errors import Conflict, StorageError
from voicelab.store.protocol import Store

__all__ = ["EXCLUDED_TABLES", "copy", "count_documents"]

EXCLUDED_TABLES = frozenset(("replicas",))
"""Tables that are not copied: they describe the processes that use a store."""

BATCH_SIZE = 500
"""Documents that are copied at once."""


def count_documents(store: Store) -> dict[str, int]:
    """Table -> number of its documents, for tables that have any."""
    counts = {
        table: store.count(table)
        for table in sorted(store.tables())
        if table not in EXCLUDED_TABLES
    }
    return {table: count for table, count in counts.items() if count}


def copy(
    source: Store,
    target: Store,
    progress: Callable[[int], object] = lambda _: None,
    *,
    dry_run: bool = False,
) -> dict[str, int]:
    """Copy every document, then read each back from `target` and compare it.

    Both stores are in a batch: nobody else can change them, and a failure leaves no change.

    Args:
        source, target: the target must be empty.
        progress: called with the number of documents just copied.
        dry_run: only check whether the copy is possible.

    Returns:
        Table -> number of documents that were, or would be, copied.

    Raises:
        Conflict: the target has documents.
        StorageError: a store failed, or a document read back differs.
    """
    if existing := sum(count_documents(target).values()):
        raise Conflict(f"The target has {existing:,} records already; copy into an empty place.")
    if dry_run:
        return count_documents(source)
    with source.batch(), target.batch():
        counts = count_documents(source)
        for table in counts:
            for ids in _id_batches(source, table):
                for document in source.get_many(table, ids):
                    target.insert(table, document)
                progress(len(ids))
        _compare(source, target, counts)
    return counts


def _compare(source: Store, target: Store, counts: dict[str, int]) -> None:
    same = count_documents(target) == counts and all(
        target.get_many(table, ids) == source.get_many(table, ids)
        for table in counts
        for ids in _id_batches(source, table)
    )
    if not same:
        raise StorageError("What was read back is not what was written: nothing was copied.")


def _id_batches(store: Store, table: str) -> Iterator[list[str]]:
    ids = sorted(id for (id,) in store.values(table, ("id",)))
    for start in range(0, len(ids), BATCH_SIZE):
        yield ids[start : start + BATCH_SIZE]
