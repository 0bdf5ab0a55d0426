"""A store by its address: a folder, or the URL of a database."""

from __future__ import annotations

from pathlib import Path

from voicelab.errors import StorageError
from voicelab.store.journal.reserve import MakeRoom
from voicelab.store.protocol import Store
from voicelab.store.tinydb.storage import Durability
from voicelab.store.tinydb.store import TinyStore

__all__ = ["RESERVE_BYTES", "open_store"]


RESERVE_BYTES = 512 * 1024
"""What the app keeps on the disk of its records: the deletion of some thousand takes."""


def open_store(
    place: Path | str,
    durability: Durability = "full",
    anew: bool = False,
    reserve_bytes: int = 0,
    make_room: MakeRoom = lambda: 0,
) -> Store:
    """The store at an address.

    Args:
        place: postgresql://user:password@host/name, or else a folder, which is made.
        durability: of a folder's records; a database is told its own.
        anew: see `JournalStorage`.
        reserve_bytes: kept on a folder's disk for deletions.
        make_room: drops what can be done without, when the folder's disk is full; the bytes.

    Raises:
        StorageError (StoreLocked, StoreCorrupt): it cannot be used; no password is in the message.
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
