"""What a query means, over documents in memory: the stores without a language of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from voicelab.store.base import Document, Query, Term

__all__ = ["conditions", "sort_key"]


def sort_key(order: str) -> Callable[[Document], tuple[bool, Any, str]]:
    """Nulls come before everything, ties are broken by id; texts fold their case."""

    def key(row: Document) -> tuple[bool, Any, str]:
        value = row.get(order)
        if value is None:
            return (False, 0, row["id"])
        return (True, str(value).casefold() if order == "text" else value, row["id"])

    return key


def conditions(query: Query) -> Iterator[Callable[[Document], bool]]:
    """What is asked for, the cheapest first; nothing that is not asked for."""
    for key, value in query.where.items():
        yield lambda row, key=key, value=value: row.get(key) == value
    for key, value in query.has.items():
        yield lambda row, key=key, value=value: value in (row.get(key) or ())
    for key, ends in query.ranges.items():
        yield lambda row, key=key, ends=ends: _within(row.get(key), *ends)
    for term in query.terms:
        yield lambda row, term=term: _contains(row, term)


def _within(value: Any, least: Any, greatest: Any) -> bool:
    if value is None:
        return False
    return (least is None or value >= least) and (greatest is None or value <= greatest)


def _contains(row: Document, term: Term) -> bool:
    for name in term.fields:
        value = row.get(name) or ""
        texts = value if isinstance(value, list) else [value]
        if any(term.text in str(text).casefold() for text in texts):
            return True
    return any(row.get(key) in values for key, values in term.also.items())
