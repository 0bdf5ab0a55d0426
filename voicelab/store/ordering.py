"""Documents in order, in blocks of some hundred that know the text and columns of theirs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import add, itemgetter
from typing import Any

from voicelab.store.protocol import Document, Part, Term

__all__ = [
    "Block",
    "Key",
    "Ordering",
    "Tally",
    "folded",
    "matches",
    "merged",
    "sort_key",
    "tallied",
]

Key = tuple[int, Any, str]
Tally = dict[tuple[Any, ...], list[Any]]
"""Group -> how many, and the sums."""

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


def tallied(rows: Iterable[Document], by: Sequence[Part], sums: Sequence[str]) -> Tally:
    """See `Store.tally`."""
    found: Tally = {}
    for row in rows:
        group = tuple([_part(row, part) for part in by])
        numbers = found.setdefault(group, [0] * (1 + len(sums)))
        numbers[0] += 1
        for place, name in enumerate(sums, 1):
            value = row.get(name)
            numbers[place] += value if isinstance(value, int | float) else 0
    return found


def merged(tallies: Iterable[Tally]) -> list[tuple[Any, ...]]:
    """One tally of many, as `Store.tally` gives it."""
    whole: Tally = {}
    for tally in tallies:
        for group, numbers in tally.items():
            whole[group] = list(map(add, whole[group], numbers)) if group in whole else numbers
    return [(*group, *numbers) for group, numbers in whole.items()]


def _part(row: Document, part: Part) -> Any:
    if isinstance(part, str):
        return row.get(part)
    value = row.get(part[0])
    return value and value[: part[1]]


class Block:
    """Some documents in order; not changed any more once a reader has it.

    Args:
        keys: sort keys, ascending.
        rows: their documents.
        age: see `Ordering.snapshot`.
    """

    __slots__ = ("_columns", "_tallies", "_texts", "age", "keys", "keys_age", "rows")

    def __init__(self, keys: list[Key], rows: list[Document], age: int):
        self.keys = keys
        self.rows = rows
        self.age = self.keys_age = age
        self._texts: dict[tuple[str, ...], str] | None = None
        self._columns: dict[str, list[Any]] | None = None
        self._tallies: dict[Any, Tally] | None = None

    def column(self, field: str) -> list[Any]:
        """The value of each document, None where it has none; only for blocks of a snapshot.

        Kept, because walking over a hundred thousand documents is mostly waiting for memory.
        """
        columns = self._columns
        if columns is None:
            columns = self._columns = {}
        found = columns.get(field)
        if found is None:
            found = columns[field] = [row.get(field) for row in self.rows]
        return found

    def tally(self, by: tuple[Part, ...], sums: tuple[str, ...]) -> Tally:
        """Of all documents, not to be changed; kept, as for `column`."""
        tallies = self._tallies
        if tallies is None:
            tallies = self._tallies = {}
        found = tallies.get((by, sums))
        if found is None:
            found = tallies[by, sums] = tallied(self.rows, by, sums)
        return found

    def matching(self, term: Term) -> list[bool] | None:
        """Which documents have a term in its fields, None when none has; as for `column`."""
        joined = self._joined(term.fields)
        if term.text not in joined:
            return None
        parts = joined.split(SEPARATOR)
        if len(parts) != len(self.rows) or SEPARATOR in term.text or "\n" in term.text:
            return [_has_term(row, term) for row in self.rows]
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


def matches(row: Document, term: Term) -> bool:
    """Whether a document has a term, or matches it in one of the other ways."""
    return _has_term(row, term) or any(row.get(key) in also for key, also in term.also.items())


def _has_term(row: Document, term: Term) -> bool:
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

    __slots__ = ("_age", "_lasts", "blocks", "count")

    def __init__(self, pairs: list[tuple[Key, Document]]):
        parts = [pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK)]
        self._age = 0
        self.blocks = [Block(*map(list, zip(*part, strict=True)), 0) for part in parts]  # type: ignore[misc]
        self._lasts = [block.keys[-1] for block in self.blocks]
        self.count = len(pairs)

    @classmethod
    def of(cls, rows: Iterable[Document], order: str) -> Ordering:
        """Sorted by a field."""
        key = sort_key(order)
        return cls(sorted([(key(row), row) for row in rows], key=itemgetter(0)))

    def snapshot(self) -> list[Block]:
        """Blocks that stay as they are: a change of one from now on is made in a copy of it."""
        self._age += 1
        return self.blocks.copy()

    def pairs(self) -> Iterator[tuple[Key, Document]]:
        """(key, document) of all, in order."""
        for block in self.blocks:
            yield from zip(block.keys, block.rows, strict=True)

    def add(self, key: Key, row: Document) -> None:
        """A document that is not there yet."""
        self.count += 1
        lasts = self._lasts
        if not lasts:
            self.blocks.append(Block([key], [row], self._age))
            lasts.append(key)
            return
        if key > lasts[-1]:  # nearly all that is new is the newest, too
            at = len(lasts) - 1
            block = self._own(at, with_keys=True)
            block.keys.append(key)
            block.rows.append(row)
            lasts[at] = key
        else:
            at = bisect_left(lasts, key)
            block = self._own(at, with_keys=True)
            place = bisect_left(block.keys, key)
            block.keys.insert(place, key)
            block.rows.insert(place, row)
        if len(block.keys) >= 2 * BLOCK:
            self._split(at, block)

    def remove(self, key: Key) -> None:
        """A document that is there."""
        self.count -= 1
        at = bisect_left(self._lasts, key)
        block = self._own(at, with_keys=True)
        place = bisect_left(block.keys, key)
        del block.keys[place], block.rows[place]
        if block.keys:
            self._lasts[at] = block.keys[-1]
        else:
            del self.blocks[at], self._lasts[at]

    def replace(self, key: Key, row: Document) -> None:
        """Another document under the same key."""
        block = self._own(bisect_left(self._lasts, key))
        block.rows[bisect_left(block.keys, key)] = row

    def _own(self, at: int, with_keys: bool = False) -> Block:
        """A block that no reader has; its keys may still be one's, but for `with_keys`."""
        block, age = self.blocks[at], self._age
        if block.age != age:
            keys_age, block = block.keys_age, Block(block.keys, block.rows.copy(), age)
            block.keys_age = keys_age
            self.blocks[at] = block
        if with_keys and block.keys_age != age:
            block.keys, block.keys_age = block.keys.copy(), age
        return block

    def _split(self, at: int, block: Block) -> None:
        rest = Block(block.keys[BLOCK:], block.rows[BLOCK:], self._age)
        del block.keys[BLOCK:], block.rows[BLOCK:]
        self.blocks.insert(at + 1, rest)
        self._lasts[at : at + 1] = block.keys[-1], rest.keys[-1]
