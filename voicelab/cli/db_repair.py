"""`db check` and `db repair`: finds damaged records and repairs them."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from tqdm import tqdm

from voicelab.cli.command import Command
from voicelab.cli.opening import locked
from voicelab.cli.reports import dry_run, print_losses, progress
from voicelab.errors import StoreCorrupt
from voicelab.library import (
    PROFILES,
    TAKES,
    Files,
    References,
    open_files,
    rebuild,
    unrecorded_files,
)
from voicelab.settings import Settings
from voicelab.store import (
    MemoryStore,
    Salvaged,
    Store,
    System,
    TinyStore,
    advice,
    open_store,
    put_aside,
    replaced,
    salvage,
    stamp,
)

__all__ = ["CHECK", "REPAIR", "database_url"]


def database_url(chosen: argparse.Namespace) -> str | None:
    """The database URL of the option; these commands ignore the environment's."""
    return getattr(chosen, "database_url", None)


def _check(settings: Settings, chosen: argparse.Namespace) -> int:
    """Read all records; exit status 1 if something is wrong."""
    path = settings.data_dir / "db.json"
    if url := database_url(chosen):
        with contextlib.closing(open_store(url)) as store:
            return _report(store, [], settings)
    try:
        with progress(path) as bar:
            store = TinyStore(settings.data_dir, read_only=True)
            bar.update(bar.total)
    except StoreCorrupt as error:
        print(error.message)
        print_losses(salvage(System(), path).lost, "could not be read")
        return 1
    print(f"{store.sequence:,} commits")
    for finding in store.findings:
        print(finding)
    edited = ["db.json was edited; the next start keeps a copy"] if store.is_edited else []
    return _report(store, edited, settings)


def _report(store: Store, wrong: list[str], settings: Settings) -> int:
    """Print the tables and what is wrong; the exit status."""
    for table in store.tables():
        print(f"{table:20}{store.count(table):10,} records")
    files = _files(settings)
    wrong = [*wrong, *(each.what for each in References(store, files).dangling())]
    unrecorded, sounds = unrecorded_files(store, files)
    if unrecorded:
        message = f"{unrecorded:,} of {sounds:,} sounds are in no record: db repair --from-audio"
        if unrecorded * 2 > sounds:
            wrong.append(message)
        else:
            print(message)
    print_losses(wrong, "wrong")
    print("Something is wrong: see db repair." if wrong else "All is well.")
    return int(bool(wrong))


def _repair(settings: Settings, chosen: argparse.Namespace) -> int:
    """Keep what is whole of damaged records, and mend the rest.

    What refers to what is lost is mended; the damaged files stay aside, and all that is lost is
    said.
    """
    found = None if database_url(chosen) else _salvage(settings, chosen)
    with contextlib.closing(_store_to_mend(settings, chosen, found)) as store:
        done = _mend(store, settings, chosen)
    if found is None and not done:
        print("All is well: nothing to repair.")
    return 0


def _salvage(settings: Settings, chosen: argparse.Namespace) -> Salvaged | None:
    """The readable records of a damaged file, which they replace unless it is a dry run."""
    system, path = System(), settings.data_dir / "db.json"
    with locked(settings.data_dir):
        if _is_sound(settings.data_dir):
            return None
        found = salvage(system, path)
        count = sum(map(len, found.tables.values()))
        if not count and not chosen.from_audio:
            raise StoreCorrupt(f"Nothing in {path} can be read. {advice(path)}")
        print(f"{'would keep' if chosen.dry_run else 'kept'}: {count:,} records")
        print_losses(found.lost, "lost")
        if not chosen.dry_run:
            for copy in put_aside(system, path, f"damaged-{stamp()}"):
                print(f"as it was: {copy}")
            with progress(path) as bar:
                replaced(system, path, found.tables, found.meta, bar.update)
    return found


def _store_to_mend(settings: Settings, chosen: argparse.Namespace, found: Salvaged | None) -> Store:
    """The store to repair; for a dry run a copy in memory."""
    url = database_url(chosen)
    if not chosen.dry_run:
        return open_store(url or settings.data_dir)
    memory = MemoryStore()
    if found is not None:
        for table, rows in found.tables.items():
            for row in rows.values():
                memory.insert(table, row)
        return memory
    opened = open_store(url) if url else TinyStore(settings.data_dir, read_only=True)
    with contextlib.closing(opened) as store:
        for table in store.tables():
            for row in store.get_many(table, [id for (id,) in store.values(table, ("id",))]):
                memory.insert(table, row)
    return memory


def _mend(store: Store, settings: Settings, chosen: argparse.Namespace) -> bool:
    """Repair references, and with --from-audio create records again; whether anything changed."""
    files, would = _files(settings), "would be " if chosen.dry_run else ""
    done = References(store, files).mend()
    print_losses(done, f"{would}mended")
    if not chosen.from_audio:
        return bool(done)
    sizes = sum(size for _, size, _ in files.audio_files((TAKES, PROFILES)))
    with tqdm(total=sizes, unit="B", unit_scale=True, leave=False) as bar:
        made = rebuild(store, files, bar.update)
    print(
        f"{would}made again from sounds: {made.takes:,} takes ({made.without_metadata:,} of them "
        f"say nothing of themselves), {made.versions:,} versions, {made.profiles:,} profiles, "
        f"{made.clips:,} clips of voices"
    )
    print_losses(made.skipped, "passed over")
    return True


def _is_sound(folder: Path) -> bool:
    try:
        return not TinyStore(folder, read_only=True).is_edited
    except StoreCorrupt:
        return False


def _files(settings: Settings) -> Files:
    return open_files(settings.data_dir, settings.audio_location())


def _repair_options(options: argparse.ArgumentParser) -> None:
    dry_run(options)
    text = "also make records again of sounds that none names"
    options.add_argument("--from-audio", action="store_true", help=text)


CHECK = Command(_check, dry_run, ("data_dir", "database_url"))
REPAIR = Command(_repair, _repair_options, CHECK.settings)
