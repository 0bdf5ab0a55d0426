"""Evaluation of queries on the ordered blocks of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress
from operator import and_, or_
from typing import Any

from voicelab.store.collector import paused_collector
from voicelab.store.index import ORDER, Index, smallest
from voicelab.store.ordering import Block, Ordering, Tally, matches, merged, sort_key, tallied
from voicelab.store.protocol import Document, Part, Query, Term

__all__ = ["QueryPlan", "plan"]

SMALL_COUNT = 1_000
"""Up to this many documents are checked one by one; above, by the columns of blocks."""


class QueryPlan:
    """How a query is evaluated: candidate documents, and the conditions left to check.

    Created and used under the store's lock; after `snapshot` used without it.

    Args:
        ordering: has all documents that match.
        query: without the conditions that every document of `ordering` meets.
        is_sorted: whether `ordering` has the query's order.
    """

    def __init__(self, ordering: Ordering, query: Query, is_sorted: bool):
        self._ordering, self._query, self._is_sorted = ordering, query, is_sorted
        self._blocks: Sequence[Block] = ordering.blocks
        self._count = ordering.count
        self._is_checked = not (query.where or query.has or query.ranges or query.terms)

    def snapshot(self) -> QueryPlan:
        """Isolate it from later changes of the store; returns itself."""
        self._blocks = self._ordering.snapshot()
        return self

    def first_rows(self, limit: int | None, offset: int) -> tuple[list[Document], int] | None:
        """A page and the total when no document needs a check; else None."""
        if not (self._is_checked and self._is_sorted) or limit is None:
            return None
        return self._slice(offset, offset + limit), self._count

    def page(self, limit: int | None, offset: int) -> tuple[list[Document], int]:
        """The documents of a page, in order and not copied, and the number of all that match."""
        end = None if limit is None else offset + limit
        if end is not None and self._is_sorted and self._count > SMALL_COUNT:
            return self._page_of_many(offset, end)
        rows = self.rows()
        if not self._is_sorted:
            rows.sort(key=sort_key(self._query.order))
        if self._query.descending:
            rows.reverse()
        return rows[offset:end], len(rows)

    def rows(self) -> list[Document]:
        """All documents that match, in ascending order when the blocks are sorted."""
        if self._count > SMALL_COUNT:
            return list(chain.from_iterable(map(self._matching, self._blocks)))
        rows = list(chain.from_iterable(block.rows for block in self._blocks))
        for field, test in _tests(self._query):
            rows = list(compress(rows, test([row.get(field) for row in rows])))
        for term in self._query.terms:
            rows = [row for row in rows if matches(row, term)]
        return rows

    def values(self, fields: Sequence[str]) -> list[tuple[Any, ...]]:
        """Fields of all documents that match, None for a missing field."""
        if self._is_checked and self._count > SMALL_COUNT:
            columns = ([block.column(field) for field in fields] for block in self._blocks)
            with paused_collector():
                return list(chain.from_iterable(zip(*parts, strict=True) for parts in columns))
        return [tuple(map(row.get, fields)) for row in self.rows()]

    def first_count(self) -> int | None:
        """The number of matches when no document needs a check; else None."""
        return self._count if self._is_checked else None

    def count(self) -> int:
        """The number of documents that match."""
        if self._count <= SMALL_COUNT:
            return len(self.rows())
        masks = map(self._mask, self._blocks)
        return sum(mask.count(True) for mask in masks if mask is not None)

    def tally(self, by: tuple[Part, ...], sums: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """See `Store.tally`; unchanged blocks have their result cached."""
        return merged(self._tallied(block, by, sums) for block in self._blocks)

    def _tallied(self, block: Block, by: tuple[Part, ...], sums: tuple[str, ...]) -> Tally:
        mask = self._mask(block)
        if mask is not None and all(mask):
            return block.tally(by, sums)
        return tallied(compress(block.rows, mask or ()), by, sums)

    def _page_of_many(self, offset: int, end: int) -> tuple[list[Document], int]:
        """A page of a sorted plan; blocks outside the page are only counted."""
        rows: list[Document] = []
        skipped = total = 0
        for block in reversed(self._blocks) if self._query.descending else self._blocks:
            mask = self._mask(block)
            count = 0 if mask is None else mask.count(True)
            if count and mask is not None and total < end and total + count > offset:
                found = list(compress(block.rows, mask))
                rows += found[::-1] if self._query.descending else found
            elif total + count <= offset:
                skipped += count
            total += count
        return rows[offset - skipped : end - skipped], total

    def _slice(self, offset: int, end: int) -> list[Document]:
        """A page of all documents, read from the blocks that it overlaps."""
        rows: list[Document] = []
        skipped = 0
        for block in reversed(self._blocks) if self._query.descending else self._blocks:
            if skipped >= end:
                break
            if skipped + len(block.rows) > offset:
                part = block.rows[::-1] if self._query.descending else block.rows
                rows += part[max(0, offset - skipped) : end - skipped]
            skipped += len(block.rows)
        return rows

    def _matching(self, block: Block) -> Iterable[Document]:
        return block.rows if self._is_checked else compress(block.rows, self._mask(block) or ())

    def _mask(self, block: Block) -> list[bool] | None:
        """Whether each document of a block matches; None when none does."""
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


def plan(index: Index, query: Query, sort: bool = True) -> QueryPlan:
    """Choose the ordering for a query; called under the store's lock.

    Args:
        index: of the table.
        query: the conditions and the order.
        sort: False when the order does not matter.
    """
    groups = {key: index.group(key, value) for key, value in query.where.items()}
    group = smallest(groups.values())
    in_order = not sort or query.order == ORDER
    # A search of many documents uses the full ordering, whose blocks cache folded text.
    if group is not None and (group.count <= SMALL_COUNT or (in_order and not query.terms)):
        satisfied = next(key for key, found in groups.items() if found is group)
        rest = {key: value for key, value in query.where.items() if key != satisfied}
        reduced = _with_where(query, rest)
        return QueryPlan(group, reduced, in_order)
    return QueryPlan(index.order(query.order if sort else ORDER), query, True)


def _with_where(query: Query, where: dict[str, Any]) -> Query:
    return Query(where, query.has, query.ranges, query.terms, query.order, query.descending)


def _term_mask(block: Block, term: Term) -> list[bool] | None:
    mask = block.matching(term)
    for field, values in term.also.items():
        also = [value in values for value in block.column(field)]
        mask = also if mask is None else list(map(or_, mask, also))
    return mask if mask is not None and True in mask else None


def _tests(query: Query) -> Iterator[tuple[str, Callable[[list[Any]], list[bool]]]]:
    """The conditions except words: a field, and a function from its values to matches."""
    for field, expected in query.where.items():
        yield field, lambda values, expected=expected: [value == expected for value in values]
    for field, expected in query.has.items():
        yield (
            field,
            lambda values, expected=expected: [expected in (value or ()) for value in values],
        )
    for field, (least, greatest) in query.ranges.items():
        yield field, partial(_within, least, greatest)


def _within(least: Any, greatest: Any, values: list[Any]) -> list[bool]:
    if greatest is None:
        return [value is not None and (least is None or value >= least) for value in values]
    if least is None:
        return [value is not None and value <= greatest for value in values]
    return [value is not None and least <= value <= greatest for value in values]
