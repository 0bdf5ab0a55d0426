"""How commands open the data folder: for reading beside the app, or locked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from voicelab.errors import StorageError
from voicelab.settings import Settings
from voicelab.store import ProcessLock, Store, System, TinyStore, open_store, segments, traces

__all__ = ["has_records", "locked", "needs_records", "reading"]


def has_records(folder: Path) -> bool:
    """Whether a folder has records, or shows that it had some."""
    path = folder / "db.json"
    return folder.is_dir() and bool(
        path.is_file() or segments(System(), path) or traces(System(), path)
    )


def needs_records(folder: Path) -> None:
    """Raise StorageError where there are none: a mistyped folder is not made."""
    if not has_records(folder):
        raise StorageError(f"There is no data folder {folder}; name it with --data-dir.")


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Store]:
    """The records as they are now; a folder is neither locked nor changed.

    Raises:
        StorageError (StoreCorrupt): there are none, or they cannot be read.
    """
    if settings.database_url:
        store: Store = open_store(settings.place())
    else:
        needs_records(settings.data_dir)
        store = TinyStore(settings.data_dir, read_only=True)
    with contextlib.closing(store):
        yield store


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """No other process uses the folder meanwhile; raises StoreLocked when one does."""
    lock = ProcessLock(folder)
    try:
        yield
    finally:
        lock.release()
