"""A small cache of values that are expensive to compute."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["LruCache"]

T = TypeVar("T")


class LruCache(Generic[T]):
    """At most `size` values; the least recently used one is dropped. Not thread-safe."""

    def __init__(self, size: int):
        self._size = size
        self._by_key: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`; computed by `make` when it is missing."""
        if key not in self._by_key:
            self._by_key[key] = make()
            if len(self._by_key) > self._size:
                self._by_key.popitem(last=False)
        self._by_key.move_to_end(key)
        return self._by_key[key]
