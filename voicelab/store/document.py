"""Documents as JSON and back: quick for nearly all, exact for those orjson would change."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from voicelab.errors import InvalidInput

__all__ = ["copied", "encoded", "has_large_integers", "loads"]

PLAIN = frozenset({str, int, bool, type(None)})
LARGE = re.compile(rb"[:,\[\s]-?[0-9]{19}")


def encoded(value: Any) -> tuple[bytes, Any, bool]:
    """JSON of a document, the copy of it that the JSON stands for, and whether orjson reads it.

    Raises:
        InvalidInput: it holds what JSON cannot: a number that is not finite, an object, a loop.
    """
    try:
        # orjson writes NaN as null and takes more than JSON has, so each value is looked at.
        return orjson.dumps(value), _taken(value), True
    except (TypeError, ValueError):
        return _exactly(value)


def copied(document: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of what the store holds, many times as fast as copy.deepcopy."""
    copy = document.copy()
    for key, value in document.items():
        kind = type(value)
        if kind is dict:
            copy[key] = copied(value)
        elif kind is list:
            copy[key] = _copied_list(value)
    return copy


def loads(content: bytes, quick: bool = True) -> Any:
    """JSON read back.

    Args:
        content: UTF-8.
        quick: False for what `encoded` called not readable by orjson, which would make a float
            of an integer over 64 bits.

    Raises:
        ValueError: it is not JSON.
    """
    if not quick:
        return _read(content)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return _read(content)


def has_large_integers(content: bytes) -> bool:
    """Whether JSON from elsewhere may hold integers over 64 bits; sometimes wrongly True."""
    return LARGE.search(content) is not None


def _copied_list(values: list[Any]) -> list[Any]:
    return [
        copied(value)
        if type(value) is dict
        else _copied_list(value)
        if type(value) is list
        else value
        for value in values
    ]


def _taken(value: Any) -> Any:
    """A deep copy; raises ValueError at anything that needs a closer look."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is dict:
        copy = value.copy()
        for key, item in value.items():
            if type(item) not in PLAIN:
                copy[key] = _taken(item)
        return copy
    if kind is list:
        return [item if type(item) in PLAIN else _taken(item) for item in value]
    if kind is float and math.isfinite(value):
        return value
    raise ValueError(kind)


def _read(content: bytes) -> Any:
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _exactly(value: Any) -> tuple[bytes, Any, bool]:
    try:
        content = json.dumps(_plain(value), allow_nan=False, separators=(",", ":")).encode()
        copy = json.loads(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"This cannot be kept as JSON: {str(error)[:100]}.") from error
    return content, copy, not has_large_integers(content) and _quick(content)


def _plain(value: Any) -> Any:
    """Mappings at the top are taken as dicts, as TinyDB does."""
    return dict(value) if isinstance(value, Mapping) and not isinstance(value, dict) else value


def _quick(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True
