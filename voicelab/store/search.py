"""The documents of a table that a query asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress
from operator import and_, or_
from typing import Any

from voicelab.store.collector import quiet_collector
from voicelab.store.index import ORDER, Index, smallest
from voicelab.store.ordering import Block, Ordering, Tally, matches, merged, sort_key, tallied
from voicelab.store.protocol import Document, Part, Query, Term

__all__ = ["Found", "plan"]

FEW = 1_000
"""Of so many documents each can be looked at; a search in more uses the blocks' folded text."""


class Found:
    """What a query looks through, and what remains to check.

    Made under the store's lock; without it only after `snapshot`.

    Args:
        ordering: that has all that match.
        query: with the conditions that the choice of ordering has met left out.
        is_sorted: whether it stands in the query's order.
    """

    def __init__(self, ordering: Ordering, query: Query, is_sorted: bool):
        self._ordering, self._query, self._is_sorted = ordering, query, is_sorted
        self._blocks: Sequence[Block] = ordering.blocks
        self._count = ordering.count
        self._is_checked = not (query.where or query.has or query.ranges or query.terms)

    def snapshot(self) -> Found:
        """Let no change touch it any more."""
        self._blocks = self._ordering.snapshot()
        return self

    def first_rows(self, limit: int | None, offset: int) -> tuple[list[Document], int] | None:
        """A page when it needs no more than a look at some blocks, else None."""
        if not (self._is_checked and self._is_sorted) or limit is None:
            return None
        return self._slice(offset, offset + limit), self._count

    def page(self, limit: int | None, offset: int) -> tuple[list[Document], int]:
        """The store's own documents of a page, in order, and how many match in all."""
        end = None if limit is None else offset + limit
        if end is not None and self._is_sorted and self._count > FEW:
            return self._page_of_many(offset, end)
        rows = self.rows()
        if not self._is_sorted:
            rows.sort(key=sort_key(self._query.order))
        if self._query.descending:
            rows.reverse()
        return rows[offset:end], len(rows)

    def rows(self) -> list[Document]:
        """All that match, ascending when the blocks are sorted."""
        if self._count > FEW:
            return list(chain.from_iterable(map(self._matching, self._blocks)))
        rows = list(chain.from_iterable(block.rows for block in self._blocks))
        for field, test in _tests(self._query):
            rows = list(compress(rows, test([row.get(field) for row in rows])))
        for term in self._query.terms:
            rows = [row for row in rows if matches(row, term)]
        return rows

    def values(self, fields: Sequence[str]) -> list[tuple[Any, ...]]:
        """Fields of all that match, None where one is missing."""
        if self._is_checked and self._count > FEW:
            columns = ([block.column(field) for field in fields] for block in self._blocks)
            with quiet_collector():
                return list(chain.from_iterable(zip(*parts, strict=True) for parts in columns))
        return [tuple(map(row.get, fields)) for row in self.rows()]

    def first_count(self) -> int | None:
        """How many match, when no document need be looked at."""
        return self._count if self._is_checked else None

    def count(self) -> int:
        """How many match."""
        if self._count <= FEW:
            return len(self.rows())
        masks = map(self._mask, self._blocks)
        return sum(mask.count(True) for mask in masks if mask is not None)

    def tally(self, by: tuple[Part, ...], sums: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """See `Store.tally`: only blocks that have changed are walked over."""
        return merged(self._tallied(block, by, sums) for block in self._blocks)

    def _tallied(self, block: Block, by: tuple[Part, ...], sums: tuple[str, ...]) -> Tally:
        mask = self._mask(block)
        if mask is not None and all(mask):
            return block.tally(by, sums)
        return tallied(compress(block.rows, mask or ()), by, sums)

    def _page_of_many(self, offset: int, end: int) -> tuple[list[Document], int]:
        """Most matches are only counted."""
        rows: list[Document] = []
        passed = total = 0
        for block in reversed(self._blocks) if self._query.descending else self._blocks:
            mask = self._mask(block)
            count = 0 if mask is None else mask.count(True)
            if count and mask is not None and total < end and total + count > offset:
                found = list(compress(block.rows, mask))
                rows += found[::-1] if self._query.descending else found
            elif total + count <= offset:
                passed += count
            total += count
        return rows[offset - passed : end - passed], total

    def _slice(self, offset: int, end: int) -> list[Document]:
        """Of all documents, touching only the blocks that the page lies in."""
        rows: list[Document] = []
        passed = 0
        for block in reversed(self._blocks) if self._query.descending else self._blocks:
            if passed >= end:
                break
            if passed + len(block.rows) > offset:
                part = block.rows[::-1] if self._query.descending else block.rows
                rows += part[max(0, offset - passed) : end - passed]
            passed += len(block.rows)
        return rows

    def _matching(self, block: Block) -> Iterable[Document]:
        return block.rows if self._is_checked else compress(block.rows, self._mask(block) or ())

    def _mask(self, block: Block) -> list[bool] | None:
        """Which documents match; None when surely none does."""
        chosen: list[bool] | None = None
        for term in self._query.terms:
            mask = _term_mask(block, term)
            if mask is None:
                return None
            chosen = mask if chosen is None else list(map(and_, chosen, mask))
        for field, test in _tests(self._query):
            mask = test(block.column(field))
            chosen = mask if chosen is None else list(map(and_, chosen, mask))
        return [True] * len(block.rows) if chosen is None else chosen


def plan(index: Index, query: Query, sort: bool = True) -> Found:
    """Choose the blocks to look through; under the store's lock.

    Args:
        index: of the table.
        query: what is asked.
        sort: False when any order will do.
    """
    groups = {key: index.group(key, value) for key, value in query.where.items()}
    group = smallest(groups.values())
    in_order = not sort or query.order == ORDER
    # A long search goes through all: only there each block keeps its folded text.
    if group is not None and (group.count <= FEW or (in_order and not query.terms)):
        met = next(key for key, found in groups.items() if found is group)
        rest = {key: value for key, value in query.where.items() if key != met}
        reduced = _without(query, rest)
        return Found(group, reduced, in_order)
    return Found(index.order(query.order if sort else ORDER), query, True)


def _without(query: Query, where: dict[str, Any]) -> Query:
    return Query(where, query.has, query.ranges, query.terms, query.order, query.descending)


def _term_mask(block: Block, term: Term) -> list[bool] | None:
    mask = block.matching(term)
    for field, values in term.also.items():
        also = [value in values for value in block.column(field)]
        mask = also if mask is None else list(map(or_, mask, also))
    return mask if mask is not None and True in mask else None


def _tests(query: Query) -> Iterator[tuple[str, Callable[[list[Any]], list[bool]]]]:
    """What is asked for beside words: a field, and what tells of its values which will do."""
    for field, wanted in query.where.items():
        yield field, lambda values, wanted=wanted: [value == wanted for value in values]
    for field, wanted in query.has.items():
        yield field, lambda values, wanted=wanted: [wanted in (value or ()) for value in values]
    for field, (least, greatest) in query.ranges.items():
        yield field, partial(_within, least, greatest)


def _within(least: Any, greatest: Any, values: list[Any]) -> list[bool]:
    if greatest is None:
        return [value is not None and (least is None or value >= least) for value in values]
    if least is None:
        return [value is not None and value <= greatest for value in values]
    return [value is not None and least <= value <= greatest for value in values]
