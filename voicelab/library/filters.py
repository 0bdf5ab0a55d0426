"""Filters and orders of lists of takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from voicelab.errors import InvalidInput
from voicelab.store import Query, Term

__all__ = ["SORTS", "Filters"]

SORTS = ("created_at", "duration", "text", "size_bytes", "real_time_factor")
SEARCHED = ("text", "tags", "instruct", "label")


@dataclass(frozen=True)
class Filters:
    """Conditions on takes; None and empty values do not filter.

    Attributes:
        search: words that must all occur, case-folded, in text, tags, instruct, label or the
            profile's name; plain substrings.
        sort: one of SORTS, ascending, or with "-" before it descending; newest first by default.
    """

    profile_id: str | None = None
    search: str | None = None
    status: str | None = None
    engine: str | None = None
    language: str | None = None
    favorite: bool | None = None
    source: str | None = None
    tag: str | None = None
    created_after: str | None = None
    created_before: str | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    sort: str = "-created_at"

    @property
    def any(self) -> bool:
        """Whether any condition is set."""
        return self != replace(Filters(), sort=self.sort)

    def query(self, profile_names: Callable[[], dict[str, str]]) -> Query:
        """The query for the store.

        Args:
            profile_names: returns profile id -> name; only called when `search` has words.

        Raises:
            InvalidInput: `sort` is not one of SORTS.
        """
        sort = self.sort.removeprefix("-")
        if sort not in SORTS:
            raise InvalidInput(
                f"'{sort[:40]}' cannot be sorted by; there are {', '.join(SORTS)}.", param="sort"
            )
        where = {
            "profile_id": self.profile_id,
            "status": self.status,
            "engine": self.engine,
            "language": self.language,
            "source": self.source,
            "is_favorited": self.favorite,
        }
        spans = {
            "created_at": (self.created_after, self.created_before),
            "duration": (self.min_duration_s, self.max_duration_s),
        }
        return Query(
            where={key: value for key, value in where.items() if value not in (None, "")},
            has={"tags": self.tag} if self.tag else {},
            ranges={key: ends for key, ends in spans.items() if ends != (None, None)},
            terms=_terms(self.search or "", profile_names),
            order=sort,
            descending=self.sort.startswith("-"),
        )


def _terms(search: str, profile_names: Callable[[], dict[str, str]]) -> tuple[Term, ...]:
    words = search.casefold().split()
    names = profile_names() if words else {}
    terms = []
    for word in words:
        ids = frozenset(id for id, name in names.items() if word in name.casefold())
        terms.append(Term(word, SEARCHED, {"profile_id": ids} if ids else {}))
    return tuple(terms)
