"""`python -m voicelab db`: checks, repairs, compacts, backs up and copies the records."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tqdm import tqdm

from voicelab.cli.command import Command, add_commands
from voicelab.cli.db_backup import BACKUP, RESTORE
from voicelab.cli.db_repair import CHECK, REPAIR, database_url
from voicelab.cli.opening import has_records, needs_records
from voicelab.cli.reports import dry_run, progress, record_sizes
from voicelab.errors import StorageError, storage_error
from voicelab.settings import Settings
from voicelab.store import MemoryStore, Store, TinyStore, copy, count_documents, open_store

__all__ = ["COMMAND", "COMMANDS"]


def _db(settings: Settings, chosen: argparse.Namespace) -> int:
    """Check, repair, back up or copy the records."""
    if chosen.db_command.settings and not database_url(chosen):
        needs_records(settings.data_dir)
    try:
        return chosen.db_command.run(settings, chosen)
    except OSError as error:
        raise storage_error(error) from error


def _compact(settings: Settings, chosen: argparse.Namespace) -> int:
    """Compact the journal into db.json, as closing does."""
    path = settings.data_dir / "db.json"
    before = record_sizes(path)
    if not chosen.dry_run:
        store = TinyStore(settings.data_dir, background=False)
        with contextlib.closing(store), progress(path) as bar:
            store.compact(bar.update)
    print(f"db.json {before[0]:,} bytes, journal {before[1]:,} bytes")
    if not chosen.dry_run:
        after = record_sizes(path)
        print(f"now     {after[0]:,} bytes, journal {after[1]:,} bytes")
    return 0


def _copy(_: Settings, chosen: argparse.Namespace) -> int:
    """Copy all records to an empty folder or database.

    Each of the two is a folder or a postgresql:// URL.
    """
    if "://" not in chosen.source and not has_records(Path(chosen.source)):
        raise StorageError(f"There is no data folder {chosen.source}.")
    with (
        contextlib.closing(_open(chosen.source, chosen.dry_run)) as source,
        contextlib.closing(_open(chosen.target, chosen.dry_run, anew=True)) as target,
        tqdm(total=sum(count_documents(source).values()), unit="record", leave=False) as bar,
    ):
        counts = copy(source, target, bar.update, dry_run=chosen.dry_run)
    for table, count in counts.items():
        print(f"{table:20}{count:10,} records")
    total = f"{sum(counts.values()):,} records"
    print(
        f"would copy {total}" if chosen.dry_run else f"copied {total}, each read back and compared"
    )
    return 0


def _copy_options(options: argparse.ArgumentParser) -> None:
    dry_run(options)
    options.add_argument("source", metavar="FROM", help="folder with db.json, or database URL")
    options.add_argument("target", metavar="TO", help="folder or database without records")


def _open(place: str, dry_run: bool, anew: bool = False) -> Store:
    """Open a folder or database; for a dry run a folder is neither created nor locked.

    Args:
        place: a folder, or a database URL.
        dry_run: open it read-only.
        anew: it must have no records; audio files may be in the folder already.
    """
    if not dry_run or "://" in place:
        return open_store(place, anew=anew)
    folder = Path(place)
    if not has_records(folder):
        return MemoryStore()
    return TinyStore(folder, read_only=True, anew=anew)


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "check": CHECK,
        "repair": REPAIR,
        "compact": Command(_compact, dry_run),
        "backup": BACKUP,
        "restore": RESTORE,
        "copy": Command(_copy, _copy_options, settings=()),
    }
)
"""The words after `db`. `copy` alone is told where the records are, and asks for no data folder."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS, "db_command")


COMMAND = Command(_db, _options, settings=())
