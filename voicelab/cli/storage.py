"""`python -m voicelab storage`: reports disk usage and cleans up."""

from __future__ import annotations

import argparse
import contextlib
import json

from tqdm import tqdm

from voicelab.cli.command import Command
from voicelab.cli.opening import needs_records, reading
from voicelab.library import History, Profiles, Storage, Versions, open_files
from voicelab.settings import Settings
from voicelab.store import RESERVE_BYTES, Store, open_store

__all__ = ["COMMAND"]

LISTED = 20
"""Number of takes listed one by one."""


def _storage(settings: Settings, chosen: argparse.Namespace) -> int:
    """Report the disk usage, or clean up.

    What a clean-up would remove is listed, also while the app runs; with --cleanup it goes.
    """
    if chosen.cleanup:
        usage, report = _clean_up(settings, chosen.remove)
    else:
        with reading(settings) as store:
            storage = _storage_of(settings, store)
            usage, report = storage.usage(), storage.cleanup()
    if chosen.json:
        print(json.dumps({"usage": usage, "cleanup": report}))
    else:
        print("\n".join([*_usage(usage), *_report(report)]))
    return 0


def _clean_up(settings: Settings, expected: int | None) -> tuple[dict, dict]:
    """Clean up; the usage afterwards and the report. Raises StoreLocked while the app runs."""
    if not settings.database_url:
        needs_records(settings.data_dir)
    opened = open_store(settings.records_location(), reserve_bytes=RESERVE_BYTES)
    with contextlib.closing(opened) as store:
        storage = _storage_of(settings, store)
        planned = storage.cleanup()
        total = sum(len(planned[name]) for name in ("deleted", "orphan_files", "compressed"))
        with tqdm(total=total, unit="thing") as bar:
            report = storage.cleanup(False, lambda _: bar.update(), expected=expected)
        return storage.usage(), report


def _storage_of(settings: Settings, store: Store) -> Storage:
    files = open_files(settings.data_dir, settings.audio_location())
    versions = Versions(store, files)
    history = History(store, files, Profiles(store, files), versions)
    return Storage(store, files, history, versions)


def _options(parser: argparse.ArgumentParser) -> None:
    text = "do it, not only say it; the app must not run"
    parser.add_argument("--cleanup", action="store_true", help=text)
    text = "how many audio files are to go, where they are more than half of all"
    parser.add_argument("--remove", type=int, metavar="N", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")


COMMAND = Command(_storage, _options)


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
