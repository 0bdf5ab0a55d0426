"""`python -m voicelab` serves as `python app.py` does; `... storage` tells what takes weigh."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from tqdm import tqdm

from voicelab.errors import VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import Files, History, Profiles, Storage, Versions
from voicelab.settings import Settings
from voicelab.store import TinyStore

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Open the page and serve until Ctrl+C, or run a command; the exit status.

    Args:
        arguments: options; those of the process when None.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # One line a download or poll is noise in a log that people read.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["storage"]:
            _storage(words[1:])
        else:
            _serve(arguments)
    except VoicelabError as error:
        print(f"voicelab: {error.message}", file=sys.stderr)
        return 1
    return 0


def _serve(arguments: list[str] | None) -> None:
    with VoiceLab(Settings.from_arguments(arguments)) as lab:
        from voicelab.server import Lab

        Lab(lab).launch()


def _storage(arguments: list[str]) -> None:
    """What the takes weigh, what a clean-up would remove; with --cleanup it goes."""
    options = argparse.ArgumentParser(prog="voicelab storage", description=_storage.__doc__)
    default = Settings.from_environment().data_dir
    options.add_argument("--data-dir", type=Path, default=default, help="folder with the takes")
    options.add_argument("--cleanup", action="store_true", help="do it, not only say it")
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args(arguments)
    store = TinyStore(chosen.data_dir)
    try:
        files = Files(chosen.data_dir)
        versions = Versions(store, files)
        history = History(store, files, Profiles(store, files), versions)
        storage = Storage(store, files, history, versions)
        with tqdm(unit=" things", disable=not chosen.cleanup) as bar:
            report = storage.cleanup(not chosen.cleanup, progress=lambda _: bar.update())
        usage = storage.usage()
    finally:
        store.close()
    if chosen.json:
        print(json.dumps({"usage": usage, "cleanup": report}))
    else:
        print("\n".join(_table(usage, report)))


def _table(usage: dict, report: dict) -> list[str]:
    def mib(size_bytes: float) -> str:
        return f"{size_bytes / 2**20:10.1f} MiB"

    folders = ("takes", "clips", "profiles", "cache", "records", "free")
    lines = [f"{name:12}{mib(usage[f'{name}_bytes'])}" for name in folders]
    lines += [
        f"  {entry['profile_name']:24}{entry['takes']:7} takes{mib(entry['size_bytes'])}"
        for entry in usage["by_profile"]
    ]
    word = "would go" if report["dry_run"] else "gone"
    lines += [
        f"takes {word}: {len(report['deleted'])}, made FLAC: {len(report['compressed'])}, "
        f"files of no take: {len(report['orphan_files'])}, takes without their file: "
        f"{len(report['missing_files'])}, bytes freed: {report['freed_bytes']:,}"
    ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
