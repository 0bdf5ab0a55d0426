"""`python -m voicelab db`: look at the records file, mend it, fold its journal, copy it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from voicelab.errors import StorageError, StoreCorrupt, storage_error
from voicelab.library import PROFILES, TAKES, Files, References, open_files, rebuild, unnamed_files
from voicelab.settings import Settings
from voicelab.store import (
    MemoryStore,
    Meta,
    ProcessLock,
    Salvaged,
    Snapshot,
    Store,
    System,
    TinyStore,
    advice,
    backup,
    backups,
    copy,
    open_store,
    outdated,
    put_aside,
    read_backup,
    replaced,
    salvage,
    segments,
    stamp,
    traces,
    weigh,
)

__all__ = ["COMMANDS", "Command", "has_records", "main"]

LISTED = 20
"""Losses that a report names one by one."""


@dataclass(frozen=True)
class Command:
    """A word after `db`.

    Attributes:
        run: does it; the exit status.
        options: adds the command's own options.
        is_elsewhere: it is told where the records are, and asks for no data folder.
    """

    run: Callable[[argparse.Namespace], int]
    options: Callable[[argparse.ArgumentParser], None] = lambda _: None
    is_elsewhere: bool = False


def main(arguments: list[str]) -> int:
    """Run a command; the exit status.

    Args:
        arguments: the words after `db`.

    Raises:
        StorageError: the message is for the user.
    """
    parser = argparse.ArgumentParser(prog="voicelab db", description=(__doc__ or "").split(": ")[1])
    words = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary = (command.run.__doc__ or "").strip()
        word = words.add_parser(name, help=summary, description=summary)
        if not command.is_elsewhere:
            default = Settings.from_environment().data_dir
            word.add_argument("--data-dir", type=Path, default=default, help="folder with db.json")
        word.add_argument("--dry-run", action="store_true", help="only say what would be done")
        command.options(word)
        word.set_defaults(run=command.run)
    chosen = parser.parse_args(arguments)
    is_here = "data_dir" in chosen and not getattr(chosen, "database_url", None)
    if is_here and not has_records(chosen.data_dir):
        raise StorageError(f"There is no data folder {chosen.data_dir}; name it with --data-dir.")
    try:
        return chosen.run(chosen)
    except OSError as error:
        raise storage_error(error) from error


def _check(chosen: argparse.Namespace) -> int:
    """Read everything; exit status 1 when something is wrong."""
    path = chosen.data_dir / "db.json"
    if chosen.database_url:
        with contextlib.closing(open_store(chosen.database_url)) as store:
            return _told(store, [], chosen.data_dir)
    try:
        with _progress(path) as bar:
            store = TinyStore(chosen.data_dir, read_only=True)
            bar.update(bar.total)
    except StoreCorrupt as error:
        print(error.message)
        _tell_losses(salvage(System(), path).lost, "could not be read")
        return 1
    print(f"{store.sequence:,} commits")
    for finding in store.findings:
        print(finding)
    edited = ["db.json was edited; the next start keeps a copy"] if store.is_edited else []
    return _told(store, edited, chosen.data_dir)


def _told(store: Store, wrong: list[str], folder: Path) -> int:
    """Tables, and what is wrong; the exit status."""
    for table in store.tables():
        print(f"{table:20}{store.count(table):10,} records")
    files = _files(folder)
    wrong = [*wrong, *(each.what for each in References(store, files).dangling())]
    unnamed, sounds = unnamed_files(store, files)
    if unnamed:
        told = f"{unnamed:,} of {sounds:,} sounds are in no record: db repair --from-audio"
        if unnamed * 2 > sounds:
            wrong.append(told)
        else:
            print(told)
    _tell_losses(wrong, "wrong")
    print("Something is wrong: see db repair." if wrong else "All is well.")
    return int(bool(wrong))


def _repair(chosen: argparse.Namespace) -> int:
    """Keep what is whole of a damaged store, the damaged files aside; mend what refers to what is
    lost, and say all of it."""
    found = None if chosen.database_url else _salvaged(chosen)
    with contextlib.closing(_to_mend(chosen, found)) as store:
        done = _mended(store, chosen)
    if found is None and not done:
        print("All is well: nothing to repair.")
    return 0


def _salvaged(chosen: argparse.Namespace) -> Salvaged | None:
    """What was kept of a damaged file, in its place unless that is only asked for."""
    system, path = System(), chosen.data_dir / "db.json"
    with _locked(chosen.data_dir):
        if _is_sound(chosen.data_dir):
            return None
        found = salvage(system, path)
        kept = sum(map(len, found.tables.values()))
        if not kept and not chosen.from_audio:
            raise StoreCorrupt(f"Nothing in {path} can be read. {advice(path)}")
        print(f"{'would keep' if chosen.dry_run else 'kept'}: {kept:,} records")
        _tell_losses(found.lost, "lost")
        if not chosen.dry_run:
            for copy in put_aside(system, path, f"damaged-{stamp()}"):
                print(f"as it was: {copy}")
            with _progress(path) as bar:
                replaced(system, path, found.tables, found.meta, bar.update)
    return found


def _to_mend(chosen: argparse.Namespace, found: Salvaged | None) -> Store:
    """The store; for a dry run what it would hold, in memory."""
    place = chosen.database_url or chosen.data_dir
    if not chosen.dry_run:
        return open_store(place)
    memory = MemoryStore()
    if found is not None:
        for table, rows in found.tables.items():
            for row in rows.values():
                memory.insert(table, row)
        return memory
    is_here = not chosen.database_url
    opened = TinyStore(chosen.data_dir, read_only=True) if is_here else open_store(place)
    with contextlib.closing(opened) as store:
        for table in store.tables():
            for row in store.get_many(table, [id for (id,) in store.values(table, ("id",))]):
                memory.insert(table, row)
    return memory


def _mended(store: Store, chosen: argparse.Namespace) -> bool:
    """Whether anything was, or would be, mended or made again."""
    files, would = _files(chosen.data_dir), "would be " if chosen.dry_run else ""
    done = References(store, files).mend()
    _tell_losses(done, f"{would}mended")
    if not chosen.from_audio:
        return bool(done)
    sizes = sum(size for _, size, _ in files.audio_files((TAKES, PROFILES)))
    with tqdm(total=sizes, unit="B", unit_scale=True, leave=False) as bar:
        made = rebuild(store, files, bar.update)
    print(
        f"{would}made again from sounds: {made.takes:,} takes ({made.nameless:,} of them say "
        f"nothing of themselves), {made.versions:,} versions, {made.profiles:,} profiles, "
        f"{made.clips:,} clips of voices"
    )
    _tell_losses(made.passed_over, "passed over")
    return True


def _compact(chosen: argparse.Namespace) -> int:
    """Fold the journal into db.json, as closing does."""
    path = chosen.data_dir / "db.json"
    before = _weights(path)
    if not chosen.dry_run:
        store = TinyStore(chosen.data_dir, background=False)
        with contextlib.closing(store), _progress(path) as bar:
            store.compact(bar.update)
    print(f"db.json {before[0]:,} bytes, journal {before[1]:,} bytes")
    if not chosen.dry_run:
        after = _weights(path)
        print(f"now     {after[0]:,} bytes, journal {after[1]:,} bytes")
    return 0


def _backup(chosen: argparse.Namespace) -> int:
    """A dated copy of all records, also of a store in use; TinyDB opens it."""
    system, path = System(), chosen.data_dir / "db.json"
    folder = chosen.to or chosen.data_dir
    # Found before there is the new one, which stays whatever the clock says.
    old = outdated(system, folder / path.name, chosen.keep - 1) if chosen.keep else []
    if chosen.dry_run:
        print(f"would write {sum(_weights(path)):,} bytes at most to {folder}")
    else:
        with _progress(path) as bar:
            print(backup(system, path, folder, bar.update))
    for file in old:
        if not chosen.dry_run:
            system.remove(file)
        print(f"{'would remove' if chosen.dry_run else 'removed'}: {file}")
    return 0


def _restore(chosen: argparse.Namespace) -> int:
    """Put a backup in the place of the records; those that were there are kept aside."""
    system, path = System(), chosen.data_dir / "db.json"
    if chosen.list:
        return _list_backups(system, path)
    with _locked(chosen.data_dir):
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
        with _progress(path) as bar:
            replaced(system, path, found.tables, meta, bar.update)
    return 0


def _backup_to_restore(system: System, path: Path, chosen: Path | None) -> tuple[Path, Snapshot]:
    """The one that was named, else the newest that is whole; raises StorageError."""
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
    """The newest first; exit status 1 when none of them is whole."""
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


def _copy(chosen: argparse.Namespace) -> int:
    """All records of one place, a folder or a postgresql:// URL, into another that is empty."""
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


def _sources(options: argparse.ArgumentParser) -> None:
    text = "postgresql:// URL, where the records are there and only the audio in the data folder"
    options.add_argument("--database-url", metavar="URL", help=text)


def _ways(options: argparse.ArgumentParser) -> None:
    _sources(options)
    text = "also make records again of sounds that none names"
    options.add_argument("--from-audio", action="store_true", help=text)


def _places(options: argparse.ArgumentParser) -> None:
    options.add_argument("source", metavar="FROM", help="folder with db.json, or database URL")
    options.add_argument("target", metavar="TO", help="folder or database without records")


def _to(options: argparse.ArgumentParser) -> None:
    options.add_argument("--to", type=Path, help="folder for the backup; the data folder if unset")
    text = "then remove all backups of that folder, whosever, but the newest N; all stay if unset"
    options.add_argument("--keep", type=_count, metavar="N", help=text)


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("1 is the least")
    return int(text)


def _which(options: argparse.ArgumentParser) -> None:
    options.add_argument("backup", type=Path, nargs="?", help="the newest whole one if unset")
    options.add_argument("--list", action="store_true", help="only list what could be restored")


COMMANDS = {
    "check": Command(_check, _sources),
    "repair": Command(_repair, _ways),
    "compact": Command(_compact),
    "backup": Command(_backup, _to),
    "restore": Command(_restore, _which),
    "copy": Command(_copy, _places, is_elsewhere=True),
}


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


def has_records(folder: Path) -> bool:
    """Whether a folder has records, or shows that it had some."""
    path = folder / "db.json"
    return folder.is_dir() and bool(
        path.is_file() or segments(System(), path) or traces(System(), path)
    )


def _is_sound(folder: Path) -> bool:
    try:
        return not TinyStore(folder, read_only=True).is_edited
    except StoreCorrupt:
        return False


def _files(folder: Path) -> Files:
    return open_files(folder, Settings.from_environment().audio_place())


def _tell_losses(sentences: list[str], what: str) -> None:
    for sentence in sentences[:LISTED]:
        print(f"{what}: {sentence}")
    if len(sentences) > LISTED:
        print(f"and {len(sentences) - LISTED:,} more")


def _weights(path: Path) -> tuple[int, int]:
    """Bytes of the base file and of its journal."""
    journal = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}.j-*"))
    return path.stat().st_size if path.exists() else 0, journal


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = ProcessLock(folder)
    try:
        yield
    finally:
        lock.release()


def _progress(path: Path) -> tqdm:
    """A bar over about the bytes of the records."""
    return tqdm(total=sum(_weights(path)), unit="B", unit_scale=True, leave=False)
