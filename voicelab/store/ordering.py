"""Sorted documents in blocks of a few hundred, with caches of their text and columns."""

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
"""Group -> [count, *sums]."""

BLOCK = 256
SEPARATOR = "\x1e"
"""Separates the texts of documents; a block with it in a text is searched without the cache."""


def sort_key(order: str) -> Callable[[Document], Key]:
    """Key function by a field: nulls first, then numbers, then texts; ties are broken by id."""

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
    """The texts of some fields, casefolded and joined by line ends."""
    texts: list[str] = []
    for name in fields:
        value = row.get(name)
        if isinstance(value, list):
            texts += map(str, value)
        elif value:
            texts.append(str(value))
    return "\n".join(texts).casefold()


def tallied(rows: Iterable[Document], by: Sequence[Part], sums: Sequence[str]) -> Tally:
    """Count and sum documents by group; see `Store.tally`."""
    found: Tally = {}
    for row in rows:
        group = tuple([_part(row, part) for part in by])
        numbers = found.setdefault(group, [0] * (1 + len(sums)))
        numbers[0] += 1
        for position, name in enumerate(sums, 1):
            value = row.get(name)
            numbers[position] += value if isinstance(value, int | float) else 0
    return found


def merged(tallies: Iterable[Tally]) -> list[tuple[Any, ...]]:
    """Add up tallies; returns rows as `Store.tally` does."""
    total: Tally = {}
    for tally in tallies:
        for group, numbers in tally.items():
            total[group] = list(map(add, total[group], numbers)) if group in total else numbers
    return [(*group, *numbers) for group, numbers in total.items()]


def _part(row: Document, part: Part) -> Any:
    if isinstance(part, str):
        return row.get(part)
    value = row.get(part[0])
    return value and value[: part[1]]


class Block:
    """Some sorted documents; never changed after a snapshot has given it to a reader.

    Args:
        keys: sort keys, ascending.
        rows: their documents.
        revision: see `Ordering.snapshot`.
    """

    __slots__ = ("_columns", "_tallies", "_texts", "keys", "keys_revision", "revision", "rows")

    def __init__(self, keys: list[Key], rows: list[Document], revision: int):
        self.keys = keys
        self.rows = rows
        self.revision = self.keys_revision = revision
        self._texts: dict[tuple[str, ...], str] | None = None
        self._columns: dict[str, list[Any]] | None = None
        self._tallies: dict[Any, Tally] | None = None

    def column(self, field: str) -> list[Any]:
        """The field's value in each document, None where missing; only for a snapshot's blocks.

        Cached, because reading 100,000 documents is bound by memory latency.
        """
        columns = self._columns
        if columns is None:
            columns = self._columns = {}
        found = columns.get(field)
        if found is None:
            found = columns[field] = [row.get(field) for row in self.rows]
        return found

    def tally(self, by: tuple[Part, ...], sums: tuple[str, ...]) -> Tally:
        """Tally of all documents, cached and not to be changed; as for `column`."""
        tallies = self._tallies
        if tallies is None:
            tallies = self._tallies = {}
        found = tallies.get((by, sums))
        if found is None:
            found = tallies[by, sums] = tallied(self.rows, by, sums)
        return found

    def matching(self, term: Term) -> list[bool] | None:
        """Whether each document has the term in its fields; None when none has. As for `column`."""
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
    """Whether a document has the term in its fields, or one of its `also` values."""
    return _has_term(row, term) or any(row.get(key) in also for key, also in term.also.items())


def _has_term(row: Document, term: Term) -> bool:
    """Whether a text of the term's fields contains it."""
    for name in term.fields:
        value = row.get(name) or ""
        texts = value if isinstance(value, list) else [value]
        if any(term.text in str(text).casefold() for text in texts):
            return True
    return False


class Ordering:
    """Documents sorted by a key; changed under the store's lock, snapshots are read without.

    Args:
        pairs: (key, document), sorted.
    """

    __slots__ = ("_last_keys", "_revision", "blocks", "count")

    def __init__(self, pairs: list[tuple[Key, Document]]):
        parts = [pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK)]
        self._revision = 0
        self.blocks = [Block(*map(list, zip(*part, strict=True)), 0) for part in parts]  # type: ignore[misc]
        self._last_keys = [block.keys[-1] for block in self.blocks]
        self.count = len(pairs)

    @classmethod
    def of(cls, rows: Iterable[Document], order: str) -> Ordering:
        """The documents sorted by a field."""
        key = sort_key(order)
        return cls(sorted([(key(row), row) for row in rows], key=itemgetter(0)))

    def snapshot(self) -> list[Block]:
        """The blocks as they are now: later changes are made in copies (copy on write)."""
        self._revision += 1
        return self.blocks.copy()

    def pairs(self) -> Iterator[tuple[Key, Document]]:
        """(key, document) of all documents, in order."""
        for block in self.blocks:
            yield from zip(block.keys, block.rows, strict=True)

    def add(self, key: Key, row: Document) -> None:
        """Insert a document whose key is new."""
        self.count += 1
        last_keys = self._last_keys
        if not last_keys:
            self.blocks.append(Block([key], [row], self._revision))
            last_keys.append(key)
            return
        if key > last_keys[-1]:  # most new documents are the newest
            block_index = len(last_keys) - 1
            block = self._writable_block(block_index, with_keys=True)
            block.keys.append(key)
            block.rows.append(row)
            last_keys[block_index] = key
        else:
            block_index = bisect_left(last_keys, key)
            block = self._writable_block(block_index, with_keys=True)
            position = bisect_left(block.keys, key)
            block.keys.insert(position, key)
            block.rows.insert(position, row)
        if len(block.keys) >= 2 * BLOCK:
            self._split(block_index, block)

    def remove(self, key: Key) -> None:
        """Remove the document of a key, which must exist."""
        self.count -= 1
        block_index = bisect_left(self._last_keys, key)
        block = self._writable_block(block_index, with_keys=True)
        position = bisect_left(block.keys, key)
        del block.keys[position], block.rows[position]
        if block.keys:
            self._last_keys[block_index] = block.keys[-1]
        else:
            del self.blocks[block_index], self._last_keys[block_index]

    def replace(self, key: Key, row: Document) -> None:
        """Replace the document of a key, which must exist."""
        block = self._writable_block(bisect_left(self._last_keys, key))
        block.rows[bisect_left(block.keys, key)] = row

    def _writable_block(self, block_index: int, with_keys: bool = False) -> Block:
        """A block that no reader has; its keys too if `with_keys`. Copied when needed."""
        block, revision = self.blocks[block_index], self._revision
        if block.revision != revision:
            keys_revision, block = (
                block.keys_revision,
                Block(block.keys, block.rows.copy(), revision),
            )
            block.keys_revision = keys_revision
            self.blocks[block_index] = block
        if with_keys and block.keys_revision != revision:
            block.keys, block.keys_revision = block.keys.copy(), revision
        return block

    def _split(self, block_index: int, block: Block) -> None:
        rest = Block(block.keys[BLOCK:], block.rows[BLOCK:], self._revision)
        del block.keys[BLOCK:], block.rows[BLOCK:]
        self.blocks.insert(block_index + 1, rest)
        self._last_keys[block_index : block_index + 1] = block.keys[-1], rest.keys[-1]
