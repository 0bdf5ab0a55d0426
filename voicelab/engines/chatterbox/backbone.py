"""The transformer under T3, Llama or GPT-2, over key-value caches of our own.

Rows of any number of sentences stand one under the other in the matrix products; attention goes
sentence by sentence at its own length. So nothing is padded, nothing needs a mask but causality,
and a sentence's numbers do not depend on which others are being spoken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.linear import Kernel, Linear
from voicelab.engines.chatterbox.parameters import owned

__all__ = ["Attend", "Backbone", "Cache", "GPT2", "Llama", "Segment"]

STEP = 256
"""Positions by which a cache grows."""

Attend = Callable[[int, Tensor, Tensor], None]
"""Told a layer, its queries (rows, heads, length, dim) and keys (rows, heads, positions, dim)."""


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
    def nbytes(self) -> int:
        """Of memory held."""
        return self._held.nbytes

    def reserve(self, length: int) -> None:
        """Make room for `length` positions."""
        room = self._held.shape[4]
        if length > room:
            shape = list(self._held.shape)
            shape[4] = -(-length // STEP) * STEP
            grown = self._held.new_empty(shape)
            grown[..., : self.length, :] = self._held[..., : self.length, :]
            self._held = grown

    def prepend(self, row: int, other: Cache, length: int) -> None:
        """The first `length` positions of a row are those of a one-row cache."""
        self.reserve(length)
        self._held[:, row, :, :, :length] = other._held[:, 0, :, :, :length]
        self.length = length

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


class Backbone(Protocol):
    """What T3 decodes with."""

    def cache(self, rows: int) -> Cache:
        """An empty one."""
        ...

    def __call__(self, x: Tensor, segments: Sequence[Segment]) -> Tensor:
        """Embeddings (m, dim) of all segments, one under the other -> hidden states (m, dim)."""
        ...


class Llama:
    """Of the English and the Multilingual model; takes its weights over.

    Args:
        model: a transformers.LlamaModel; its layers are empty afterwards.
        kernel: see `linear`.
        positions: the longest sentence.
    """

    def __init__(self, model: Any, kernel: Kernel, positions: int):
        owned(model, "layers.")
        config = model.config
        self._heads, self._dim = config.num_attention_heads, config.head_dim
        self._eps = config.rms_norm_eps
        self._norm = model.norm.weight.detach()
        index = torch.arange(positions, device=self._norm.device)[None]
        self._cosines, self._sines = (t[0] for t in model.rotary_emb(self._norm, index))
        self._layers = [_llama_layer(layer, kernel) for layer in model.layers]

    def cache(self, rows: int) -> Cache:
        """See `Backbone.cache`."""
        return Cache(len(self._layers), rows, self._heads, self._dim, self._norm)

    def __call__(self, x: Tensor, segments: Sequence[Segment]) -> Tensor:
        """See `Backbone.__call__`."""
        at = _positions(segments, x.device)
        cosines, sines = self._cosines[at][:, None, None], self._sines[at][:, None, None]
        x = x.clone()
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(self._normed(x, layer.norm)).view(len(x), 3, self._heads, self._dim)
            qkv[:, :2] = qkv[:, :2] * cosines + _turned(qkv[:, :2]) * sines
            x += layer.out(_attention(number, qkv, segments))
            gate, up = layer.up(self._normed(x, layer.norm_up)).chunk(2, dim=-1)
            x += layer.down(functional.silu(gate).mul_(up))
        return self._normed(x, self._norm)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, weight.shape, weight, self._eps)


class GPT2:
    """Of the Turbo model; takes its weights over.

    Args:
        model: a transformers.GPT2Model; its blocks are empty afterwards.
        kernel: see `linear`.
    """

    def __init__(self, model: Any, kernel: Kernel):
        owned(model, "h.")
        config = model.config
        self._heads, self._dim = config.n_head, config.n_embd // config.n_head
        self._positions = model.wpe.weight.detach()
        self._norm = model.ln_f
        self._layers = [_gpt2_layer(block, kernel) for block in model.h]

    def cache(self, rows: int) -> Cache:
        """See `Backbone.cache`."""
        return Cache(len(self._layers), rows, self._heads, self._dim, self._positions)

    def __call__(self, x: Tensor, segments: Sequence[Segment]) -> Tensor:
        """See `Backbone.__call__`."""
        x = x + self._positions[_positions(segments, x.device)]
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(layer.norm(x)).view(len(x), 3, self._heads, self._dim)
            x += layer.out(_attention(number, qkv, segments))
            x += layer.down(functional.gelu(layer.up(layer.norm_up(x)), approximate="tanh"))
        return self._norm(x)


@dataclass(frozen=True)
class _Layer:
    norm: Any
    qkv: Linear
    out: Linear
    norm_up: Any
    up: Linear
    down: Linear


def _llama_layer(layer: Any, kernel: Kernel) -> _Layer:
    owned(layer)
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        norm=layer.input_layernorm.weight.detach(),
        qkv=_packed(kernel, attention.q_proj, attention.k_proj, attention.v_proj),
        out=_packed(kernel, attention.o_proj),
        norm_up=layer.post_attention_layernorm.weight.detach(),
        up=_packed(kernel, mlp.gate_proj, mlp.up_proj),
        down=_packed(kernel, mlp.down_proj),
    )


def _gpt2_layer(block: Any, kernel: Kernel) -> _Layer:
    owned(block)
    # GPT-2 keeps its weights as (in, out).
    return _Layer(
        norm=block.ln_1,
        qkv=_packed(kernel, block.attn.c_attn, transposed=True),
        out=_packed(kernel, block.attn.c_proj, transposed=True),
        norm_up=block.ln_2,
        up=_packed(kernel, block.mlp.c_fc, transposed=True),
        down=_packed(kernel, block.mlp.c_proj, transposed=True),
    )


def _packed(kernel: Kernel, *modules: Any, transposed: bool = False) -> Linear:
    """One product for several; the modules' own weights are given back to the system."""
    weights = [m.weight.detach().t() if transposed else m.weight.detach() for m in modules]
    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
    biases = [m.bias.detach() for m in modules if m.bias is not None]
    linear = kernel(weight, torch.cat(biases) if biases else None)
    for module in modules:
        module.weight = None
    return linear


def _positions(segments: Sequence[Segment], device: Any) -> Tensor:
    """Of every row of the products: (m,)."""
    numbers = [n for s in segments for _ in range(s.cache.rows) for n in _range(s)]
    return torch.tensor(numbers, device=device)


def _range(segment: Segment) -> range:
    return range(segment.start, segment.start + segment.length)


def _turned(x: Tensor) -> Tensor:
    """Halves of the last dimension exchanged, the second one negated."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def _attention(layer: int, qkv: Tensor, segments: Sequence[Segment]) -> Tensor:
    """(m, 3, heads, dim) -> (m, heads * dim), each segment within its own cache."""
    found = [_attended(layer, part, s) for part, s in _parts(qkv, segments)]
    return torch.cat(found) if len(found) > 1 else found[0]


def _parts(qkv: Tensor, segments: Sequence[Segment]) -> Iterator[tuple[Tensor, Segment]]:
    start = 0
    for segment in segments:
        part = qkv[start : start + segment.size]
        yield part.view(segment.cache.rows, segment.length, *qkv.shape[1:]), segment
        start += segment.size


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
