"""Opens a store by its address: a folder, or the URL of a database."""

from __future__ import annotations

from pathlib import Path

from voicelab.errors import StorageError
from voicelab.store.journal.reserve import MakeRoom
from voicelab.store.protocol import Store
from voicelab.store.tinydb.storage import Durability
from voicelab.store.tinydb.store import TinyStore

__all__ = ["RESERVE_BYTES", "open_store"]


RESERVE_BYTES = 512 * 1024
"""Disk space reserved for deletions, enough for several thousand takes."""


def open_store(
    place: Path | str,
    durability: Durability = "full",
    anew: bool = False,
    reserve_bytes: int = 0,
    make_room: MakeRoom = lambda: 0,
) -> Store:
    """Open the store at an address.

    Args:
        place: postgresql://user:password@host/name, or a folder, which is created.
        durability: see `JournalStorage`; ignored for a database.
        anew: see `JournalStorage`.
        reserve_bytes: disk space reserved for deletions; for a folder.
        make_room: called when a folder's disk is full; deletes caches, returns the bytes freed.

    Raises:
        StorageError (StoreLocked, StoreCorrupt): it cannot be opened; the message has no password.
    """
    if isinstance(place, Path) or "://" not in place:
        return TinyStore(
            Path(place),
            durability=durability,
            anew=anew,
            reserve_bytes=reserve_bytes,
            make_room=make_room,
        )
    try:
        from voicelab.store.postgres.store import PostgresStore  # of the extra postgres
    except ImportError as error:
        raise StorageError(
            "Records in a database need the extra 'postgres': pip install 'voicelab[postgres]'."
        ) from error
    return PostgresStore(place)
