"""What every sentence of a voice begins with: computed once, copied into each one's cache."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

from voicelab.engines.chatterbox.backbone import Backbone
from voicelab.engines.chatterbox.caches import Apart, Cache, Segment
from voicelab.engines.chatterbox.recent import Recent

__all__ = ["Prefix", "Prefixes"]

KEPT = 8
"""Voices; 8 MB each in the English model, 74 MB in Turbo."""

BLOCK = 64
"""Positions computed at once, always from such a boundary: what is asked for first must not
change the roundings."""


class Prefix:
    """Keys and values of the conditioning, and of the text that guidance leaves out.

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
        backbone(embeddings, Apart([Segment(self.cache, 0, self.length)]))
        self.cache.length = self.length
        self._silent = self.cache

    def silent(self, count: int) -> Cache:
        """One row: the conditioning, then at least `count` positions of a text left out.

        Such a text is its position embeddings alone, so all sentences share it.
        """
        while self._silent.length < self.length + count:
            self._extend()
        return self._silent

    def _extend(self) -> None:
        known = self._silent.length
        cache = self._backbone.cache(1)
        cache.reserve(known + BLOCK)
        cache.prepend(0, self._silent, known)
        first = known - self.length
        embedding = self._t3.text_pos_emb.emb
        last = embedding.num_embeddings - 1
        numbers = torch.arange(first, first + BLOCK, device=embedding.weight.device)
        self._backbone(embedding(numbers.clamp(max=last)), Apart([Segment(cache, known, BLOCK)]))
        cache.length = known + BLOCK
        self._silent = cache


class Prefixes:
    """The last voices' prefixes; the one unused for longest goes first.

    Args:
        t3: upstream's model.
        backbone: of it.
    """

    def __init__(self, t3: Any, backbone: Backbone):
        self._t3 = t3
        self._backbone = backbone
        self._prefixes: Recent[Prefix] = Recent(KEPT)

    def get(self, key: Hashable, conditioning: Any) -> Prefix:
        """The prefix of `key`; made from upstream's T3Cond when it is not here."""

        def make() -> Prefix:
            embeddings = self._t3.prepare_conditioning(conditioning)[0]
            return Prefix(self._t3, self._backbone, embeddings)

        return self._prefixes.get(key, make)
