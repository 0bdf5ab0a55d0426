"""Keys and values of many sentences in one tensor: for a GPU, where each kernel's start counts.

A step writes one position of every slot and looks at all of them in one call, whatever stands
there; so its shapes are few, and it can be recorded once and played again. What is beyond a
sentence's end is masked, so other sentences change its numbers by roundings at most.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.caches import Cache, roomy

__all__ = ["Abreast", "Slots"]


class Slots:
    """Room for sentences of `rows` rows each.

    Args:
        count: of sentences.
        rows: of each; 2 with classifier-free guidance.
        like: an empty cache of the model.
    """

    def __init__(self, count: int, rows: int, like: Cache):
        self.rows = rows
        layers, _, _, heads, _, dim = like.held.shape
        self._held = like.held.new_zeros(layers, 2, count * rows, heads, 0, dim)
        self.positions = torch.zeros(count * rows, dtype=torch.long, device=like.device)

    @property
    def room(self) -> int:
        """Positions that a sentence may have."""
        return self._held.shape[4]

    def reserve(self, length: int) -> bool:
        """Make room for `length` positions; whether the tensors are others now."""
        if length <= self.room:
            return False
        more = roomy(length) - self.room
        # Zeros, not what the memory held: a masked NaN would still be one.
        self._held = functional.pad(self._held, (0, 0, 0, more))
        return True

    def enter(self, slot: int, cache: Cache) -> None:
        """Copy a sentence that was read; one of a single row stands in all of its slot's."""
        rows = slice(slot * self.rows, (slot + 1) * self.rows)
        self.reserve(cache.length)
        read = cache.held[..., : cache.length, :].transpose(1, 2)
        self._held[:, :, rows, :, : cache.length] = read
        self.positions[rows] = cache.length


class Abreast:
    """Attention of the first slots, one position of each.

    Args:
        slots: see `Slots`.
        count: of slots, from the first one on.
        length: positions that are looked at; all of these sentences' and the new one.
    """

    def __init__(self, slots: Slots, count: int, length: int):
        rows = count * slots.rows
        self.positions = slots.positions[:rows]
        self._held = slots._held[:, :, :rows]
        self._length = length
        self._rows = torch.arange(rows, device=self.positions.device)
        places = torch.arange(length, device=self.positions.device)
        self._seen = (places <= self.positions[:, None])[:, None, None]

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """See `Attention.__call__`; m is the rows of the slots."""
        keys, values = self._held[layer]
        keys[self._rows, :, self.positions] = qkv[:, 1]
        values[self._rows, :, self.positions] = qkv[:, 2]
        found = functional.scaled_dot_product_attention(
            qkv[:, 0, :, None],
            keys[:, :, : self._length],
            values[:, :, : self._length],
            attn_mask=self._seen,
        )
        return found.flatten(1)
