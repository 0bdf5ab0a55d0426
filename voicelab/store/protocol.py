"""The protocol of a record store: small enough for a JSON file and for a database server.

Documents are JSON objects with a text "id" that the caller makes. Conditions are equality on
top-level fields, ranges, and folded substrings: nothing of any one database crosses it.
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
"""What documents are told apart by: a field of texts, or so many first characters of one."""


@dataclass(frozen=True)
class Term:
    """One word of a search: in one of `fields`, or `also` holds.

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
    """Which documents; everything given must hold.

    Attributes:
        where: field -> the value it must equal; None is a null, or no such field.
        has: field -> a value that must stand in the list under it.
        ranges: field -> (least, greatest), each None for open; null values never match.
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
        StoreFull: from every change: there is no room; nothing was changed.
        StorageError: from every change: the folder cannot be written; nothing was changed.

    Attributes:
        shared: whether other processes change the same documents.
    """

    shared: bool

    def get(self, table: str, id: str) -> Document | None:
        """A copy of one document, None when there is none."""
        ...

    def get_many(self, table: str, ids: Sequence[str]) -> list[Document]:
        """Copies of those that exist, in the order asked for."""
        ...

    def insert(self, table: str, document: Document) -> None:
        """Add one; raises Conflict when its id is taken, InvalidInput when it is not JSON."""
        ...

    def patch(
        self,
        table: str,
        id: str,
        fields: Mapping[str, Any],
        expected: Mapping[str, Any] | None = None,
    ) -> Document:
        """Set fields of one; raises NotFound or Conflict as `patchable` does."""
        ...

    def delete(self, table: str, id: str) -> bool:
        """Remove one; False when there was none."""
        ...

    def delete_many(self, table: str, ids: Collection[str]) -> int:
        """Remove those that exist, at about the cost of one; how many there were."""
        ...

    def page(
        self, table: str, query: Query, *, limit: int | None = None, offset: int = 0
    ) -> tuple[list[Document], int]:
        """A page of matching documents, and how many match in all."""
        ...

    def values(
        self, table: str, fields: Sequence[str], query: Query | None = None
    ) -> list[tuple[Any, ...]]:
        """These top-level fields of all that match, None where one lacks a field; in no order.

        What it gives must not be changed: it may be the store's own.
        """
        ...

    def count(self, table: str, query: Query | None = None) -> int:
        """How many match."""
        ...

    def tally(
        self,
        table: str,
        by: Sequence[Part] = (),
        sums: Sequence[str] = (),
        query: Query | None = None,
    ) -> list[tuple[Any, ...]]:
        """Of each group of what matches: what it has of `by`, how many it is, and its sums.

        Groups are in no order; what is no number adds nothing to a sum.
        """
        ...

    def tables(self) -> list[str]:
        """The names of all tables with documents; one that was emptied may be among them."""
        ...

    def batch(self, frees: bool = False) -> AbstractContextManager[None]:
        """Changes inside are one commit: all of them, or none; nobody else changes meanwhile.

        A batch within a batch that fails is undone alone.

        Args:
            frees: it makes room on the disk, so it is written when that is full. What only
                deletes is so by itself.
        """
        ...

    def check(self) -> None:
        """Raise StorageError (StoreLost) when no change can be made any more; quick.

        A database that is away is told by the change itself.
        """
        ...

    def shortage(self) -> str | None:
        """Why only deletions are sure to be written, in a sentence: the disk is full; else None."""
        ...

    def close(self) -> None:
        """Write what is due and release the folder."""
        ...


def patchable(
    table: str,
    id: str,
    before: Document | None,
    fields: Mapping[str, Any],
    expected: Mapping[str, Any] | None,
) -> Document:
    """The document `before` that a patch would change.

    Raises:
        NotFound: there is none.
        Conflict: it is not as `expected`, or `fields` would give it another id.
    """
    if before is None:
        raise NotFound(f"There is no {id[:40]} in {table}.")
    if any(before.get(key) != value for key, value in (expected or {}).items()):
        raise Conflict(f"{id[:40]} in {table} has changed meanwhile.")
    if fields.get("id", id) != id:
        raise Conflict(f"The id {id[:40]} in {table} cannot be changed.")
    return before
