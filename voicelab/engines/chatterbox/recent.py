"""The last few of something that is dear to make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

T = TypeVar("T")


class Recent(Generic[T]):
    """The last `kept` things asked for; the one unused for longest goes first. Not locked."""

    def __init__(self, kept: int):
        self._kept = kept
        self._by_key: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The one of `key`; made when it is not here."""
        if key not in self._by_key:
            self._by_key[key] = make()
            if len(self._by_key) > self._kept:
                self._by_key.popitem(last=False)
        self._by_key.move_to_end(key)
        return self._by_key[key]
