"""`python -m voicelab storage`: what the takes weigh, and the clean-up."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from voicelab.cli import db
from voicelab.errors import StorageError
from voicelab.library import History, Profiles, Storage, Versions, open_files
from voicelab.settings import Settings
from voicelab.store import RESERVE_BYTES, open_store

__all__ = ["main"]

LISTED = 20
"""Takes that a report names one by one."""


def main(arguments: list[str]) -> int:
    """What the takes weigh, what a clean-up would remove; with --cleanup it goes."""
    options = argparse.ArgumentParser(prog="voicelab storage", description=main.__doc__)
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
    return 0


def _clean(folder: Path, cleanup: bool, expected: int | None) -> tuple[dict, dict]:
    settings = Settings.from_environment().model_copy(update={"data_dir": folder})
    if not settings.database_url and not db.has_records(folder):
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
