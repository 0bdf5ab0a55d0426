"""Keys and values, a cache for each sentence, and attention within it at its own length.

Nothing is padded, nothing needs a mask but causality, and a sentence's numbers do not depend on
which others are being spoken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["STEP", "Apart", "Attend", "Attention", "Cache", "Segment", "roomy"]

STEP = 256
"""Positions by which a cache grows."""

Attend = Callable[[int, Tensor, Tensor], None]
"""Told a layer, its queries (rows, heads, length, dim) and keys (rows, heads, positions, dim)."""


def roomy(length: int) -> int:
    """Positions to make room for, so that it need not grow at each."""
    return -(-length // STEP) * STEP


class Cache:
    """Keys and values of the rows of one sentence, for all layers.

    Args:
        layers, rows, heads, dim: of the model; rows is 2 with classifier-free guidance.
        like: for dtype and device.
    """

    def __init__(self, layers: int, rows: int, heads: int, dim: int, like: Tensor):
        self.length = 0
        self._held = like.new_empty(layers, rows, 2, heads, 0, dim)

    @property
    def rows(self) -> int:
        """How many rows the sentence has."""
        return self._held.shape[1]

    @property
    def held(self) -> Tensor:
        """Keys and values: (layers, rows, 2, heads, room, dim), `length` positions of the room."""
        return self._held

    @property
    def device(self) -> torch.device:
        """It is on."""
        return self._held.device

    @property
    def nbytes(self) -> int:
        """Of memory held."""
        return self._held.nbytes

    def reserve(self, length: int) -> None:
        """Make room for `length` positions."""
        room = self._held.shape[4]
        if length > room:
            shape = list(self._held.shape)
            shape[4] = roomy(length)
            grown = self._held.new_empty(shape)
            grown[..., : self.length, :] = self._held[..., : self.length, :]
            self._held = grown

    def prepend(self, row: int, other: Cache, length: int) -> None:
        """The first `length` positions of a row are those of a one-row cache."""
        self.reserve(length)
        self._held[:, row, :, :, :length] = other._held[:, 0, :, :, :length]
        self.length = length

    def give_back(self) -> None:
        """Free the memory: the positions are held elsewhere; `length` stays."""
        self._held = self._held[..., :0, :].clone()

    def of_row(self, row: int) -> Cache:
        """A view of one row; written through it, read by both."""
        view = object.__new__(Cache)
        view.length = self.length
        view._held = self._held[:, row : row + 1]
        return view

    def put(self, layer: int, keys_values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Write (rows, length, 2, heads, dim) at `start`; all keys and values up to its end."""
        end = start + keys_values.shape[1]
        held = self._held[layer]
        held[:, :, :, start:end] = keys_values.permute(0, 2, 3, 1, 4)
        return held[:, 0, :, :end], held[:, 1, :, :end]


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
    """What the rows of the matrix products see of the positions before them."""

    @property
    def positions(self) -> Tensor:
        """Of every row: int64 (m,)."""
        ...

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """Queries, keys and values (m, 3, heads, dim) -> (m, heads * dim); the keys and values
        are kept."""
        ...


class Apart:
    """Attention of sentences whose rows stand one under the other, each within its own cache."""

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
