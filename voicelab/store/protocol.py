"""The protocol of a record store, which a JSON file and a database server both implement.

Documents are JSON objects with a string "id" that the caller chooses. Conditions are equality on
top-level fields, ranges, and casefolded substrings; nothing is specific to one database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from voicelab.errors import Conflict, NotFound

__all__ = ["Document", "Part", "Query", "Store", "Term", "patchable"]

Document = dict[str, Any]
Part = str | tuple[str, int]
"""Grouping key of `Store.tally`: a field of texts, or (field, number of first characters)."""


@dataclass(frozen=True)
class Term:
    """One word of a search; it must occur in one of `fields`, or `also` must hold.

    Attributes:
        text: casefolded; any substring, no wildcards.
        fields: top-level fields that are searched (texts, or lists of texts).
        also: field -> values; a document with one of them matches as well.
    """

    text: str
    fields: tuple[str, ...]
    also: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """Conditions, all of which must hold, and the order of the result.

    Attributes:
        where: field -> the value it must equal; None matches null and a missing field.
        has: field -> a value that its list must contain.
        ranges: field -> (minimum, maximum), inclusive, None for no bound; null never matches.
        terms: words that must all be found.
        order: field to sort by: nulls, then numbers, then texts by code point ("text": casefolded);
            ties are broken by id.
        descending: largest first.
    """

    where: Mapping[str, Any] = field(default_factory=dict)
    has: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    terms: Sequence[Term] = ()
    order: str = "created_at"
    descending: bool = True


class Store(Protocol):
    """A set of named tables of documents. Safe to call from any thread.

    Raises:
        StoreFull: from every change: the disk is full; nothing was changed.
        StorageError: from every change: the data cannot be written; nothing was changed.

    Attributes:
        shared: whether other processes change the same documents.
    """

    shared: bool

    def get(self, table: str, id: str) -> Document | None:
        """A copy of a document; None when it does not exist."""
        ...

    def get_many(self, table: str, ids: Sequence[str]) -> list[Document]:
        """Copies of the documents that exist, in the order of `ids`."""
        ...

    def insert(self, table: str, document: Document) -> None:
        """Add a document; raises Conflict when its id exists, InvalidInput when it is not JSON."""
        ...

    def patch(
        self,
        table: str,
        id: str,
        fields: Mapping[str, Any],
        expected: Mapping[str, Any] | None = None,
    ) -> Document:
        """Set fields of a document, and return it; raises as `patchable` does."""
        ...

    def delete(self, table: str, id: str) -> bool:
        """Remove a document; False when it did not exist."""
        ...

    def delete_many(self, table: str, ids: Collection[str]) -> int:
        """Remove documents in one commit; returns how many existed."""
        ...

    def page(
        self, table: str, query: Query, *, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Document], int]:
        """A page of the matching documents, and the number of all that match."""
        ...

    def values(
        self, table: str, fields: Sequence[str], query: Query | None = None
    ) -> list[tuple[Any, ...]]:
        """Top-level fields of all that match, None for a missing field; in no defined order.

        The values must not be changed: they may be the store's own objects.
        """
        ...

    def count(self, table: str, query: Query | None = None) -> int:
        """The number of documents that match."""
        ...

    def tally(
        self,
        table: str,
        by: Sequence[Part] = (),
        sums: Sequence[str] = (),
        query: Query | None = None,
    ) -> list[tuple[Any, ...]]:
        """Group the matching documents: (*values of `by`, count, *sums) of each group.

        Groups are in no defined order; values that are not numbers count as 0 in a sum.
        """
        ...

    def tables(self) -> list[str]:
        """Names of all tables with documents; emptied tables may be included."""
        ...

    def batch(self, frees: bool = False) -> AbstractContextManager[None]:
        """Make the changes inside the block one atomic commit, isolated from other writers.

        When a nested batch fails, only its own changes are undone.

        Args:
            frees: the batch frees disk space, so that it may use the reserved space of a full
                disk. Batches that only delete need not say so.
        """
        ...

    def check(self) -> None:
        """Raise StorageError (StoreLost) when no change can be made any more; takes microseconds.

        An unreachable database is only reported by the methods that use it.
        """
        ...

    def shortage(self) -> str | None:
        """A message when the disk is full and only deletions are certain to succeed; else None."""
        ...

    def close(self) -> None:
        """Write pending data and release the folder."""
        ...


def patchable(
    table: str,
    id: str,
    before: Document | None,
    fields: Mapping[str, Any],
    expected: Mapping[str, Any] | None,
) -> Document:
    """Check that a patch can be applied to the document `before`, and return that.

    Raises:
        NotFound: `before` is None.
        Conflict: it differs from `expected`, or `fields` would change its id.
    """
    if before is None:
        raise NotFound(f"There is no {id[:40]} in {table}.")
    if any(before.get(key) != value for key, value in (expected or {}).items()):
        raise Conflict(f"{id[:40]} in {table} has changed meanwhile.")
    if fields.get("id", id) != id:
        raise Conflict(f"The id {id[:40]} in {table} cannot be changed.")
    return before
