"""The transformer under T3, Llama or GPT-2, over key-value caches of our own.

Rows of any number of sentences stand one under the other in the matrix products; what they see of
each other is an `Attention`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.kv_cache import Attention, Cache
from voicelab.engines.chatterbox.linear import Kernel, Linear
from voicelab.engines.chatterbox.state_loading import owned

__all__ = ["GPT2", "Backbone", "Llama"]


class Backbone(Protocol):
    """What T3 decodes with."""

    def cache(self, rows: int) -> Cache:
        """An empty one."""
        ...

    def __call__(self, x: Tensor, attention: Attention) -> Tensor:
        """Embeddings (m, dim) -> hidden states (m, dim)."""
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

    def __call__(self, x: Tensor, attention: Attention) -> Tensor:
        """See `Backbone.__call__`."""
        at = attention.positions
        cosines, sines = self._cosines[at][:, None, None], self._sines[at][:, None, None]
        x = x.clone()
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(self._normed(x, layer.norm)).view(len(x), 3, self._heads, self._dim)
            qkv[:, :2] = qkv[:, :2] * cosines + _turned(qkv[:, :2]) * sines
            x += layer.out(attention(number, qkv))
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

    def __call__(self, x: Tensor, attention: Attention) -> Tensor:
        """See `Backbone.__call__`."""
        x = x + self._positions[attention.positions]
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(layer.norm(x)).view(len(x), 3, self._heads, self._dim)
            x += layer.out(attention(number, qkv))
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


def _turned(x: Tensor) -> Tensor:
    """Halves of the last dimension exchanged, the second one negated."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)
