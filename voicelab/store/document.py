"""Encoding of documents as JSON: by orjson, or by `json` where orjson would change values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from voicelab.errors import InvalidInput

__all__ = ["copied", "encoded", "has_large_integers", "loads"]

SCALARS = frozenset({str, int, bool, type(None)})
LARGE_INTEGER = re.compile(rb"[:,\[\s]-?[0-9]{19}")


def encoded(value: Any) -> tuple[bytes, Any, bool]:
    """JSON of a document, a copy equal to that JSON, and whether orjson reads it exactly.

    Raises:
        InvalidInput: it has values that JSON has not: NaN, infinity, an object, a cycle.
    """
    try:
        # orjson writes NaN as null and accepts types beyond JSON, so each value is checked.
        return orjson.dumps(value), _checked_copy(value), True
    except (TypeError, ValueError):
        return _encode_exactly(value)


def copied(document: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of a stored document; much faster than copy.deepcopy."""
    copy = document.copy()
    for key, value in document.items():
        kind = type(value)
        if kind is dict:
            copy[key] = copied(value)
        elif kind is list:
            copy[key] = _copied_list(value)
    return copy


def loads(content: bytes, quick: bool = True) -> Any:
    """Decode JSON.

    Args:
        content: UTF-8.
        quick: whether orjson may decode it; see `encoded`. It would decode integers over 64 bits
            as floats.

    Raises:
        ValueError: it is not JSON.
    """
    if not quick:
        return _loads_exactly(content)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return _loads_exactly(content)


def has_large_integers(content: bytes) -> bool:
    """Whether JSON may have integers over 64 bits; may be True without any."""
    return LARGE_INTEGER.search(content) is not None


def _copied_list(values: list[Any]) -> list[Any]:
    return [
        copied(value)
        if type(value) is dict
        else _copied_list(value)
        if type(value) is list
        else value
        for value in values
    ]


def _checked_copy(value: Any) -> Any:
    """A deep copy; raises ValueError for values that orjson may change."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is dict:
        copy = value.copy()
        for key, item in value.items():
            if type(item) not in SCALARS:
                copy[key] = _checked_copy(item)
        return copy
    if kind is list:
        return [item if type(item) in SCALARS else _checked_copy(item) for item in value]
    if kind is float and math.isfinite(value):
        return value
    raise ValueError(kind)


def _loads_exactly(content: bytes) -> Any:
    try:
        return json.loads(content, parse_constant=_reject_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _encode_exactly(value: Any) -> tuple[bytes, Any, bool]:
    try:
        content = json.dumps(_as_dict(value), allow_nan=False, separators=(",", ":")).encode()
        copy = json.loads(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"This cannot be kept as JSON: {str(error)[:100]}.") from error
    return content, copy, not has_large_integers(content) and _is_orjson_readable(content)


def _as_dict(value: Any) -> Any:
    """Convert a top-level Mapping to a dict, as TinyDB does."""
    return dict(value) if isinstance(value, Mapping) and not isinstance(value, dict) else value


def _is_orjson_readable(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True
