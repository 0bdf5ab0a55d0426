"""Key-value caches of many sentences in one tensor, for GPUs, where launching a kernel dominates.

Each step writes one position of every slot and attends to all slots in one call. The shapes are
few, so a step can be captured as a CUDA graph. Positions beyond a sentence's end are masked, so
other sentences change its results by rounding at most.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.kv_cache import Cache, rounded_capacity

__all__ = ["SlotAttention", "Slots"]


class Slots:
    """Key-value caches for a fixed number of sentences of `rows` rows each.

    Args:
        count: of sentences.
        rows: of each; 2 with classifier-free guidance.
        like: an empty cache of the model.
    """

    def __init__(self, count: int, rows: int, like: Cache):
        self.rows = rows
        layers, _, _, heads, _, dim = like.tensor.shape
        self._tensor = like.tensor.new_zeros(layers, 2, count * rows, heads, 0, dim)
        self.positions = torch.zeros(count * rows, dtype=torch.long, device=like.device)

    @property
    def capacity(self) -> int:
        """Positions allocated for each sentence."""
        return self._tensor.shape[4]

    def reserve(self, length: int) -> bool:
        """Grow to at least `length` positions; True when the tensors were reallocated."""
        if length <= self.capacity:
            return False
        more = rounded_capacity(length) - self.capacity
        # Zeros, not what the memory held: a masked NaN would still be one.
        self._tensor = functional.pad(self._tensor, (0, 0, 0, more))
        return True

    def enter(self, slot: int, cache: Cache) -> None:
        """Copy a prefilled cache into a slot; a single row is copied to all rows of the slot."""
        rows = slice(slot * self.rows, (slot + 1) * self.rows)
        self.reserve(cache.length)
        read = cache.tensor[..., : cache.length, :].transpose(1, 2)
        self._tensor[:, :, rows, :, : cache.length] = read
        self.positions[rows] = cache.length


class SlotAttention:
    """Attention for a decoding step of the first `count` slots, one new position each.

    Args:
        slots: see `Slots`.
        count: of slots, from the first one on.
        length: positions attended to; at least the longest sentence's and the new one.
    """

    def __init__(self, slots: Slots, count: int, length: int):
        rows = count * slots.rows
        self.positions = slots.positions[:rows]
        self._tensor = slots._tensor[:, :, :rows]
        self._length = length
        self._rows = torch.arange(rows, device=self.positions.device)
        places = torch.arange(length, device=self.positions.device)
        self._seen = (places <= self.positions[:, None])[:, None, None]

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """See `Attention.__call__`; m is the rows of the slots."""
        keys, values = self._tensor[layer]
        keys[self._rows, :, self.positions] = qkv[:, 1]
        values[self._rows, :, self.positions] = qkv[:, 2]
        found = functional.scaled_dot_product_attention(
            qkv[:, 0, :, None],
            keys[:, :, : self._length],
            values[:, :, : self._length],
            attn_mask=self._seen,
        )
        return found.flatten(1)
