"""`python -m voicelab check-takes`: compares records of takes and clips with their audio files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from voicelab.audio import SILENCE, blocks, read_metadata
from voicelab.cli.command import Command
from voicelab.cli.opening import reading
from voicelab.errors import NotFound, StorageError
from voicelab.library import Files, Sweep, Versions, open_files
from voicelab.settings import Settings
from voicelab.store import Store

__all__ = ["COMMAND", "Misfit", "Report", "audit"]

TAKE = ("id", "status", "text", "sample_rate", "audio_path", "active_version_id", "clip")
VERSION = ("id", "generation_id", "label", "audio_path", "duration")
SAMPLE = ("id", "profile_id", "audio_path", "duration")

TOLERANCE_S = 0.01
"""Allowed difference in seconds; records round durations."""

SILENCE_PEAK = SILENCE * 2**15
"""Largest 16-bit sample that counts as silence."""

SHOWN_CHARS = 60
YOUNG_S = 60
"""Files younger than so many seconds may not have a record yet."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Misfit:
    """A mismatch between a record and its file, or a file without a record.

    Attributes:
        kind: take, version, clip or file.
        id: of the take, or of the profile; None for a file.
        path: of the file, if there should be one.
        what: one sentence that describes it.
        text: of the take, shortened.
        version_id: of the version, or of the clip.
    """

    kind: str
    id: str | None
    path: str | None
    what: str
    text: str = ""
    version_id: str | None = None

    def __str__(self) -> str:
        name = f"{self.kind} {self.id or ''} {self.text!r}" if self.text else self.kind
        return f"{name}: {self.what} ({self.path})" if self.path else f"{name}: {self.what}"


@dataclass(frozen=True)
class Report:
    """Numbers of records compared, and the mismatches found."""

    takes: int
    versions: int
    clips: int
    misfits: Sequence[Misfit]


def _check_takes(settings: Settings, chosen: argparse.Namespace) -> int:
    """Compare the takes' files with their records.

    Each file is read to its end. Nothing is written, and the app may run meanwhile. Exit status 1
    if something is wrong.
    """
    with reading(settings):
        files = open_files(settings.data_dir, settings.audio_location())
    with tqdm(unit="file", leave=False) as bar:
        report = audit(lambda: reading(settings), files, bar)
    if chosen.json:
        print(json.dumps(asdict(report)))
    else:
        print("\n".join(_report_lines(report)))
    return int(bool(report.misfits))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


COMMAND = Command(_check_takes, _options)


def audit(
    opened: Callable[[], AbstractContextManager[Store]],
    files: Files,
    bar: tqdm | None = None,
) -> Report:
    """Compare records with files.

    Args:
        opened: opens a snapshot of the records.
        files: of the takes.
        bar: progress bar; its total is the number of files.

    Raises:
        StorageError: the records cannot be read.
    """
    with opened() as store:
        records = _Records(store)
        found = [*records.references(), *_check_files(records, files, bar)]
    if found:
        # Records may have changed during the check: only findings that are unchanged count.
        with opened() as store:
            still = _Records(store)
            found = [misfit for misfit in found if still.has(misfit, records)]
            found += _orphans(store, files)
    else:
        with opened() as store:
            found = _orphans(store, files)
    return Report(len(records.takes), len(records.versions), len(records.clips), found)


class _Records:
    """A snapshot of the records that name files."""

    def __init__(self, store: Store):
        self.takes = _rows(store, "generations", TAKE)
        self.versions = _rows(store, "versions", VERSION)
        self.clips = _rows(store, "samples", SAMPLE)
        self._of: dict[str, list[Row]] = {}
        for version in self.versions.values():
            self._of.setdefault(version["generation_id"], []).append(version)

    def references(self) -> Iterator[Misfit]:
        """Takes and versions with wrong references to each other."""
        for take in self.takes.values():
            if take["status"] == "completed" and (wrong := self._wrong(take)):
                yield _take_misfit(take, take["audio_path"], wrong)
        for version in self.versions.values():
            if version["generation_id"] not in self.takes:
                what = "its take is not in the records"
                path, id = version["audio_path"], version["generation_id"]
                yield Misfit("version", id, path, what, version_id=version["id"])

    def _wrong(self, take: Row) -> str | None:
        own = {version["id"]: version for version in self._of.get(take["id"], ())}
        if not own:
            return "it is completed and has no version"
        active = own.get(take["active_version_id"])
        if active is None:
            return "the default version is not in the records"
        if active["audio_path"] != take["audio_path"]:
            return "it names another file than its default version"
        return None

    def named_files(self) -> Iterator[tuple[Row, Row | None, str]]:
        """(record that names a file, its take, kind of file) of every file."""
        for version in self.versions.values():
            take = self.takes.get(version["generation_id"])
            # One that failed says itself that it has no sound; one being made has none yet.
            if take is not None and take["status"] == "completed":
                yield version, take, "version"
        for clip in self.clips.values():
            yield clip, None, "clip"
        for take in self.takes.values():
            if take["clip"]:
                yield {"id": take["id"], "audio_path": take["clip"]}, take, "reference"

    def has(self, misfit: Misfit, before: _Records) -> bool:
        """Whether the records of a mismatch are the same as in `before`."""
        for now, then in ((self.takes, before.takes), (self.versions, before.versions)):
            for id in (misfit.id, misfit.version_id):
                if id in then and now.get(id) != then[id]:
                    return False
        return misfit.kind != "clip" or misfit.version_id in self.clips


def _rows(store: Store, table: str, names: Sequence[str]) -> dict[str, Row]:
    rows = (dict(zip(names, row, strict=True)) for row in store.values(table, names))
    return {row["id"]: row for row in rows}


def _check_files(records: _Records, files: Files, bar: tqdm | None) -> Iterator[Misfit]:
    """Mismatches found by decoding every file."""
    named_files = list(records.named_files())
    if bar is not None:
        bar.reset(len(named_files))
    for row, take, kind in named_files:
        rate = take["sample_rate"] if take and kind == "version" else None
        wrong = _file_problem(files, row["audio_path"], row.get("duration"), rate)
        if wrong is None and take is not None and kind == "version":
            wrong = _other_text(files.path(row["audio_path"]), take["text"])
        if bar is not None:
            bar.update()
        if wrong is None:
            continue
        if take is None:
            path = row["audio_path"]
            yield Misfit("clip", row["profile_id"], path, wrong, version_id=row["id"])
        elif kind == "version":
            yield _take_misfit(take, row["audio_path"], wrong, row["id"])
        else:
            yield _take_misfit(take, row["audio_path"], f"the clip of its voice: {wrong}")


def _file_problem(files: Files, path: str | None, duration_s: Any, rate: Any) -> str | None:
    """What is wrong with a file compared with its record; None if nothing is."""
    try:
        sound, found_rate, declared = blocks(files.path(path or ""))
        frames, peak = 0, 0
        for block in sound:
            frames += len(block)
            peak = max(peak, int(np.abs(block.astype(np.int32)).max(initial=0)))
    except NotFound:
        return "there is no such file"
    except StorageError:
        return "the file cannot be decoded to its end"
    if frames != declared:
        return f"the file ends after {frames:,} of {declared:,} samples"
    if rate is not None and found_rate != rate:
        return f"the file has {found_rate:,} Hz, the record says {rate:,}"
    if duration_s is not None and abs(frames / found_rate - duration_s) > TOLERANCE_S:
        return f"the file has {frames / found_rate:.3f} s, the record says {duration_s:.3f}"
    return None if peak > SILENCE_PEAK else "the file is silent"


def _other_text(path: Path, text: str) -> str | None:
    """The text in the file's metadata, if it is another one than the take's; else None."""
    comment = read_metadata(path).tags.get("comment")
    if not comment or comment == text:
        return None
    return f"the file says that it is another take: {' '.join(comment.split())[:SHOWN_CHARS]!r}"


def _take_misfit(take: Mapping[str, Any], path: str | None, what: str, id: Any = None) -> Misfit:
    text = " ".join(take["text"].split())[:SHOWN_CHARS]
    return Misfit("take" if id is None else "version", take["id"], path, what, text, id)


def _orphans(store: Store, files: Files) -> list[Misfit]:
    found = Sweep(store, files, Versions(store, files)).orphans(files.audio_files(), YOUNG_S)
    return [Misfit("file", None, orphan["path"], "no record names it") for orphan in found]


def _report_lines(report: Report) -> list[str]:
    counts = f"{report.takes:,} takes, {report.versions:,} versions, {report.clips:,} clips"
    if not report.misfits:
        return [f"{counts}: all is well."]
    return [*map(str, report.misfits), f"{counts}: {len(report.misfits):,} do not fit."]
