"""`python -m voicelab db`: look at the records, mend them, fold their journal, copy them."""

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
from voicelab.cli.reports import dry_run, progress, weights
from voicelab.errors import StorageError, storage_error
from voicelab.settings import Settings
from voicelab.store import MemoryStore, Store, TinyStore, copy, open_store, weigh

__all__ = ["COMMAND", "COMMANDS"]


def _db(settings: Settings, chosen: argparse.Namespace) -> int:
    """Check, mend, fold, save or copy the records."""
    if chosen.db_command.settings and not database_url(chosen):
        needs_records(settings.data_dir)
    try:
        return chosen.db_command.run(settings, chosen)
    except OSError as error:
        raise storage_error(error) from error


def _compact(settings: Settings, chosen: argparse.Namespace) -> int:
    """Fold the journal into db.json, as closing does."""
    path = settings.data_dir / "db.json"
    before = weights(path)
    if not chosen.dry_run:
        store = TinyStore(settings.data_dir, background=False)
        with contextlib.closing(store), progress(path) as bar:
            store.compact(bar.update)
    print(f"db.json {before[0]:,} bytes, journal {before[1]:,} bytes")
    if not chosen.dry_run:
        after = weights(path)
        print(f"now     {after[0]:,} bytes, journal {after[1]:,} bytes")
    return 0


def _copy(_: Settings, chosen: argparse.Namespace) -> int:
    """Copy all records to an empty folder or database.

    Each of the two is a folder or a postgresql:// URL.
    """
    if "://" not in chosen.source and not has_records(Path(chosen.source)):
        raise StorageError(f"There is no data folder {chosen.source}.")
    with (
        contextlib.closing(_opened(chosen.source, chosen.dry_run)) as source,
        contextlib.closing(_opened(chosen.target, chosen.dry_run, anew=True)) as target,
        tqdm(total=sum(weigh(source).values()), unit="record", leave=False) as bar,
    ):
        counts = copy(source, target, bar.update, dry_run=chosen.dry_run)
    for table, count in counts.items():
        print(f"{table:20}{count:10,} records")
    total = f"{sum(counts.values()):,} records"
    print(
        f"would copy {total}" if chosen.dry_run else f"copied {total}, each read back and compared"
    )
    return 0


def _places(options: argparse.ArgumentParser) -> None:
    dry_run(options)
    options.add_argument("source", metavar="FROM", help="folder with db.json, or database URL")
    options.add_argument("target", metavar="TO", help="folder or database without records")


def _opened(place: str, dry_run: bool, anew: bool = False) -> Store:
    """The store of a place; a folder is neither made nor locked for a dry run.

    Sounds may be in the folder already, for they are copied apart.
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
        "copy": Command(_copy, _places, settings=()),
    }
)
"""The words after `db`. `copy` alone is told where the records are, and asks for no data folder."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS, "db_command")


COMMAND = Command(_db, _options, settings=())
