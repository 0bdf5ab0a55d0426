"""Recovers the readable documents of a damaged store, and reports what is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from voicelab.store.document import loads
from voicelab.store.journal.contents import Contents
from voicelab.store.journal.recovery import segments
from voicelab.store.journal.segments import Line, lines, read_header, seeds, segment_path
from voicelab.store.journal.snapshot import META, Meta, Tables, decode
from voicelab.store.journal.system import System

__all__ = ["Salvaged", "salvage"]

TABLE = re.compile(rb'("(?:[^"\\]|\\.)*"):\{')
MAX_LISTED = 10
"""Limit of the lost commits that a report lists by number."""


@dataclass
class Salvaged:
    """Result of `salvage`.

    Attributes:
        tables: all readable documents.
        meta: its `seq` is above every commit of the damaged store.
        lost: one sentence for each loss.
    """

    tables: Tables
    meta: Meta
    lost: list[str] = field(default_factory=list)


def salvage(system: System, path: Path) -> Salvaged:
    """Read all readable documents; nothing is written.

    Args:
        system: makes the calls.
        path: of the base file.

    Raises:
        OSError: a file cannot be read at all.
    """
    found = _read_base(system, path)
    commits = _Commits(found.meta.seq)
    for number in segments(system, path):
        commits.read(segment_path(path, number).name, system.read(segment_path(path, number)))
    _replay(found, commits)
    _check_ids(found)
    found.lost += commits.lost
    found.meta = replace(found.meta, seq=commits.highest + 1)
    return found


class _Commits:
    """The readable commits of all journal segments, by number."""

    def __init__(self, sequence: int):
        self.highest = self.start = sequence
        self.lines: dict[int, Line] = {}
        self.lost: list[str] = []

    def read(self, name: str, content: bytes) -> None:
        header = read_header(content)
        if header is None:
            self.lost.append(f"{name}: its first line is damaged")
        else:
            self.highest = max(self.highest, header[0].after)
        start = content.find(b"\n") + 1
        readings = [list(lines(content, seed, start)) for seed in seeds(content)]
        best = max(readings, key=lambda reading: sum(line is not None for _, line in reading))
        for offset, line in best:
            if line is None:
                self.lost.append(f"{name}: a damaged line at byte {offset}")
            else:
                self.lines[line.number] = line
                self.highest = max(self.highest, line.number, line.durable)

    def missing(self) -> list[int]:
        """Numbers of commits that existed and cannot be read."""
        return [n for n in range(self.start + 1, self.highest + 1) if n not in self.lines]


def _read_base(system: System, path: Path) -> Salvaged:
    fresh = Meta(uuid4().hex)
    try:
        content = system.read(path)
    except FileNotFoundError:
        return Salvaged({}, fresh, [f"{path.name} is gone, and what was in it"])
    try:
        read = decode(content)
    except ValueError:
        return _read_by_lines(path.name, content, fresh)
    lost = [] if read.intact or read.meta is None else [f"{path.name} is not as it was written"]
    return Salvaged(read.tables, read.meta or fresh, lost)


def _read_by_lines(name: str, content: bytes, meta: Meta) -> Salvaged:
    """Read a base file that is not valid JSON line by line: each line has one document."""
    found = Salvaged({}, meta)
    table: dict[str, Any] | None = None
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.startswith(b"}"):  # if damaged: what follows is another table's
            table = None
        if line in (b"{", b"},", b""):
            continue
        if begins := TABLE.fullmatch(line):
            table = found.tables.setdefault(loads(begins[1]), {})
            continue
        entry = next(_entries(line), None)
        if entry is None:
            found.lost.append(f"{name}: a damaged line of {len(line)} bytes, {line[:60]!r}")
        elif META in entry:
            fields = entry[META].get("1", {})
            seq, segment = fields.get("seq", 0), fields.get("segment", 0)
            found.meta = replace(meta, id=fields.get("id", meta.id), seq=seq, segment=segment)
        else:
            if table is None:
                table = _unnamed_table(found, name, number)
            table.update(entry)
    return found


def _unnamed_table(found: Salvaged, name: str, number: int) -> dict[str, Any]:
    """A new table for documents whose table is unknown, so that they replace none of another."""
    table = f"unnamed-{number}"
    found.lost.append(f"{name}: the name of a table, whose documents are in {table} now")
    return found.tables.setdefault(table, {})


def _entries(line: bytes) -> Iterator[dict[str, Any]]:
    """Decode a line as an entry of a table, or as the last one with the closing brace."""
    bare = line.removesuffix(b",")
    for text in (bare, bare.removesuffix(b"}")):
        try:
            entry = loads(b"{" + text + b"}")
        except (ValueError, orjson.JSONDecodeError):
            continue
        if isinstance(entry, dict) and all(isinstance(row, dict) for row in entry.values()):
            yield entry


def _replay(found: Salvaged, commits: _Commits) -> None:
    contents = Contents(found.tables)
    for number in sorted(n for n in commits.lines if n > commits.start):
        for operation in commits.lines[number].operations:
            patches = len(operation) == 4
            if patches and operation[1] not in contents.rows(operation[0]):
                what = f"a change of document {operation[1]} in {operation[0]}"
                commits.lost.append(f"commit {number}: {what}, which is not there")
            else:
                contents.apply(operation)
    missing = commits.missing()
    if missing:
        named = ", ".join(map(str, missing[:MAX_LISTED])) + (
            ", ..." if len(missing) > MAX_LISTED else ""
        )
        commits.lost.append(f"{len(missing)} commits: {named}")


def _check_ids(found: Salvaged) -> None:
    for name, rows in found.tables.items():
        seen: set[str] = set()
        for key in list(rows):
            id = rows[key].get("id")
            if not isinstance(id, str) or id in seen:
                found.lost.append(f"{name}: document {key} has no id of its own")
                del rows[key]
            else:
                seen.add(id)
        _renumber(rows)


def _renumber(rows: dict[str, Any]) -> None:
    """Replace keys that are not numbers by the next free numbers."""
    last = max((int(key) for key in rows if key.isdecimal()), default=0)
    for number, key in enumerate([key for key in rows if not key.isdecimal()], last + 1):
        rows[str(number)] = rows.pop(key)
