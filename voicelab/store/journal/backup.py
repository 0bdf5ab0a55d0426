"""Dated backups of the whole store, and copies of files before they are replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from voicelab.errors import StorageError, StoreCorrupt, storage_error
from voicelab.store.index import Index
from voicelab.store.journal.compaction import Progress, put_in_place
from voicelab.store.journal.recovery import read_settled, segments
from voicelab.store.journal.segments import segment_path
from voicelab.store.journal.snapshot import Meta, Snapshot, Tables, decode, encode
from voicelab.store.journal.system import System

__all__ = [
    "backup",
    "backups",
    "copy_aside",
    "outdated",
    "put_aside",
    "read_backup",
    "replaced",
    "stamp",
    "write_aside",
]

DATED = re.compile(r"-\d{8}T\d{6}\.\d{6}Z\.backup\.")
"""The part of a backup's name that has the time from `stamp`."""


def stamp() -> str:
    """The time in UTC, as used in file names."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def write_aside(
    system: System, path: Path, pieces: Iterable[bytes], progress: Progress = lambda _: None
) -> None:
    """`put_in_place`, followed by a sync of the folder; raises OSError."""
    put_in_place(system, path, pieces, progress)
    system.sync_folder(path.parent)


def copy_aside(system: System, path: Path, label: str) -> Path:
    """Copy a file to `name.label` beside it, and verify it; raises OSError, StorageError."""
    target = path.with_name(f"{path.name}.{label}")
    content = system.read(path)
    write_aside(system, target, [content])
    if system.read(target) != content:
        raise StorageError(f"{target.name} was not written as it should be: check the disk.")
    return target


def put_aside(system: System, path: Path, label: str) -> list[Path]:
    """Copy the base file and its journal unchanged; raises OSError, StorageError."""
    present = set(system.names(path.parent))
    files = [path, *(segment_path(path, number) for number in segments(system, path))]
    return [copy_aside(system, file, label) for file in files if file.name in present]


def backup(system: System, path: Path, folder: Path, progress: Progress = lambda _: None) -> Path:
    """Write all documents, the journal's included, to a dated TinyDB file.

    It may run while another process writes the store.

    Args:
        system: makes the calls.
        path: of the base file.
        folder: of the backup.
        progress: called with the bytes of each piece.

    Raises:
        StoreCorrupt: the store is damaged.
        StorageError: there is no store, or the backup cannot be written.
    """
    found = read_settled(system, path)
    if found.base_bytes is None:
        raise StorageError(f"There are no records in {path.parent}; name it with --data-dir.")
    target = folder / f"{path.stem}-{stamp()}.backup{path.suffix}"
    try:
        meta = replace(found.meta or Meta(uuid4().hex), seq=found.sequence)
        write_aside(system, target, _pieces(found.tables, meta), progress)
        if not decode(system.read(target)).intact:
            raise StorageError(f"{target} was not written as it should be: check the disk.")
    except OSError as error:
        raise storage_error(error) from error
    return target


def backups(system: System, path: Path) -> list[Path]:
    """Backups in the folder of a base file, the newest last; raises OSError."""
    start, end = f"{path.stem}-", f".backup{path.suffix}"
    names = [name for name in system.names(path.parent) if name.startswith(start)]
    return [path.with_name(name) for name in sorted(names) if name.endswith(end)]


def outdated(system: System, path: Path, keep: int) -> list[Path]:
    """All dated backups but the newest `keep`; raises OSError.

    Renamed backups are not included.
    """
    dated = [file for file in backups(system, path) if DATED.search(file.name)]
    return dated[: max(0, len(dated) - keep)]


def replaced(
    system: System, path: Path, tables: Tables, meta: Meta, progress: Progress = lambda _: None
) -> None:
    """Replace base file and journal by tables; the caller holds the process lock.

    Args:
        system: makes the calls.
        path: of the base file.
        tables: the new contents.
        meta: its `seq` must be above every commit of the journal, so that a segment that is
            restored by a power failure is older than the new base.
        progress: called with the bytes of each piece.

    Raises:
        OSError: the store is unchanged.
    """
    old = segments(system, path)
    meta = replace(meta, segment=max([meta.segment, *old]))
    write_aside(system, path, _pieces(tables, meta), progress)
    for number in old:
        system.remove(segment_path(path, number))
    system.sync_folder(path.parent)


def read_backup(system: System, source: Path) -> Snapshot:
    """Read a backup, or any TinyDB file.

    Raises:
        StoreCorrupt: it is damaged, or not the file of a store.
        StorageError: it cannot be opened.
    """
    try:
        found = decode(system.read(source))
    except OSError as error:
        raise StorageError(f"{source} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise StoreCorrupt(f"{source} cannot be read: {str(error)[:200]}.") from error
    if found.meta is not None and not found.intact:
        raise StoreCorrupt(f"{source} is not as it was written; choose another backup.")
    for name, rows in found.tables.items():
        try:
            Index(lambda rows=rows: rows)
        except StoreCorrupt as error:
            raise StoreCorrupt(f"{source}: {name} has {error.message}.") from error
    return found


def _pieces(tables: Tables, meta: Meta) -> Iterator[bytes]:
    return encode({name: list(rows.items()) for name, rows in tables.items()}, meta)
