"""`python -m voicelab` serves as `python app.py` does; `db`, `storage` and others look after it."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import threading
from pathlib import Path

from tqdm import tqdm

from voicelab import audit, database, doctor
from voicelab.errors import StorageError, VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import History, Profiles, Storage, Versions, open_files
from voicelab.settings import Settings
from voicelab.signals import end_in_order
from voicelab.store import RESERVE_BYTES, open_store

__all__ = ["main"]

LISTED = 20
"""Takes that a report names one by one."""


def main(arguments: list[str] | None = None) -> int:
    """Open the page and serve until Ctrl+C or SIGTERM, or run a command; the exit status.

    Args:
        arguments: options; those of the process when None.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # One line a download or poll is noise in a log that people read.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["db"]:
            return database.main(words[1:])
        if words[:1] == ["doctor"]:
            return doctor.main(words[1:])
        if words[:1] == ["check-takes"]:
            return audit.main(words[1:])
        if words[:1] == ["storage"]:
            _storage(words[1:])
        else:
            _serve(arguments)
    except VoicelabError as error:
        print(f"voicelab: {error.message}", file=sys.stderr)
        return 1
    return 0


def _serve(arguments: list[str] | None) -> None:
    settings = Settings.from_arguments(arguments)
    end_in_order()
    # Gradio takes seconds to import, a large store one to open: both at once.
    threading.Thread(target=importlib.import_module, args=("voicelab.server",)).start()
    with VoiceLab(settings) as lab:
        from voicelab.server import Lab

        Lab(lab).launch()


def _storage(arguments: list[str]) -> None:
    """What the takes weigh, what a clean-up would remove; with --cleanup it goes."""
    options = argparse.ArgumentParser(prog="voicelab storage", description=_storage.__doc__)
    default = Settings.from_environment().data_dir
    options.add_argument("--data-dir", type=Path, default=default, help="folder with the takes")
    options.add_argument("--cleanup", action="store_true", help="do it, not only say it")
    text = "how many audio files are to go, where they are more than half of all"
    options.add_argument("--remove", type=int, metavar="N", help=text)
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args(arguments)
    usage, report = _clean(chosen.data_dir, chosen.cleanup, chosen.remove)
    if chosen.json:
        print(json.dumps({"usage": usage, "cleanup": report}))
    else:
        print("\n".join([*_usage(usage), *_report(report)]))


def _clean(folder: Path, cleanup: bool, expected: int | None) -> tuple[dict, dict]:
    settings = Settings.from_environment().model_copy(update={"data_dir": folder})
    if not settings.database_url and not database.has_records(folder):
        raise StorageError(f"There is no data folder {folder}; name it with --data-dir.")
    store = open_store(settings.place(), reserve_bytes=RESERVE_BYTES)
    try:
        files = open_files(folder, settings.audio_place())
        versions = Versions(store, files)
        history = History(store, files, Profiles(store, files), versions)
        storage = Storage(store, files, history, versions)
        report = storage.cleanup()
        if cleanup:
            things = sum(len(report[name]) for name in ("deleted", "orphan_files", "compressed"))
            with tqdm(total=things, unit="thing") as bar:
                report = storage.cleanup(False, lambda _: bar.update(), expected=expected)
        return storage.usage(), report
    finally:
        store.close()


def _usage(usage: dict) -> list[str]:
    folders = ("takes", "clips", "profiles", "cache", "records", "free")
    lines = [f"{name:26}{_mib(usage[f'{name}_bytes'])}" for name in folders]
    for title, part, name in (("voice", "by_profile", "profile_name"), ("age", "by_age", "label")):
        lines.append(f"by {title}")
        lines += [
            f"  {entry[name][:23]:24}{_mib(entry['size_bytes'])}{entry['takes']:8,} takes"
            for entry in usage[part]
        ]
    return lines


def _report(report: dict) -> list[str]:
    would = "would " if report["dry_run"] else ""
    lines = [f"{would}go: {len(report['deleted'])} takes"]
    for take in report["deleted"][:LISTED]:
        lines.append(
            f"  {take['created_at'][:10]}  {take['reason']:6} {' '.join(take['text'].split())}"
        )
    if len(report["deleted"]) > LISTED:
        lines.append(f"  and {len(report['deleted']) - LISTED:,} more (--json lists all)")
    return [
        *lines,
        f"{would}become FLAC: {len(report['compressed'])}; kept as WAV after an error: "
        f"{len(report['not_compressed'])}",
        f"{would}go, files of no take: {len(report['orphan_files'])}",
        f"versions without their file: {len(report['missing_files'])}; takes whose file is there "
        f"again: {len(report['restored'])}",
        f"audio files that {would}go: {report['going_files']:,} of {report['audio_files']:,}",
        f"{would}free {_mib(report['freed_bytes']).strip()}"
        + (", and what FLAC saves" if report["dry_run"] and report["compressed"] else ""),
    ]


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:12,.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
