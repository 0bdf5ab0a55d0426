"""Journal segments: one line per commit, with a checksum that is seeded by the header's."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from voicelab.store.document import loads
from voicelab.store.journal.flush import synced
from voicelab.store.journal.system import System

__all__ = [
    "Header",
    "Line",
    "Segment",
    "encode_line",
    "lines",
    "read_header",
    "seeds",
    "segment_number",
    "segment_path",
]

PAGE, MAX_PREALLOCATED = 4096, 64 * 1024
"""Zeros are written ahead, up to this size: a sync is faster when the file size does not change."""

CRC_CHARS = 8
LINE = re.compile(rb'[0-9a-f]{8} \{"s":')


class Line(NamedTuple):
    """One commit.

    Attributes:
        number: of the commit; one more than that of the previous line.
        durable: highest number known to be on the disk when the line was written.
        operations: [table, id, document] put, [table, id, fields, 1] patch, [table, id] delete,
            [table] drop, [table, None] create an empty table.
    """

    number: int
    durable: int
    operations: list[list[Any]]


@dataclass(frozen=True)
class Header:
    """The first line of a segment.

    Attributes:
        store: id of the store.
        segment: number of the segment.
        after: number of the last commit before it, which is on the disk.
    """

    store: str
    segment: int
    after: int


class Segment:
    """A segment that is open for writing.

    Args:
        system: makes the calls.
        base: path of the store's base file.
        header: written and synced before the file is renamed.

    Raises:
        OSError: the file could not be created.
    """

    def __init__(self, system: System, base: Path, header: Header):
        self.path = segment_path(base, header.segment)
        self._system = system
        content, self.seed = _encode_header(header)
        temporary = self.path.with_name(self.path.name + ".new")
        self.descriptor = system.create(temporary)
        try:
            system.write(self.descriptor, content, 0)
            synced(system, self.descriptor)
            system.replace(temporary, self.path)
        except BaseException:
            system.close(self.descriptor)
            raise
        self.size_bytes = self._allocated_bytes = len(content)

    def append(self, line: bytes) -> None:
        """Append a line; after an OSError the file may have any part of it."""
        end = self.size_bytes + len(line)
        content = line
        if end > self._allocated_bytes:
            ahead = min(end, MAX_PREALLOCATED)
            self._allocated_bytes = -(-(end + ahead) // PAGE) * PAGE
            content = line + bytes(self._allocated_bytes - end)
        self._system.write(self.descriptor, content, self.size_bytes)
        self.size_bytes = end

    def cut(self, size_bytes: int) -> None:
        """Truncate the file after a failed `append`, and sync it."""
        self.size_bytes = self._allocated_bytes = size_bytes
        self._system.truncate(self.descriptor, size_bytes)
        self._system.sync(self.descriptor)

    def close(self) -> None:
        """Close the file."""
        self._system.close(self.descriptor)


def segment_path(base: Path, number: int) -> Path:
    """Path of a segment of a base file."""
    return base.with_name(f"{base.name}.j-{number:08}")


def segment_number(base: Path, name: str) -> int | None:
    """Segment number of a file name; None when it is not a segment of this base."""
    match = re.fullmatch(re.escape(base.name) + r"\.j-([0-9]{8,})", name)
    return int(match[1]) if match else None


def encode_line(
    number: int, durable: int, operations: Sequence[bytes], quick: bool, seed: int
) -> bytes:
    """Encode a line of operations that are JSON; `quick`: orjson reads them exactly."""
    payload = b'{"s":%d,"d":%d,%s"o":[%s]}' % (
        number,
        durable,
        b"" if quick else b'"j":1,',
        b",".join(operations),
    )
    return b"%08x %s\n" % (crc32(payload, seed), payload)


def read_header(content: bytes) -> tuple[Header, int, int] | None:
    """Header, seed and length in bytes of a segment's first line; None when it is damaged."""
    end = content.find(b"\n")
    payload = _verified_payload(content[: max(end, 0)], 0)
    if payload is None:
        return None
    fields = orjson.loads(payload)
    header = Header(fields["store"], fields["segment"], fields["after"])
    return header, crc32(payload), end + 1


def seeds(content: bytes) -> list[int]:
    """Possible checksum seeds of a segment's lines, also when its first line is damaged."""
    first = content.partition(b"\n")[0]
    found = [crc32(first[CRC_CHARS + 1 :])]
    with contextlib.suppress(ValueError):
        found.append(int(first[:CRC_CHARS], 16))
    return found


def lines(content: bytes, seed: int, start: int) -> Iterator[tuple[int, Line | None]]:
    """(offset, line) of every line from `start` on; None for a damaged line.

    Zeros at the end of the content are ignored.
    """
    end = len(content.rstrip(b"\0"))
    while start < end:
        stop = content.find(b"\n", start)
        stop = end if stop < 0 else stop
        line = _decode_line(content[start:stop], seed)
        yield start, line
        if line is None:
            yield from _lines_within(content[start:stop], seed, start)
        start = stop + 1


def _lines_within(damaged: bytes, seed: int, start: int) -> Iterator[tuple[int, Line | None]]:
    """Whole lines within a damaged line, whose line end was lost."""
    for begin in LINE.finditer(damaged, 1):
        line = _decode_line(damaged[begin.start() :], seed)
        if line is not None:
            yield start + begin.start(), line


def _decode_line(line: bytes, seed: int) -> Line | None:
    payload = _verified_payload(line, seed)
    if payload is None:
        return None
    fields = loads(payload)
    if "j" in fields:
        fields = loads(payload, quick=False)
    return Line(fields["s"], fields["d"], fields["o"])


def _verified_payload(line: bytes, seed: int) -> bytes | None:
    """The payload of a line when its checksum is right; else None."""
    payload = line[CRC_CHARS + 1 :]
    whole = line[: CRC_CHARS + 1] == b"%08x " % crc32(payload, seed)
    return payload if whole and payload else None


def _encode_header(header: Header) -> tuple[bytes, int]:
    fields = {"journal": 1, "store": header.store, "segment": header.segment, "after": header.after}
    payload = orjson.dumps(fields)
    return b"%08x %s\n" % (crc32(payload), payload), crc32(payload)
