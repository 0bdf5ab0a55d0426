"""Copies: dated backups of the whole store, and files put aside before anything replaces them."""

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
"""What `stamp` makes of a backup's name."""


def stamp() -> str:
    """The time in UTC as it stands in file names."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def write_aside(
    system: System, path: Path, pieces: Iterable[bytes], progress: Progress = lambda _: None
) -> None:
    """`put_in_place`, and its name is on the disk too; raises OSError."""
    put_in_place(system, path, pieces, progress)
    system.sync_folder(path.parent)


def copy_aside(system: System, path: Path, label: str) -> Path:
    """A copy of a file beside it, read back and compared; raises OSError, StorageError."""
    target = path.with_name(f"{path.name}.{label}")
    content = system.read(path)
    write_aside(system, target, [content])
    if system.read(target) != content:
        raise StorageError(f"{target.name} was not written as it should be: check the disk.")
    return target


def put_aside(system: System, path: Path, label: str) -> list[Path]:
    """Copies of the base file and of its journal, as they are; raises OSError, StorageError."""
    present = set(system.names(path.parent))
    files = [path, *(segment_path(path, number) for number in segments(system, path))]
    return [copy_aside(system, file, label) for file in files if file.name in present]


def backup(system: System, path: Path, folder: Path, progress: Progress = lambda _: None) -> Path:
    """A dated file with all that is there now, journal included; TinyDB opens it.

    Works while another process writes the store.

    Args:
        system: that reads and writes.
        path: of the base file.
        folder: where the backup goes.
        progress: called with the bytes of each piece.

    Raises:
        StoreCorrupt: the store is damaged.
        StorageError: there is none, or the backup cannot be written.
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
    """Those beside a base file, the newest last; raises OSError."""
    start, end = f"{path.stem}-", f".backup{path.suffix}"
    names = [name for name in system.names(path.parent) if name.startswith(start)]
    return [path.with_name(name) for name in sorted(names) if name.endswith(end)]


def outdated(system: System, path: Path, keep: int) -> list[Path]:
    """Dated backups beside a path but the newest `keep`; raises OSError.

    One that somebody gave another name is not among them.
    """
    dated = [file for file in backups(system, path) if DATED.search(file.name)]
    return dated[: max(0, len(dated) - keep)]


def replaced(
    system: System, path: Path, tables: Tables, meta: Meta, progress: Progress = lambda _: None
) -> None:
    """Put tables in the place of base and journal; the caller holds the process lock.

    Args:
        system: that writes.
        path: of the base file.
        tables: what is to be there.
        meta: its `seq` must be above all in the journal there: should a segment come back after
            a power cut, it is older than the new base.
        progress: called with the bytes of each piece.

    Raises:
        OSError: what was there is there still.
    """
    old = segments(system, path)
    meta = replace(meta, segment=max([meta.segment, *old]))
    write_aside(system, path, _pieces(tables, meta), progress)
    for number in old:
        system.remove(segment_path(path, number))
    system.sync_folder(path.parent)


def read_backup(system: System, source: Path) -> Snapshot:
    """A backup, or any TinyDB file.

    Raises:
        StoreCorrupt: it cannot be read, is not as it was written, or no store would open it.
        StorageError: it is not there.
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
