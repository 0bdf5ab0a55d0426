"""Names that people read: of profiles, stories and presets; labels and tags.

What cannot be seen is refused in them: it makes two names look like one, or turns the line around
it about (U+202E). Joiners stay where a script or an emoji is written with them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from voicelab.errors import InvalidInput

__all__ = ["check_name", "clean_name", "file_name"]

UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
"""Categories of characters: controls, formats, surrogates, private use, line and paragraph ends."""

BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters, marks and symbols that are drawn as nothing."""

PLANES = range(0, 0x110000, 0x10000)
NONCHARACTERS = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(p + 0xFFFE) + chr(p + 0xFFFF) for p in PLANES) + "]"
)
"""Code points that are never characters."""

UNSAFE = re.compile(r'[<>:"/\\|?*\s]+')
"""Characters that a file system or a shell gives a meaning; spaces with them become one."""

SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")

DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their suffix."""

JOINERS = frozenset("\u200c\u200d")
VIRAMA = 9
"""Combining class of the sign after which Indic scripts need joiners."""


def check_name(param: str, value: Any, least: int, most: int) -> str:
    """The name without space around it.

    Args:
        param: its argument.
        value: from a client.
        least, most: characters.

    Raises:
        InvalidInput: no string, its length, or a character that cannot be seen.
    """
    name = value.strip() if isinstance(value, str) else ""
    if not isinstance(value, str) or not least <= len(name) <= most:
        raise InvalidInput(f"{param} takes {least} to {most} characters.", param=param)
    for index, character in enumerate(name):
        if not _seen(name, index):
            raise InvalidInput(
                f"{param} has a character that cannot be seen, U+{ord(character):04X}, "
                f"at position {index}.",
                param=param,
            )
    return name


def clean_name(value: str, otherwise: str) -> str:
    """A name that came in an archive, without what cannot be seen; `otherwise` if none is left."""
    spaced = value.translate(dict.fromkeys(map(ord, "\t\r\n\u2028\u2029"), " "))
    seen = "".join(each for index, each in enumerate(spaced) if _seen(spaced, index))
    return seen.strip() or otherwise


def file_name(value: str, otherwise: str) -> str:
    """A name of a file that every system can keep, made of a text; `otherwise` if none is left.

    Without what cannot be seen, and what turns the line around it about; path separators, quotes
    and wildcards become spaces.
    """
    suffix = SUFFIX.search(value)
    text = value[: suffix.start()] if suffix else value
    stem = UNSAFE.sub(" ", clean_name(text, "")).strip(" .")
    if not stem:
        return otherwise
    name = stem + (suffix[0] if suffix else "")
    return f"_{name}" if DEVICES.fullmatch(name) else name


def _seen(name: str, index: int) -> bool:
    character = name[index]
    if character in JOINERS:
        return 0 < index < len(name) - 1 and _joined(name[index - 1], name[index + 1])
    return (
        unicodedata.category(character) not in UNSEEN
        and character not in BLANK
        and not NONCHARACTERS.match(character)
    )


def _joined(before: str, after: str) -> bool:
    """Whether a joiner means something there: in Arabic, in an Indic script, in an emoji."""
    arabic = unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
    emoji = unicodedata.category(before) in ("So", "Sk") or before == "\ufe0f"
    return (
        arabic
        or unicodedata.combining(before) == VIRAMA
        or (emoji and unicodedata.category(after) == "So")
    )
