"""What a sound file says of itself: chunks behind the samples of a WAV, comments of a FLAC.

Each has a few tags that every player shows, and one JSON document. In a WAV those are a LIST chunk
of type INFO and the USER element of an iXML chunk (gallery.co.uk/ixml), in a FLAC a
VORBIS_COMMENT block (RFC 9639, section 8.6). Whatever is read may come from strangers.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape, unescape

from voicelab.audio.samples import half_written

__all__ = ["Metadata", "read_metadata", "tag_flac", "wav_chunks"]

INFO = {
    "title": b"INAM",
    "artist": b"IART",
    "date": b"ICRD",
    "software": b"ISFT",
    "language": b"ILNG",
    "comment": b"ICMT",
}
"""Tag -> identifier in a LIST chunk; in a FLAC a tag's name is in capitals."""

DOCUMENT = "VOICELAB"
"""Name of the document among the comments of a FLAC."""

XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<BWFXML><IXML_VERSION>1.61</IXML_VERSION><USER>'
XML_END = b"</USER></BWFXML>"
USER = re.compile(rb"<USER>([^<]*)</USER>")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

MOST_BYTES = 12 * 2**20
"""Of one chunk or block: what a FLAC's 24-bit length holds, and room to spare."""

MOST_PARTS = 1000
"""Chunks, blocks or tags that are looked at."""

COMMENTS = 4
"""Type of a FLAC's VORBIS_COMMENT block."""


@dataclass(frozen=True)
class Metadata:
    """What a file says.

    Attributes:
        tags: title, artist, date, software, language, comment, as far as there are.
        document: JSON in UTF-8, not looked into; empty when there is none.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    document: bytes = b""


def wav_chunks(metadata: Metadata) -> bytes:
    """The chunks that stand behind the samples; what would be too long is left out."""
    texts = [(INFO[name], _printable(text).encode() + b"\0") for name, text in _known(metadata)]
    listed = b"INFO" + b"".join(_chunk(name, text) for name, text in texts)
    document = _xml_safe(metadata.document)
    user = XML + escape(document).encode() + XML_END if document else b""
    chunks = [(b"LIST", listed if texts else b""), (b"iXML", user)]
    return b"".join(_chunk(name, body) for name, body in chunks if 0 < len(body) <= MOST_BYTES)


def read_metadata(path: Path) -> Metadata:
    """What a WAV or FLAC says; nothing for any other file, and for one that is damaged.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(4)
        if first == b"fLaC":
            return _from_comments(_comments(file))
        if first in (b"RIFF", b"RF64") and file.read(8)[4:] == b"WAVE":
            return _from_chunks(file, path.stat().st_size)
    return Metadata()


def tag_flac(path: Path, metadata: Metadata) -> None:
    """Put metadata in the place of a FLAC's comments; its samples are the same bytes.

    Raises:
        OSError: the file is as it was.
        ValueError: it is no FLAC.
    """
    temporary = half_written(path)
    try:
        with path.open("rb") as source, temporary.open("wb") as target:
            if source.read(4) != b"fLaC":
                raise ValueError("not a FLAC file")
            kept = [(kind, body) for kind, body in _blocks(source) if kind != COMMENTS]
            # STREAMINFO must be the first.
            blocks = [kept[0], (COMMENTS, _vorbis(metadata)), *kept[1:]]
            target.write(b"fLaC")
            for number, (kind, body) in enumerate(blocks, 1):
                last = 0x80 if number == len(blocks) else 0
                target.write(struct.pack(">I", (last | kind) << 24 | len(body)) + body)
            while block := source.read(1 << 20):
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _known(metadata: Metadata) -> Iterator[tuple[str, str]]:
    return ((name, metadata.tags[name]) for name in INFO if metadata.tags.get(name))


def _printable(text: str) -> str:
    return UNPRINTABLE.sub(" ", text)


def _xml_safe(document: bytes) -> str:
    """JSON has escapes for what XML cannot hold."""
    text = document.decode("utf-8")
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _from_chunks(file: BinaryIO, size_bytes: int) -> Metadata:
    tags: dict[str, str] = {}
    document = b""
    for _ in range(MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = struct.unpack("<4sI", head)
        after = file.tell() + length + length % 2
        if name in (b"LIST", b"iXML") and length <= min(MOST_BYTES, size_bytes):
            body = file.read(length)
            if name == b"iXML":
                found = USER.search(body)
                document = _unescaped(found[1]) if found else b""
            elif body.startswith(b"INFO"):
                tags |= _info(body)
        if after >= size_bytes:
            break
        file.seek(after)
    return Metadata(tags, document)


def _unescaped(text: bytes) -> bytes:
    return unescape(text.decode("utf-8", "replace")).encode()


def _info(body: bytes) -> dict[str, str]:
    names = {identifier: name for name, identifier in INFO.items()}
    found: dict[str, str] = {}
    at = 4
    while at + 8 <= len(body) and len(found) < MOST_PARTS:
        identifier, length = struct.unpack_from("<4sI", body, at)
        text = body[at + 8 : at + 8 + length].split(b"\0")[0]
        if identifier in names:
            found[names[identifier]] = text.decode("utf-8", "replace")
        at += 8 + length + length % 2
    return found


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(type, content) of a FLAC's metadata blocks; raises ValueError."""
    for _ in range(MOST_PARTS):
        head = file.read(4)
        if len(head) < 4:
            raise ValueError("the FLAC file is cut off")
        (word,) = struct.unpack(">I", head)
        body = file.read(word & 0xFFFFFF)
        if len(body) < word & 0xFFFFFF:
            raise ValueError("the FLAC file is cut off")
        yield word >> 24 & 0x7F, body
        if word >> 31:
            return
    raise ValueError("the FLAC file has too many blocks")


def _comments(file: BinaryIO) -> bytes:
    try:
        return next((body for kind, body in _blocks(file) if kind == COMMENTS), b"")
    except ValueError:
        return b""


def _vorbis(metadata: Metadata) -> bytes:
    fields = [f"{name.upper()}={_printable(text)}".encode() for name, text in _known(metadata)]
    if metadata.document:
        fields.append(DOCUMENT.encode() + b"=" + metadata.document)
    while sum(map(len, fields)) > MOST_BYTES:
        fields.remove(max(fields, key=len))
    listed = b"".join(map(_with_length, fields))
    return _with_length(b"voicelab") + struct.pack("<I", len(fields)) + listed


def _with_length(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def _from_comments(body: bytes) -> Metadata:
    found: dict[str, str] = {}
    try:
        (vendor,) = struct.unpack_from("<I", body, 0)
        at = 4 + vendor
        (count,) = struct.unpack_from("<I", body, at)
        at += 4
        for _ in range(min(count, MOST_PARTS)):
            (length,) = struct.unpack_from("<I", body, at)
            name, _, text = body[at + 4 : at + 4 + length].partition(b"=")
            found[name.decode("ascii", "replace").upper()] = text.decode("utf-8", "replace")
            at += 4 + length
    except struct.error:  # cut off: what was read before stands
        pass
    tags = {name: found[name.upper()] for name in INFO if name.upper() in found}
    return Metadata(tags, found.get(DOCUMENT, "").encode())
