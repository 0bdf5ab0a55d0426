"""Documents in order, in blocks of some hundred, each with the folded text of its documents."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

from voicelab.store.base import Document, Term

__all__ = ["Block", "Key", "Ordering", "folded", "sort_key"]

Key = tuple[int, Any, str]
BLOCK = 256
SEPARATOR = "\x1e"
"""Stands between two texts; a block that has it in a text is searched without its cache."""


def sort_key(order: str) -> Callable[[Document], Key]:
    """Of a document: nulls first, then numbers, then texts; ties are broken by id."""

    def key(row: Document) -> Key:
        value = row.get(order)
        if isinstance(value, str):
            return (2, value.casefold() if order == "text" else value, row["id"])
        if value is None:
            return (0, 0, row["id"])
        if isinstance(value, int | float):
            return (1, value, row["id"])
        return (3, str(value), row["id"])

    return key


def folded(row: Document, fields: tuple[str, ...]) -> str:
    """The texts under some fields, casefolded, a separator between them."""
    texts: list[str] = []
    for name in fields:
        value = row.get(name)
        if isinstance(value, list):
            texts += map(str, value)
        elif value:
            texts.append(str(value))
    return "\n".join(texts).casefold()


class Block:
    """Some documents in order; never changed, so a reader may go on with what it has.

    Args:
        keys: sort keys, ascending.
        rows: their documents.
    """

    __slots__ = ("_texts", "keys", "rows")

    def __init__(self, keys: list[Key], rows: list[Document]):
        self.keys = keys
        self.rows = rows
        self._texts: dict[tuple[str, ...], str] | None = None

    def matching(self, term: Term) -> list[bool] | None:
        """Which documents have a term in its fields; None when none has."""
        joined = self._joined(term.fields)
        if term.text not in joined:
            return None
        parts = joined.split(SEPARATOR)
        if len(parts) != len(self.rows) or SEPARATOR in term.text or "\n" in term.text:
            return [has_term(row, term) for row in self.rows]
        text = term.text
        return [text in part for part in parts]

    def _joined(self, fields: tuple[str, ...]) -> str:
        texts = self._texts
        if texts is None:
            texts = self._texts = {}
        joined = texts.get(fields)
        if joined is None:
            joined = texts[fields] = SEPARATOR.join([folded(row, fields) for row in self.rows])
        return joined


def has_term(row: Document, term: Term) -> bool:
    """Whether one text under the term's fields has it."""
    for name in term.fields:
        value = row.get(name) or ""
        texts = value if isinstance(value, list) else [value]
        if any(term.text in str(text).casefold() for text in texts):
            return True
    return False


class Ordering:
    """Documents sorted by a key; changed under the store's lock, read without.

    Args:
        pairs: (key, document), in order already.
    """

    __slots__ = ("_lasts", "blocks", "count")

    def __init__(self, pairs: list[tuple[Key, Document]]):
        parts = [pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK)]
        self.blocks = [Block(*map(list, zip(*part, strict=True))) for part in parts]
        self._lasts = [block.keys[-1] for block in self.blocks]
        self.count = len(pairs)

    @classmethod
    def of(cls, rows: Iterable[Document], order: str) -> Ordering:
        """Sorted by a field."""
        key = sort_key(order)
        return cls(sorted([(key(row), row) for row in rows], key=itemgetter(0)))

    def pairs(self) -> Iterator[tuple[Key, Document]]:
        """(key, document) of all, in order."""
        for block in self.blocks:
            yield from zip(block.keys, block.rows, strict=True)

    def add(self, key: Key, row: Document) -> None:
        """A document that is not there yet."""
        self.count += 1
        if not self.blocks:
            self._put(0, 0, [Block([key], [row])])
            return
        at = min(bisect_left(self._lasts, key), len(self.blocks) - 1)
        block = self.blocks[at]
        place = bisect_left(block.keys, key)
        keys, rows = block.keys.copy(), block.rows.copy()
        keys.insert(place, key)
        rows.insert(place, row)
        if len(keys) < 2 * BLOCK:
            self._put(at, 1, [Block(keys, rows)])
        else:
            halves = Block(keys[:BLOCK], rows[:BLOCK]), Block(keys[BLOCK:], rows[BLOCK:])
            self._put(at, 1, list(halves))

    def remove(self, key: Key) -> None:
        """A document that is there."""
        self.count -= 1
        at, place = self._find(key)
        block = self.blocks[at]
        keys, rows = block.keys.copy(), block.rows.copy()
        del keys[place], rows[place]
        self._put(at, 1, [Block(keys, rows)] if keys else [])

    def replace(self, key: Key, row: Document) -> None:
        """Another document under the same key."""
        at, place = self._find(key)
        block = self.blocks[at]
        rows = block.rows.copy()
        rows[place] = row
        self._put(at, 1, [Block(block.keys, rows)])

    def _find(self, key: Key) -> tuple[int, int]:
        at = bisect_left(self._lasts, key)
        return at, bisect_left(self.blocks[at].keys, key)

    def _put(self, at: int, instead_of: int, blocks: list[Block]) -> None:
        # A new list each time would be safer still, but a reader copies it under the lock.
        self.blocks[at : at + instead_of] = blocks
        self._lasts[at : at + instead_of] = [block.keys[-1] for block in blocks]
