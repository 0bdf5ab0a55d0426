"""What is kept in memory about one table, so that no question walks over all its documents."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from operator import itemgetter
from typing import Any

from voicelab.errors import StoreCorrupt
from voicelab.store.collector import quiet_collector
from voicelab.store.ordering import Key, Ordering, sort_key
from voicelab.store.protocol import Document

__all__ = ["ORDER", "Index", "smallest"]

ID = itemgetter("id")
ORDER = "created_at"
"""The order in which groups are kept."""

SortKey = Callable[[Document], Key]
Groups = dict[Hashable, Ordering | list[tuple[Key, Document]]]

MOST_GROUPED = 12
"""Fields by whose values a table is grouped at once."""


class Index:
    """Ids of one table at once; orders and groups from when they are first asked for.

    Changed and asked under the store's lock.

    Args:
        rows: gives key -> document, the store's own.

    Raises:
        StoreCorrupt: a document has no id, or another's.
    """

    def __init__(self, rows: Callable[[], dict[str, Document]]):
        self._rows = rows
        self._orders: dict[str, tuple[SortKey, Ordering]] = {}
        self._groups: dict[str, Groups] = {}
        self._created_key = sort_key(ORDER)
        try:
            # Of a hundred thousand this takes half the time of a comprehension.
            self.keys: dict[str, str] = dict(zip(map(ID, rows().values()), rows(), strict=True))
            self._next = max(map(int, rows()), default=0) + 1
        except (KeyError, TypeError, ValueError) as error:
            raise StoreCorrupt("a document without an id") from error
        if len(self.keys) != len(rows()):
            raise StoreCorrupt("two documents of one id")

    def next_key(self) -> str:
        """Of the next document that is inserted."""
        return str(self._next)

    def order(self, field: str) -> Ordering:
        """All documents sorted by a field."""
        found = self._orders.get(field)
        if found is None:
            with quiet_collector():
                found = sort_key(field), Ordering.of(self._rows().values(), field)
            self._orders[field] = found
        return found[1]

    def group(self, field: str, value: Any) -> Ordering | None:
        """Those with a value, sorted by `ORDER`; None when the field cannot be grouped by."""
        groups = self._groups.get(field)
        if groups is None:
            if len(self._groups) >= MOST_GROUPED:
                return None
            groups = self._groups[field] = self._grouped(field)
        if not _hashable(value):
            return None
        return _made(groups, value) if value in groups else Ordering([])

    def changed(self, key: str, before: Document | None, after: Document | None) -> None:
        """A document came, was replaced, or went."""
        if before is None and after is not None:
            self.keys[after["id"]] = key
            self._next = max(self._next, int(key) + 1)
        elif before is not None and after is None:
            del self.keys[before["id"]]
        created = self._created_key
        old = None if before is None else created(before)
        new = None if after is None else created(after)
        for field, (sort, ordering) in self._orders.items():
            if field == ORDER:
                _move(ordering, old, new, after)
            else:
                least = None if before is None else sort(before)
                _move(ordering, least, None if after is None else sort(after), after)
        for field, groups in self._groups.items():
            source = None if before is None else _group(before.get(field))
            target = None if after is None else _group(after.get(field))
            if old is not None and new is not None and source == target:
                _move(_made(groups, source), old, new, after)
                continue
            if old is not None:
                _leave(groups, source, old)
            if new is not None and after is not None:
                _made(groups, target).add(new, after)

    def _grouped(self, field: str) -> Groups:
        found: Groups = {}
        with quiet_collector():
            for pair in self.order(ORDER).pairs():  # the keys are shared with it
                found.setdefault(_group(pair[1].get(field)), []).append(pair)  # type: ignore[union-attr]
        return found


class _Unhashable:
    """The group of all lists and objects: nobody asks for it by value."""


def _group(value: Any) -> Hashable:
    return value if _hashable(value) else _Unhashable


def _hashable(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _made(groups: Groups, value: Hashable) -> Ordering:
    """One group; made an ordering when it is first needed, for there may be many of one."""
    found = groups.get(value)
    if found is None or isinstance(found, list):
        found = groups[value] = Ordering(found or [])
    return found


def _leave(groups: Groups, value: Hashable, key: Key) -> None:
    group = _made(groups, value)
    group.remove(key)
    if not group.count:
        del groups[value]


def _move(ordering: Ordering, old: Key | None, new: Key | None, after: Document | None) -> None:
    if old == new and old is not None and after is not None:
        ordering.replace(old, after)
        return
    if old is not None:
        ordering.remove(old)
    if new is not None and after is not None:
        ordering.add(new, after)


def smallest(orderings: Iterable[Ordering | None]) -> Ordering | None:
    """The one with the fewest documents."""
    return min((o for o in orderings if o is not None), key=lambda o: o.count, default=None)
