"""Checks of form bodies while they are received: UTF-8, number of fields, completeness."""

from __future__ import annotations

import codecs
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

__all__ = [
    "MAX_PARTS",
    "MAX_PART_HEADER_BYTES",
    "BodyCheck",
    "MultipartCheck",
    "body_check",
    "is_text",
]

MAX_PARTS = 100
MAX_PART_HEADER_BYTES = 4096
MAX_FORM_BYTES = 1 << 20
"""Largest urlencoded form, in bytes; it cannot hold a file."""


def is_text(content: bytes) -> bool:
    """Whether the bytes are valid UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


class BodyCheck:
    """Checks a body while it is received. This base class accepts every body."""

    def feed(self, part: bytes) -> None:
        """Check the next part of the body; raises HTTPException."""

    def end(self) -> None:
        """Check that the body is complete and valid as a whole; raises HTTPException."""


def body_check(content_type: str, parts: type[MultipartCheck] | None = None) -> BodyCheck:
    """The check for a body of this content type.

    Args:
        content_type: value of the Content-Type header.
        parts: class of the check of multipart bodies; MultipartCheck when None.

    Raises:
        HTTPException: a form in another charset than UTF-8.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"application/x-www-form-urlencoded":
        return _UrlencodedCheck()
    if kind != b"multipart/form-data" or b"boundary" not in options:
        return BodyCheck()
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise HTTPException(422, "A form is read as UTF-8 alone.")
    return (parts or MultipartCheck)(options[b"boundary"])


class _UrlencodedCheck(BodyCheck):
    """A urlencoded form: UTF-8, fewer than MAX_PARTS fields, at most MAX_FORM_BYTES."""

    def __init__(self) -> None:
        self._content = bytearray()

    def feed(self, part: bytes) -> None:
        self._content += part
        if len(self._content) > MAX_FORM_BYTES:
            raise HTTPException(413, f"A form has at most {MAX_FORM_BYTES >> 10} KiB.")

    def end(self) -> None:
        if self._content.count(b"&") >= MAX_PARTS:
            raise HTTPException(422, f"A form has at most {MAX_PARTS} fields.")
        if not is_text(unquote_to_bytes(bytes(self._content))):
            raise HTTPException(422, "The form is not UTF-8.")


class MultipartCheck(BodyCheck):
    """A multipart form: names and texts in UTF-8, at most MAX_PARTS parts, and a final boundary."""

    def __init__(self, boundary: bytes):
        self._count = 0
        self._header_bytes, self._name = bytearray(), bytearray()
        self._disposition = b""
        self._is_file = self._ended = False
        self._text = codecs.getincrementaldecoder("utf-8")()
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, part: bytes) -> None:
        try:
            self._parser.write(part)
        except UnicodeDecodeError as error:
            raise HTTPException(422, "A name or a text of the form is not UTF-8.") from error
        except ValueError as error:  # FormParserError is one
            raise HTTPException(400, f"The form cannot be read: {error}") from error

    def end(self) -> None:
        if not self._ended:
            raise HTTPException(400, "The form ends before its last boundary.")

    def on_part(self, disposition: bytes) -> None:
        """Called with the Content-Disposition of each part; may raise HTTPException."""

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise HTTPException(422, f"A form has at most {MAX_PARTS} fields.")
        self._header_bytes.clear()
        self._disposition = b""
        self._text.reset()

    def _field(self, content: bytes, start: int, end: int) -> None:
        self._name += content[start:end].lower()
        self._header(content, start, end)

    def _value(self, content: bytes, start: int, end: int) -> None:
        if self._name == b"content-disposition":
            self._disposition += content[start:end]
        self._header(content, start, end)

    def _header(self, content: bytes, start: int, end: int) -> None:
        self._header_bytes += content[start:end]
        if len(self._header_bytes) > MAX_PART_HEADER_BYTES:
            limit = f"{MAX_PART_HEADER_BYTES >> 10} KiB"
            raise HTTPException(422, f"The headers of a field have at most {limit}.")

    def _header_end(self) -> None:
        self._name.clear()

    def _headers(self) -> None:
        self._header_bytes.decode()
        self._is_file = b"filename" in self._disposition.lower()
        self.on_part(self._disposition)

    def _data(self, content: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._text.decode(content[start:end])

    def _part_end(self) -> None:
        if not self._is_file:
            self._text.decode(b"", final=True)

    def _end(self) -> None:
        self._ended = True
