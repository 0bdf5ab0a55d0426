"""The flow's encoder: speech tokens to the mean of the mel frames, two a token."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.layers import Convolution, Linear, Norm

__all__ = ["Encoder"]

QUERIES = 256
"""Attention is computed for so many positions at a time: larger temporaries cost page faults."""


class Encoder:
    """Upstream's UpsampleConformerEncoder for one utterance, with its projection.

    Args:
        flow: upstream's CausalMaskedDiffWithXvec.
    """

    def __init__(self, flow: Any):
        upstream = flow.encoder
        self._table = flow.input_embedding.weight.detach()
        # Both halves count their positions alike: 2n - 1 rows, from n - 1 steps ahead to behind.
        self._positions = upstream.embed.pos_enc.pe[0].to(self._table)
        self._scale = upstream.embed.pos_enc.xscale
        self._embed, self._up_embed = _Embedding(upstream.embed), _Embedding(upstream.up_embed)
        self._lookahead = upstream.pre_lookahead_layer.pre_lookahead_len
        self._ahead = Convolution.of(upstream.pre_lookahead_layer.conv1)
        self._behind = Convolution.of(upstream.pre_lookahead_layer.conv2)
        self._stride = upstream.up_layer.stride
        self._up = Convolution.of(upstream.up_layer.conv)
        self._layers = [_Layer(layer) for layer in upstream.encoders]
        self._up_layers = [_Layer(layer) for layer in upstream.up_encoders]
        self._norm = Norm(upstream.after_norm)
        self._projection = Linear.of(flow.encoder_proj)

    def embed(self, tokens: Tensor) -> Tensor:
        """(n,) ids -> (n, channels): what a token gives whatever is beside it."""
        return self._embed(functional.embedding(tokens, self._table)) * self._scale

    def __call__(self, embedded: Tensor) -> Tensor:
        """(n, channels) of the prompt and the chunk -> (2n, 80)."""
        x = embedded.unsqueeze(0)
        x = self._apply_layers(self._layers, self._lookahead_layer(x))
        x = x.repeat_interleave(self._stride, dim=1)
        x = self._up(functional.pad(x, (0, 0, 2 * self._stride, 0)))
        x = self._apply_layers(self._up_layers, self._up_embed(x) * self._scale)
        return self._projection(self._norm(x)).squeeze(0)

    def _lookahead_layer(self, x: Tensor) -> Tensor:
        y = self._ahead(functional.pad(x, (0, 0, 0, self._lookahead)))
        return self._behind(functional.pad(functional.leaky_relu(y), (0, 0, 2, 0))) + x

    def _apply_layers(self, layers: list[_Layer], x: Tensor) -> Tensor:
        middle, size = self._positions.shape[0] // 2, x.shape[1]
        positions = self._positions[middle - size + 1 : middle + size]
        for layer in layers:
            x = layer(x, positions)
        return x


class _Embedding:
    def __init__(self, module: Any):
        self._linear, self._norm = Linear.of(module.out[0]), Norm(module.out[1])

    def __call__(self, x: Tensor) -> Tensor:
        return self._norm(self._linear(x))


class _Layer:
    """A conformer layer without convolution: attention by relative position, then two linears."""

    def __init__(self, layer: Any):
        attention = layer.self_attn
        self._heads = attention.h
        self._norm, self._out = Norm(layer.norm_mha), Linear.of(attention.linear_out)
        parts = [attention.linear_q, attention.linear_k, attention.linear_v]
        self._qkv = Linear(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )
        self._positions = Linear.of(attention.linear_pos)
        self._content_bias = attention.pos_bias_u.detach().unsqueeze(1)
        self._position_bias = attention.pos_bias_v.detach().unsqueeze(1)
        self._norm_ff = Norm(layer.norm_ff)
        self._wide = Linear.of(layer.feed_forward.w_1)
        self._narrow = Linear.of(layer.feed_forward.w_2)

    def __call__(self, x: Tensor, positions: Tensor) -> Tensor:
        """(1, n, channels), (2n - 1, channels) -> (1, n, channels)."""
        x = x + self._out(self._attended(self._norm(x), positions))
        return x + self._narrow(self._wide(self._norm_ff(x), "swish"))

    def _attended(self, x: Tensor, positions: Tensor) -> Tensor:
        size = x.shape[1]
        query, key, value = self._split(self._qkv(x), 3)
        (place,) = self._split(self._positions(positions).unsqueeze(0), 1)
        blocks = []
        for start in range(0, size, QUERIES):
            end = min(start + QUERIES, size)
            rows = query[:, :, start:end]
            # A query at i and a key at j are size - 1 - i + j apart in `place`.
            near = place[:, :, size - end : 2 * size - 1 - start]
            bias = _shifted((rows + self._position_bias) @ near.transpose(-2, -1), size)
            blocks.append(
                functional.scaled_dot_product_attention(
                    rows + self._content_bias,
                    key,
                    value,
                    attn_mask=bias / math.sqrt(query.shape[-1]),
                )
            )
        return torch.cat(blocks, dim=2).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(1, n, parts * channels) -> `parts` times (1, heads, n, channels of a head)."""
        return x.unflatten(-1, (parts, self._heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _shifted(scores: Tensor, size: int) -> Tensor:
    """Scores by distance -> by key: each row begins one place before the row above it.

    Args:
        scores: (1, heads, n, size + n - 1).
    """
    _, heads, rows, width = scores.shape
    strides = (0, rows * width, width - 1, 1)
    return scores.contiguous().as_strided((1, heads, rows, size), strides, rows - 1)
