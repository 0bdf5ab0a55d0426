"""What a query asks of one document, for the stores without a language of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from voicelab.store.base import Document, Query, Term

__all__ = ["conditions", "has_also"]


def conditions(query: Query) -> Iterator[Callable[[Document], bool]]:
    """What is asked for beside words, the cheapest first; nothing that is not asked for."""
    for key, value in query.where.items():
        yield lambda row, key=key, value=value: row.get(key) == value
    for key, value in query.has.items():
        yield lambda row, key=key, value=value: value in (row.get(key) or ())
    for key, ends in query.ranges.items():
        yield lambda row, key=key, ends=ends: _within(row.get(key), *ends)


def has_also(row: Document, term: Term) -> bool:
    """Whether one of the other ways to match a term holds."""
    return any(row.get(key) in values for key, values in term.also.items())


def _within(value: Any, least: Any, greatest: Any) -> bool:
    if value is None:
        return False
    return (least is None or value >= least) and (greatest is None or value <= greatest)
