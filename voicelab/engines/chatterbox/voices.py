"""Conditionals: what the model made of a voice clip, kept by the clip's hash."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

__all__ = ["Conditionals", "own_copy"]

KEPT = 16
"""Voices; about 0.3 MB each."""


class Conditionals:
    """The last `kept` encoded voices; the one unused for longest goes first.

    Not locked: used under the engine's lock.
    """

    def __init__(self, kept: int = KEPT):
        self._kept = kept
        self._by_key: OrderedDict[str, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: str, encode: Callable[[], Any]) -> Any:
        """Those of `key`; `encode` makes them when they are not here (0.5 s)."""
        if key not in self._by_key:
            self._by_key[key] = encode()
            if len(self._by_key) > self._kept:
                self._by_key.popitem(last=False)
        self._by_key.move_to_end(key)
        return self._by_key[key]

    def clear(self) -> None:
        """Forget all."""
        self._by_key.clear()


def own_copy(conditionals: Any) -> Any:
    """A copy for one call: upstream sets exaggeration and embeddings in place."""
    mine = copy.copy(conditionals)
    mine.t3 = copy.copy(conditionals.t3)
    mine.gen = dict(conditionals.gen)
    return mine
