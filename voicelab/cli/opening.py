"""Opens the data folder for commands: read-only beside the app, or locked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from voicelab.errors import StorageError
from voicelab.settings import Settings
from voicelab.store import ProcessLock, Store, System, TinyStore, open_store, segments, traces

__all__ = ["has_records", "locked", "needs_records", "reading"]


def has_records(folder: Path) -> bool:
    """Whether a folder has records, or traces of them."""
    path = folder / "db.json"
    return folder.is_dir() and bool(
        path.is_file() or segments(System(), path) or traces(System(), path)
    )


def needs_records(folder: Path) -> None:
    """Raise StorageError when a folder has no records, so that a mistyped one is not created."""
    if not has_records(folder):
        raise StorageError(f"There is no data folder {folder}; name it with --data-dir.")


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Store]:
    """A read-only snapshot of the records; a folder is neither locked nor changed.

    Raises:
        StorageError (StoreCorrupt): there are no records, or they cannot be read.
    """
    if settings.database_url:
        store: Store = open_store(settings.records_location())
    else:
        needs_records(settings.data_dir)
        store = TinyStore(settings.data_dir, read_only=True)
    with contextlib.closing(store):
        yield store


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a data folder; raises StoreLocked when another process has it open."""
    lock = ProcessLock(folder)
    try:
        yield
    finally:
        lock.release()
