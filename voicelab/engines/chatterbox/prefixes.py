"""Prefix cache: keys and values of a voice's conditioning, computed once for all its sentences."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

from voicelab.engines.chatterbox.backbone import Backbone
from voicelab.engines.chatterbox.kv_cache import Cache, Segment, SegmentAttention
from voicelab.engines.chatterbox.lru_cache import LruCache

__all__ = ["Prefix", "Prefixes"]

KEPT = 8
"""Voices; 8 MB each in the English model, 74 MB in Turbo."""

BLOCK = 64
"""Positions computed at once, always from such a boundary: what is asked for first must not
change the roundings."""


class Prefix:
    """Keys and values of a conditioning, for the conditional and the unconditional row.

    Args:
        t3: upstream's model.
        backbone: of it.
        embeddings: of the conditioning, (positions, dim).
    """

    def __init__(self, t3: Any, backbone: Backbone, embeddings: Any):
        self._t3 = t3
        self._backbone = backbone
        self.length = len(embeddings)
        self.cache = backbone.cache(1)
        self.cache.reserve(self.length)
        backbone(embeddings, SegmentAttention([Segment(self.cache, 0, self.length)]))
        self.cache.length = self.length
        self._unconditional = self.cache

    def unconditional(self, count: int) -> Cache:
        """Cache of the unconditional row: the conditioning, then at least `count` text positions.

        Without text only position embeddings remain, so all sentences share these positions.
        """
        while self._unconditional.length < self.length + count:
            self._extend()
        return self._unconditional

    def _extend(self) -> None:
        known = self._unconditional.length
        cache = self._backbone.cache(1)
        cache.reserve(known + BLOCK)
        cache.prepend(0, self._unconditional, known)
        first = known - self.length
        embedding = self._t3.text_pos_emb.emb
        last = embedding.num_embeddings - 1
        numbers = torch.arange(first, first + BLOCK, device=embedding.weight.device)
        self._backbone(
            embedding(numbers.clamp(max=last)), SegmentAttention([Segment(cache, known, BLOCK)])
        )
        cache.length = known + BLOCK
        self._unconditional = cache


class Prefixes:
    """LRU cache of the prefixes of the last KEPT voices.

    Args:
        t3: upstream's model.
        backbone: of it.
    """

    def __init__(self, t3: Any, backbone: Backbone):
        self._t3 = t3
        self._backbone = backbone
        self._prefixes: LruCache[Prefix] = LruCache(KEPT)

    def get(self, key: Hashable, conditioning: Any) -> Prefix:
        """The prefix of `key`; made from upstream's T3Cond when it is not here."""

        def make() -> Prefix:
            embeddings = self._t3.prepare_conditioning(conditioning)[0]
            return Prefix(self._t3, self._backbone, embeddings)

        return self._prefixes.get(key, make)
