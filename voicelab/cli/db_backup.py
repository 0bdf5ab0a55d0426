"""`db backup` and `db restore`: dated copies of the records."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from voicelab.cli.command import Command
from voicelab.cli.opening import locked
from voicelab.cli.reports import dry_run, progress, record_sizes
from voicelab.errors import StorageError, StoreCorrupt
from voicelab.settings import Settings
from voicelab.store import (
    Meta,
    Snapshot,
    System,
    backup,
    backups,
    outdated,
    put_aside,
    read_backup,
    replaced,
    salvage,
    stamp,
)

__all__ = ["BACKUP", "RESTORE"]


def _backup(settings: Settings, chosen: argparse.Namespace) -> int:
    """Write a dated copy of all records, also while the app runs.

    TinyDB opens it.
    """
    system, path = System(), settings.data_dir / "db.json"
    folder = chosen.to or settings.data_dir
    # Listed before the new backup is written, which is kept whatever its date.
    old = outdated(system, folder / path.name, chosen.keep - 1) if chosen.keep else []
    if chosen.dry_run:
        print(f"would write {sum(record_sizes(path)):,} bytes at most to {folder}")
    else:
        with progress(path) as bar:
            print(backup(system, path, folder, bar.update))
    for file in old:
        if not chosen.dry_run:
            system.remove(file)
        print(f"{'would remove' if chosen.dry_run else 'removed'}: {file}")
    return 0


def _restore(settings: Settings, chosen: argparse.Namespace) -> int:
    """Put a backup in the place of the records.

    Those that were there stay aside.
    """
    system, path = System(), settings.data_dir / "db.json"
    if chosen.list:
        return _list_backups(system, path)
    with locked(settings.data_dir):
        source, found = _backup_to_restore(system, path, chosen.backup)
        records = sum(map(len, found.tables.values()))
        print(f"{'would restore' if chosen.dry_run else 'restore'} {records:,} records of {source}")
        if chosen.dry_run:
            return 0
        now = salvage(system, path).meta
        for copy in put_aside(system, path, f"replaced-{stamp()}"):
            print(f"as it was: {copy}")
        base = found.meta or Meta(now.id)
        meta = replace(base, seq=max(now.seq, base.seq + 1), segment=now.segment)
        with progress(path) as bar:
            replaced(system, path, found.tables, meta, bar.update)
    return 0


def _backup_to_restore(system: System, path: Path, chosen: Path | None) -> tuple[Path, Snapshot]:
    """The backup that was named, or the newest intact one; raises StorageError."""
    if chosen is not None:
        return chosen, read_backup(system, chosen)
    damaged = ""
    for source in reversed(backups(system, path)):
        try:
            found = read_backup(system, source)
            if any(found.tables.values()):
                return source, found
            print(f"passed over: {source} has no records.")
        except StorageError as error:
            damaged = damaged or error.message
            print(f"passed over: {error.message}")
    raise (
        StoreCorrupt(damaged)
        if damaged
        else StorageError(
            f"There is no backup in {path.parent}; name one, or make the records again from the "
            "sounds: db repair --from-audio."
        )
    )


def _list_backups(system: System, path: Path) -> int:
    """Print the backups, newest first; exit status 1 if none can be restored."""
    whole = 0
    for source in reversed(backups(system, path)):
        try:
            records = sum(map(len, read_backup(system, source).tables.values()))
        except StorageError as error:
            print(f"cannot be restored: {error.message}")
        else:
            print(f"{source}{records:10,} records{source.stat().st_size:14,} bytes")
            whole += records > 0
    print(f"{whole} backups can be restored.")
    return int(not whole)


def _backup_options(options: argparse.ArgumentParser) -> None:
    dry_run(options)
    options.add_argument(
        "--to", type=Path, metavar="PATH", help="folder for the backup; the data folder if unset"
    )
    text = "then remove all backups of that folder, whosever, but the newest N; all stay if unset"
    options.add_argument("--keep", type=_count, metavar="N", help=text)


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("1 is the least")
    return int(text)


def _restore_options(options: argparse.ArgumentParser) -> None:
    dry_run(options)
    options.add_argument(
        "backup", type=Path, nargs="?", metavar="FILE", help="the newest whole one if unset"
    )
    options.add_argument("--list", action="store_true", help="only list what could be restored")


BACKUP = Command(_backup, _backup_options)
RESTORE = Command(_restore, _restore_options)
