"""All records from one store to another: counted, compared, all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from voicelab.errors import Conflict, StorageError
from voicelab.store.protocol import Store

__all__ = ["LEFT", "copy", "weigh"]

LEFT = frozenset(("replicas",))
"""Tables that say who is alive over a store, not what is in it."""

AT_ONCE = 500
"""Documents held in memory."""


def weigh(store: Store) -> dict[str, int]:
    """Table -> how many documents it has; tables without any are left out."""
    counts = {table: store.count(table) for table in sorted(store.tables()) if table not in LEFT}
    return {table: count for table, count in counts.items() if count}


def copy(
    source: Store,
    target: Store,
    progress: Callable[[int], object] = lambda _: None,
    *,
    dry_run: bool = False,
) -> dict[str, int]:
    """Copy every document, then read each back from `target` and compare it.

    Both stores are held: nobody changes either meanwhile, and what fails leaves nothing.

    Args:
        source, target: the target has no documents.
        progress: called with how many more documents are there.
        dry_run: only look whether it could be done.

    Returns:
        Table -> how many documents were, or would be, copied.

    Raises:
        Conflict: the target has documents.
        StorageError: a store failed, or what was read back is not what was written.
    """
    if held := sum(weigh(target).values()):
        raise Conflict(f"The target has {held:,} records already; copy into an empty place.")
    if dry_run:
        return weigh(source)
    with source.batch(), target.batch():
        counts = weigh(source)
        for table in counts:
            for ids in _portions(source, table):
                for document in source.get_many(table, ids):
                    target.insert(table, document)
                progress(len(ids))
        _compare(source, target, counts)
    return counts


def _compare(source: Store, target: Store, counts: dict[str, int]) -> None:
    same = weigh(target) == counts and all(
        target.get_many(table, ids) == source.get_many(table, ids)
        for table in counts
        for ids in _portions(source, table)
    )
    if not same:
        raise StorageError("What was read back is not what was written: nothing was copied.")


def _portions(store: Store, table: str) -> Iterator[list[str]]:
    ids = sorted(id for (id,) in store.values(table, ("id",)))
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
