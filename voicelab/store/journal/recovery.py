"""Reads a store when it is opened: the base file, then the journal up to the last whole commit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from voicelab.errors import StoreCorrupt, storage_error
from voicelab.store.journal.contents import Contents
from voicelab.store.journal.segments import (
    Header,
    Line,
    lines,
    read_header,
    segment_number,
    segment_path,
)
from voicelab.store.journal.snapshot import Meta, Snapshot, Tables, decode
from voicelab.store.journal.system import System
from voicelab.store.journal.traces import advice, traces

__all__ = ["Recovered", "read_settled", "recover", "segments"]

ATTEMPTS = 20
RETRY_S = 0.05


@dataclass
class Recovered:
    """Result of `recover`.

    Attributes:
        tables: documents as of the last whole commit.
        meta: of the base file; None when there is none, or a plain TinyDB file.
        sequence: number of the last commit.
        base_bytes: size of the base file; None when there is none.
        edited: another program changed the base file.
        applied: number of commits of the journal that the base file did not have.
        segments: numbers of the journal's files.
        tail: (segment number, bytes) of commits that a crash left unfinished.
        findings: one sentence for the log each.
    """

    tables: Tables
    meta: Meta | None = None
    sequence: int = 0
    base_bytes: int | None = None
    edited: bool = False
    applied: int = 0
    segments: list[int] = field(default_factory=list)
    tail: list[tuple[int, bytes]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether the base file alone has all documents."""
        return self.meta is not None and not (self.edited or self.applied)


def recover(system: System, path: Path, anew: bool = False) -> Recovered:
    """Read a store; nothing is written.

    Args:
        system: makes the calls.
        path: of the base file.
        anew: a folder without a base file is a new store, whatever other files it has.

    Raises:
        StoreCorrupt: acknowledged data is damaged; the message names the file.
        OSError: it cannot be read.
    """
    found = segments(system, path)
    if path.exists() and not path.is_file():
        raise StoreCorrupt(f"{path} is no file of records: move it away. {advice(path)}")
    try:
        content = system.read(path)
    except FileNotFoundError:
        if found:
            message = f"{path} is gone, but its journal is there. {advice(path)}"
            raise StoreCorrupt(message) from None
        _check_is_new(system, path, "is gone", anew)
        return Recovered({})
    try:
        base = decode(content)
    except ValueError as error:
        raise StoreCorrupt(f"{path} cannot be read: {str(error)[:200]}. {advice(path)}") from error
    _check_journal_fits(path, base, found)
    if base.meta is None and not any(base.tables.values()):
        _check_is_new(system, path, "holds no records", anew)
    recovered = Recovered(base.tables, base.meta, base_bytes=len(content), segments=found)
    recovered.sequence = base.meta.seq if base.meta else 0
    if base.meta is not None and not base.intact:
        recovered.edited = True
        recovered.findings.append(f"{path.name} was changed by another program")
    replay = _Replay(path, recovered)
    for number in found:
        replay.segment(number, system.read(segment_path(path, number)))
    return recovered


def read_settled(system: System, path: Path, anew: bool = False) -> Recovered:
    """Read a store that another process may be writing; repeated while its files change.

    Raises:
        StoreCorrupt: acknowledged data is damaged in two attempts, or in all of them.
        StorageError: it cannot be read.
    """
    message = ""
    for attempt in range(ATTEMPTS):
        try:
            return recover(system, path, anew)
        except StoreCorrupt as error:
            # A gap caused by a concurrent compaction changes between attempts.
            if error.message == message:
                raise
            message = error.message
        except OSError as error:  # a file removed between two reads is one as well
            if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS - 1:
                raise storage_error(error) from error
        time.sleep(RETRY_S * (attempt > 1 or bool(message)))
    raise StoreCorrupt(message)


def segments(system: System, path: Path) -> list[int]:
    """Numbers of the segments of a base file, ascending."""
    numbers = (segment_number(path, name) for name in system.names(path.parent))
    return sorted(number for number in numbers if number is not None)


def _check_is_new(system: System, path: Path, state: str, anew: bool) -> None:
    if not anew and (found := traces(system, path)):
        raise StoreCorrupt(
            f"{path} {state}, but this is no new folder: it has {', '.join(found)}. {advice(path)}"
        )


def _check_journal_fits(path: Path, base: Snapshot, found: list[int]) -> None:
    if found and not base.intact:
        name = segment_path(path, found[0]).name
        raise StoreCorrupt(
            f"{path} was changed while its journal {name} was not in it. {advice(path)}"
        )


class _Replay:
    """Applies the journal line by line; `_broken` is the first commit that is missing."""

    def __init__(self, path: Path, recovered: Recovered):
        self._path = path
        self._recovered = recovered
        self._contents = Contents(recovered.tables)
        self._broken: int | None = None

    def segment(self, number: int, content: bytes) -> None:
        name = segment_path(self._path, number).name
        first = read_header(content)
        if first is None or not self._belongs_to_store(number, first[0]):
            raise StoreCorrupt(
                f"{self._path.with_name(name)} has a damaged first line. {advice(self._path)}"
            )
        header, seed, start = first
        if header.after > self._recovered.sequence:
            self._mark_broken()
        # A segment begins only when all before it is on the disk.
        self._check_covered(name, header.after)
        for offset, line in lines(content, seed, start):
            self._line(name, line)
            if self._broken is not None and not self._has_tail(number):
                rest = content[offset:].rstrip(b"\0")
                self._recovered.tail.append((number, rest))
                self._recovered.findings.append(
                    f"{name} ends in {len(rest)} bytes of commits that were never finished"
                )

    def _belongs_to_store(self, number: int, header: Header) -> bool:
        meta = self._recovered.meta
        return meta is not None and (header.store, header.segment) == (meta.id, number)

    def _line(self, name: str, line: Line | None) -> None:
        if line is None or line.number > self._recovered.sequence + 1:
            self._mark_broken()
        if line is None:
            return
        self._check_covered(name, line.durable)
        if self._broken is None and line.number == self._recovered.sequence + 1:
            for operation in line.operations:
                self._contents.apply(operation)
            self._recovered.sequence = line.number
            self._recovered.applied += 1

    def _mark_broken(self) -> None:
        if self._broken is None:
            self._broken = self._recovered.sequence + 1

    def _check_covered(self, name: str, durable: int) -> None:
        if self._broken is not None and durable >= self._broken:
            raise StoreCorrupt(
                f"{self._path.with_name(name)}: commit {self._broken}, which was acknowledged, "
                f"is damaged or missing. {advice(self._path)}"
            )

    def _has_tail(self, number: int) -> bool:
        tail = self._recovered.tail
        return bool(tail) and tail[-1][0] == number
