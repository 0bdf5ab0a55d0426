"""Metadata of audio files: RIFF chunks after the samples of a WAV, comments of a FLAC.

Metadata are a few tags that players show, and one JSON document. A WAV has them in a LIST chunk
of type INFO and the USER element of an iXML chunk (gallery.co.uk/ixml), a FLAC in a
VORBIS_COMMENT block (RFC 9639, section 8.6). Files are read as untrusted input.
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
"""Tag -> identifier in a LIST chunk; a FLAC has the tag's name in capitals."""

DOCUMENT_COMMENT = "VOICELAB"
"""Name of the comment of a FLAC that holds the JSON document."""

XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<BWFXML><IXML_VERSION>1.61</IXML_VERSION><USER>'
XML_END = b"</USER></BWFXML>"
USER = re.compile(rb"<USER>([^<]*)</USER>")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

MAX_BYTES = 12 * 2**20
"""Limit of one chunk or block; the 24-bit length in a FLAC allows 16 MiB."""

MAX_PARTS = 1000
"""Limit of the chunks, blocks or tags that are read."""

COMMENTS = 4
"""Type of a FLAC's VORBIS_COMMENT block."""


@dataclass(frozen=True)
class Metadata:
    """Metadata of an audio file.

    Attributes:
        tags: any of title, artist, date, software, language, comment.
        document: JSON in UTF-8, not parsed here; empty when there is none.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    document: bytes = b""


def wav_chunks(metadata: Metadata) -> bytes:
    """Metadata as RIFF chunks; a chunk above 12 MiB is left out."""
    texts = [
        (INFO[name], _printable(text).encode() + b"\0") for name, text in _known_tags(metadata)
    ]
    content = b"INFO" + b"".join(_chunk(name, text) for name, text in texts)
    document = _xml_safe(metadata.document)
    user = XML + escape(document).encode() + XML_END if document else b""
    chunks = [(b"LIST", content if texts else b""), (b"iXML", user)]
    return b"".join(_chunk(name, body) for name, body in chunks if 0 < len(body) <= MAX_BYTES)


def read_metadata(path: Path) -> Metadata:
    """Metadata of a WAV or FLAC; empty for any other or damaged file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(4)
        if first == b"fLaC":
            return _from_comments(_comments(file))
        if first in (b"RIFF", b"RF64") and file.read(8)[4:] == b"WAVE":
            return _from_chunks(file, path.stat().st_size)
    return Metadata()


def tag_flac(path: Path, metadata: Metadata) -> None:
    """Replace the comments of a FLAC by metadata; the bytes of its samples do not change.

    Raises:
        OSError: the file is unchanged.
        ValueError: it is not a FLAC, or damaged.
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


def _known_tags(metadata: Metadata) -> Iterator[tuple[str, str]]:
    return ((name, metadata.tags[name]) for name in INFO if metadata.tags.get(name))


def _printable(text: str) -> str:
    return UNPRINTABLE.sub(" ", text)


def _xml_safe(document: bytes) -> str:
    """Write characters that XML does not allow as JSON escapes."""
    text = document.decode("utf-8")
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _from_chunks(file: BinaryIO, size_bytes: int) -> Metadata:
    tags: dict[str, str] = {}
    document = b""
    for _ in range(MAX_PARTS):
        header = file.read(8)
        if len(header) < 8:
            break
        name, length = struct.unpack("<4sI", header)
        next_position = file.tell() + length + length % 2
        if name in (b"LIST", b"iXML") and length <= min(MAX_BYTES, size_bytes):
            body = file.read(length)
            if name == b"iXML":
                match = USER.search(body)
                document = _unescaped(match[1]) if match else b""
            elif body.startswith(b"INFO"):
                tags |= _info(body)
        if next_position >= size_bytes:
            break
        file.seek(next_position)
    return Metadata(tags, document)


def _unescaped(text: bytes) -> bytes:
    return unescape(text.decode("utf-8", "replace")).encode()


def _info(body: bytes) -> dict[str, str]:
    names = {identifier: name for name, identifier in INFO.items()}
    tags: dict[str, str] = {}
    position = 4
    while position + 8 <= len(body) and len(tags) < MAX_PARTS:
        identifier, length = struct.unpack_from("<4sI", body, position)
        text = body[position + 8 : position + 8 + length].split(b"\0")[0]
        if identifier in names:
            tags[names[identifier]] = text.decode("utf-8", "replace")
        position += 8 + length + length % 2
    return tags


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(type, content) of each metadata block of a FLAC; ValueError when it is damaged."""
    for _ in range(MAX_PARTS):
        header = file.read(4)
        if len(header) < 4:
            raise ValueError("the FLAC file is cut off")
        (word,) = struct.unpack(">I", header)
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
    fields = [f"{name.upper()}={_printable(text)}".encode() for name, text in _known_tags(metadata)]
    if metadata.document:
        fields.append(DOCUMENT_COMMENT.encode() + b"=" + metadata.document)
    while sum(map(len, fields)) > MAX_BYTES:
        fields.remove(max(fields, key=len))
    content = b"".join(map(_with_length, fields))
    return _with_length(b"voicelab") + struct.pack("<I", len(fields)) + content


def _with_length(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def _from_comments(body: bytes) -> Metadata:
    comments: dict[str, str] = {}
    try:
        (vendor,) = struct.unpack_from("<I", body, 0)
        position = 4 + vendor
        (count,) = struct.unpack_from("<I", body, position)
        position += 4
        for _ in range(min(count, MAX_PARTS)):
            (length,) = struct.unpack_from("<I", body, position)
            name, _, text = body[position + 4 : position + 4 + length].partition(b"=")
            comments[name.decode("ascii", "replace").upper()] = text.decode("utf-8", "replace")
            position += 4 + length
    except struct.error:  # truncated: the comments before are used
        pass
    tags = {name: comments[name.upper()] for name in INFO if name.upper() in comments}
    return Metadata(tags, comments.get(DOCUMENT_COMMENT, "").encode())
