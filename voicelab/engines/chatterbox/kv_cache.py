"""Key-value caches, one a sentence, and attention within each at its own length.

There is no padding and no mask but the causal one, so a sentence's results do not depend on the
other sentences of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "STEP",
    "SegmentAttention",
    "Attend",
    "Attention",
    "Cache",
    "Segment",
    "rounded_capacity",
]

STEP = 256
"""Positions by which a cache grows."""

Attend = Callable[[int, Tensor, Tensor], None]
"""Told a layer, its queries (rows, heads, length, dim) and keys (rows, heads, positions, dim)."""


def rounded_capacity(length: int) -> int:
    """`length` rounded up to a multiple of STEP, so that caches grow rarely."""
    return -(-length // STEP) * STEP


class Cache:
    """Key-value cache of one sentence, for all layers and for its one or two rows.

    Args:
        layers, rows, heads, dim: of the model; rows is 2 with classifier-free guidance.
        like: for dtype and device.
    """

    def __init__(self, layers: int, rows: int, heads: int, dim: int, like: Tensor):
        self.length = 0
        self._tensor = like.new_empty(layers, rows, 2, heads, 0, dim)

    @property
    def rows(self) -> int:
        """How many rows the sentence has."""
        return self._tensor.shape[1]

    @property
    def tensor(self) -> Tensor:
        """(layers, rows, 2, heads, capacity, dim): keys and values; `length` positions are used."""
        return self._tensor

    @property
    def device(self) -> torch.device:
        """The device of the tensor."""
        return self._tensor.device

    @property
    def nbytes(self) -> int:
        """Bytes of memory allocated."""
        return self._tensor.nbytes

    def reserve(self, length: int) -> None:
        """Grow the capacity to at least `length` positions."""
        capacity = self._tensor.shape[4]
        if length > capacity:
            shape = list(self._tensor.shape)
            shape[4] = rounded_capacity(length)
            grown = self._tensor.new_empty(shape)
            grown[..., : self.length, :] = self._tensor[..., : self.length, :]
            self._tensor = grown

    def prepend(self, row: int, other: Cache, length: int) -> None:
        """Copy the first `length` positions of a one-row cache into a row."""
        self.reserve(length)
        self._tensor[:, row, :, :, :length] = other._tensor[:, 0, :, :, :length]
        self.length = length

    def release(self) -> None:
        """Free the memory after the contents were copied to a slot; `length` stays."""
        self._tensor = self._tensor[..., :0, :].clone()

    def of_row(self, row: int) -> Cache:
        """A view of one row, which shares the memory."""
        view = object.__new__(Cache)
        view.length = self.length
        view._tensor = self._tensor[:, row : row + 1]
        return view

    def put(self, layer: int, keys_values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Write (rows, length, 2, heads, dim) at `start`; all keys and values up to its end."""
        end = start + keys_values.shape[1]
        tensor = self._tensor[layer]
        tensor[:, :, :, start:end] = keys_values.permute(0, 2, 3, 1, 4)
        return tensor[:, 0, :, :end], tensor[:, 1, :, :end]


@dataclass(frozen=True)
class Segment:
    """A stretch of one sentence in the batch: its rows, `length` positions each from `start`."""

    cache: Cache
    start: int
    length: int
    attend: Attend | None = None

    @property
    def size(self) -> int:
        """Rows of the matrix products."""
        return self.cache.rows * self.length


class Attention(Protocol):
    """Attention of the rows of the matrix products to the positions before them."""

    @property
    def positions(self) -> Tensor:
        """Of every row: int64 (m,)."""
        ...

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """Queries, keys and values (m, 3, heads, dim) -> (m, heads * dim); the keys and values
        are kept."""
        ...


class SegmentAttention:
    """Attention of concatenated sentences, each within its own cache."""

    def __init__(self, segments: Sequence[Segment]):
        self.segments = segments
        numbers = [n for s in segments for _ in range(s.cache.rows) for n in _range(s)]
        self.positions = torch.tensor(numbers, device=segments[0].cache.device)

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """See `Attention.__call__`."""
        found = [_attended(layer, part, segment) for part, segment in self._parts(qkv)]
        return torch.cat(found) if len(found) > 1 else found[0]

    def _parts(self, qkv: Tensor) -> Iterator[tuple[Tensor, Segment]]:
        start = 0
        for segment in self.segments:
            part = qkv[start : start + segment.size]
            yield part.view(segment.cache.rows, segment.length, *qkv.shape[1:]), segment
            start += segment.size


def _range(segment: Segment) -> range:
    return range(segment.start, segment.start + segment.length)


def _attended(layer: int, qkv: Tensor, segment: Segment) -> Tensor:
    """(rows, length, 3, heads, dim) -> (rows * length, heads * dim)."""
    queries = qkv[:, :, 0].transpose(1, 2)
    keys, values = segment.cache.put(layer, qkv[:, :, 1:], segment.start)
    if segment.attend is not None:
        segment.attend(layer, queries, keys)
    mask = _causal(segment, queries) if segment.length > 1 else None
    out = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return out.transpose(1, 2).reshape(segment.size, -1)


def _causal(segment: Segment, like: Tensor) -> Tensor:
    """(length, start + length): a position sees what is before it, and itself."""
    shape = (segment.length, segment.start + segment.length)
    return torch.ones(shape, dtype=torch.bool, device=like.device).tril(segment.start)
