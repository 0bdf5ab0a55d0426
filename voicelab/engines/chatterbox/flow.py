"""The flow: noise to mel frames, in a few steps of upstream's ConditionalDecoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from voicelab.engines.chatterbox.layers import Convolution, Linear, Norm
from voicelab.errors import Cancelled

__all__ = ["MELS", "Condition", "Flow"]

PAD = 16
"""Unused columns beside queries, keys and values: rows of a power of two bytes share few places
of the CPU's caches."""
WIDE_QUERIES, WORTH_WIDENING = 768, 640
"""From so many queries on torch's CPU attention takes large blocks, 1.4 times as fast on four
cores; it pays to fill up to it from the second number on."""
MELS = 80


class NoContext:
    """Context of the causal layers before the first frame: zeros for convolutions, no keys.

    Attributes:
        seen: attention mask, bool (rows, 1, 1, time); None attends to all frames.
    """

    seen: Tensor | None = None

    def prepend(self, x: Tensor, rows: int) -> Tensor:
        """`x` (rows, time, channels) with `rows` frames of context before it."""
        return functional.pad(x, (0, 0, rows, 0))

    def keys(self, keys: Tensor) -> Tensor:
        """Keys and values (2, rows, heads, time, channels) with those of the context before."""
        return keys


class PaddedContext(NoContext):
    """Utterances of several lengths, padded at the end; attention masks the padding.

    Args:
        lengths: of the rows, in frames.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device):
        ends = torch.tensor(lengths, device=device)[:, None]
        self.seen = (torch.arange(max(lengths), device=device) < ends)[:, None, None]


class RecordedContext(NoContext):
    """No context before; records each layer's context for `ReplayedContext`."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def prepend(self, x: Tensor, rows: int) -> Tensor:
        y = super().prepend(x, rows)
        self.kept.append(y[:, -rows:].clone())
        return y

    def keys(self, keys: Tensor) -> Tensor:
        self.kept.append(keys.clone(memory_format=torch.contiguous_format))
        return keys


class ReplayedContext(NoContext):
    """The context of a recorded pass, replayed in the order of the layers."""

    def __init__(self, recorded: RecordedContext):
        self._kept = iter(recorded.kept)

    def prepend(self, x: Tensor, rows: int) -> Tensor:
        return torch.cat([next(self._kept), x], dim=1)

    def keys(self, keys: Tensor) -> Tensor:
        return torch.cat([next(self._kept), keys], dim=-2)


@dataclass(frozen=True)
class Condition:
    """Starting noise and conditioning of one flow.

    Attributes:
        noise: (time, 80).
        mean: (time, 80), from the encoder.
        known: (time, 80), the prompt's frames and zeros after them.
        speaker: (80,).
    """

    noise: Tensor
    mean: Tensor
    known: Tensor
    speaker: Tensor

    def rows(self) -> Tensor:
        """(time, 240): what is the same in each step."""
        speaker = self.speaker.expand(len(self.mean), -1)
        return torch.cat([self.mean, speaker, self.known], dim=-1)

    def after(self, frame: int) -> Condition:
        """Without the frames before `frame`."""
        rows = (part[frame:] for part in (self.noise, self.mean, self.known))
        return Condition(*rows, speaker=self.speaker)


class Flow:
    """Upstream's conditional flow matching: noise to mel frames by an Euler solver.

    Args:
        decoder: upstream's CausalConditionalCFM.
        steps: of the solver.
        meanflow: a distilled model: no guidance, and it reads the end of a step as well.
        dtype: it computes in; the solver itself is always float32.
    """

    def __init__(
        self, decoder: Any, *, steps: int, meanflow: bool, dtype: torch.dtype = torch.float32
    ):
        self._estimator = _Estimator(decoder.estimator, dtype)
        self._guidance = None if meanflow else decoder.inference_cfg_rate
        device = decoder.estimator.final_proj.weight.device
        times = torch.linspace(0, 1, steps + 1, device=device)
        if not meanflow and decoder.t_scheduler == "cosine":
            times = 1 - torch.cos(times * 0.5 * torch.pi)
        self._lengths = (times[1:] - times[:-1]).unbind()
        self._times = _time_embeddings(decoder.estimator, times, meanflow)
        self._steps = steps

    def __call__(
        self, conditions: Sequence[Condition], polls: Sequence[Callable[[], None]]
    ) -> list[Tensor | None]:
        """Utterances at once, as a GPU wants it: several equal each alone to the rounding.

        Args:
            polls: of each, called before each step.

        Returns:
            For each (time, 80) mel frames, or None when its poll raised Cancelled.
        """
        lengths = [len(condition.mean) for condition in conditions]
        before = NoContext()
        if len(conditions) > 1:
            ways = 1 if self._guidance is None else 2
            before = PaddedContext(lengths * ways, conditions[0].mean.device)
        state = self._begin(conditions, before)
        wanted = set(range(len(conditions)))
        for number in range(self._steps):
            wanted -= {index for index in wanted if _is_cancelled(polls[index])}
            if not wanted:
                break
            state = self._step(number, state, before)
        return [state.x[i, :n] if i in wanted else None for i, n in enumerate(lengths)]

    def with_shared_prompt(
        self,
        prompt: Condition,
        chunks: Sequence[Condition],
        polls: Sequence[Callable[[], None]],
    ) -> list[Tensor | None]:
        """Chunks in one voice, whose prompt's frames are computed once, by themselves.

        A chunk attends to the prompt and to itself, and its convolutions begin at the prompt's
        end, as if it were alone: nothing of one chunk comes into another.

        Returns:
            For each chunk (time, 80) mel frames, or None when its poll raised Cancelled.
        """
        recorded = RecordedContext()
        before = self._begin([prompt], recorded)
        states = {
            i: self._begin([chunk], ReplayedContext(recorded)) for i, chunk in enumerate(chunks)
        }
        for number in range(self._steps):
            recorded = RecordedContext()
            before = self._step(number, before, recorded)
            for index, state in list(states.items()):
                if _is_cancelled(polls[index]):
                    del states[index]
                else:
                    states[index] = self._step(number, state, ReplayedContext(recorded))
            if not states:
                break
        return [states[i].x[0] if i in states else None for i in range(len(chunks))]

    def _begin(self, conditions: Sequence[Condition], before: NoContext) -> _State:
        rows = pad_sequence([condition.rows() for condition in conditions], batch_first=True)
        if self._guidance is not None:
            rows = torch.cat([rows, torch.zeros_like(rows)])
        noise = pad_sequence([condition.noise for condition in conditions], batch_first=True)
        return _State(noise, *self._estimator.prepare(rows, before))

    def _step(self, number: int, state: _State, before: NoContext) -> _State:
        slopes = self._estimator(state, self._times[number], before)
        slope = slopes[: len(state.x)]
        if self._guidance is not None:
            unguided = slopes[len(state.x) :]
            slope = (1.0 + self._guidance) * slope - self._guidance * unguided
        return replace(state, x=state.x + self._lengths[number] * slope)


def _is_cancelled(poll: Callable[[], None]) -> bool:
    try:
        poll()
    except Cancelled:
        return True
    return False


@dataclass(frozen=True)
class _State:
    """A flow at work.

    Attributes:
        x: (utterances, time, 80).
        still, shortcut: (rows, time, channels), what the first layers make of the conditions;
            with guidance the utterances' rows, then as many without a condition.
    """

    x: Tensor
    static: Tensor
    shortcut: Tensor


def _time_embeddings(estimator: Any, times: Tensor, meanflow: bool) -> list[list[Tensor]]:
    """For each step what each resnet adds, (channels,)."""
    embedded = estimator.time_mlp(estimator.time_embeddings(times))
    starts, ends = embedded[:-1], embedded[1:]
    if meanflow:
        starts = estimator.time_embed_mixer(torch.cat([starts, ends], dim=1))
    added = [block[0].mlp(starts) for block in _blocks(estimator)]
    return [[rows[step] for rows in added] for step in range(len(starts))]


def _blocks(estimator: Any) -> list[Any]:
    return [*estimator.down_blocks, *estimator.mid_blocks, *estimator.up_blocks]


class _Estimator:
    """The network; its frames are (rows, time, channels) throughout."""

    def __init__(self, upstream: Any, dtype: torch.dtype):
        (down,), (up,) = upstream.down_blocks, upstream.up_blocks
        self._dtype = dtype
        self._first = _FirstResnet(down[0], dtype)
        self._resnets = [_Resnet(block[0], dtype) for block in (*upstream.mid_blocks, up)]
        self._attentions = [
            [_Transformer(block, dtype) for block in part[1]] for part in _blocks(upstream)
        ]
        self._down, self._up = Convolution.of(down[2], dtype), Convolution.of(up[2], dtype)
        self._final = _Block(upstream.final_block, dtype)
        self._projection = Linear(
            upstream.final_proj.weight.squeeze(-1), upstream.final_proj.bias, dtype=dtype
        )

    def prepare(self, rows: Tensor, before: NoContext) -> tuple[Tensor, Tensor]:
        return self._first.prepare(rows.to(self._dtype), before)

    def __call__(self, state: _State, times: list[Tensor], before: NoContext) -> Tensor:
        """The slopes, (rows, time, 80), in float32; see `_State` for the rows."""
        times = [time.to(self._dtype) for time in times]
        first, *middle, last = self._attentions
        x = self._first(state, times[0], before)
        x = skip = _attended(first, x, before)
        x = self._down(before.prepend(x, 2))
        for resnet, attention, time in zip(self._resnets[:-1], middle, times[1:-1], strict=True):
            x = _attended(attention, resnet(x, time, before), before)
        x = self._resnets[-1](torch.cat([x, skip], dim=-1), times[-1], before)
        x = self._up(before.prepend(_attended(last, x, before), 2))
        return self._projection(self._final(x, before)).float()


def _attended(transformers: list[_Transformer], x: Tensor, before: NoContext) -> Tensor:
    for transformer in transformers:
        x = transformer(x, before)
    return x


class _Block:
    """A causal convolution, a norm, mish."""

    def __init__(self, upstream: Any, dtype: torch.dtype):
        self._convolution = Convolution.of(upstream.block[0], dtype)
        self._norm = Norm(upstream.block[2], dtype)

    def __call__(self, x: Tensor, before: NoContext) -> Tensor:
        return functional.mish(self._norm(self._convolution(before.prepend(x, 2))))


class _Resnet:
    def __init__(self, upstream: Any, dtype: torch.dtype):
        self._block1 = _Block(upstream.block1, dtype)
        self._block2 = _Block(upstream.block2, dtype)
        shortcut = upstream.res_conv
        self._shortcut = Linear(shortcut.weight.squeeze(-1), shortcut.bias, dtype=dtype)

    def __call__(self, x: Tensor, time: Tensor, before: NoContext) -> Tensor:
        y = self._block2(self._block1(x, before) + time, before)
        return y.add_(self._shortcut(x))


class _FirstResnet:
    """The first resnet: most of its input is the same at each step, and is put in once."""

    def __init__(self, upstream: Any, dtype: torch.dtype):
        convolution, shortcut = upstream.block1.block[0], upstream.res_conv
        wide, flat = convolution.weight, shortcut.weight.squeeze(-1)
        self._dynamic = Convolution(wide[:, :MELS], dtype=dtype)
        self._static = Convolution(wide[:, MELS:], convolution.bias, dtype=dtype)
        self._dynamic_shortcut = Linear(flat[:, :MELS], dtype=dtype)
        self._static_shortcut = Linear(flat[:, MELS:], shortcut.bias, dtype=dtype)
        self._norm = Norm(upstream.block1.block[2], dtype)
        self._block2 = _Block(upstream.block2, dtype)

    def prepare(self, rows: Tensor, before: NoContext) -> tuple[Tensor, Tensor]:
        return self._static(before.prepend(rows, 2)), self._static_shortcut(rows)

    def __call__(self, state: _State, time: Tensor, before: NoContext) -> Tensor:
        x = state.x.to(time.dtype)
        y = functional.mish(
            self._norm(_add_static(self._dynamic(before.prepend(x, 2)), state.static))
        )
        y = self._block2(y + time, before)
        return y.add_(_add_static(self._dynamic_shortcut(x), state.shortcut))


def _add_static(dynamic: Tensor, static: Tensor) -> Tensor:
    """Utterances (n, ...) added to their rows (n or 2n, ...)."""
    return (dynamic + static.unflatten(0, (-1, len(dynamic)))).flatten(0, 1)


class _Transformer:
    def __init__(self, upstream: Any, dtype: torch.dtype):
        attention, (wide, _, narrow) = upstream.attn1, upstream.ff.net
        self._heads = attention.heads
        weights = [attention.to_q.weight, attention.to_k.weight, attention.to_v.weight]
        self._width = len(weights[0])
        weights.append(weights[0].new_zeros(PAD, weights[0].shape[1]))
        self._qkv = Linear(torch.cat(weights), dtype=dtype)
        self._out = Linear.of(attention.to_out[0], dtype)
        self._norm1, self._norm3 = Norm(upstream.norm1, dtype), Norm(upstream.norm3, dtype)
        self._wide, self._narrow = Linear.of(wide.proj, dtype), Linear.of(narrow, dtype)

    def __call__(self, x: Tensor, before: NoContext) -> Tensor:
        """(rows, time, channels) -> the same."""
        x = self._out(self._attended(self._norm1(x), before)).add_(x)
        return self._narrow(self._wide(self._norm3(x), "gelu")).add_(x)

    def _attended(self, x: Tensor, before: NoContext) -> Tensor:
        parts = self._qkv(x)[..., : 3 * self._width].unflatten(-1, (3, self._heads, -1))
        parts = parts.permute(2, 0, 3, 1, 4)
        keys, values = before.keys(parts[1:])
        y = _attention(parts[0], keys, values, before.seen)
        return y.transpose(1, 2).flatten(2)


def _attention(queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
    size = queries.shape[-2]
    if WORTH_WIDENING <= size < WIDE_QUERIES and queries.device.type == "cpu":
        queries = functional.pad(queries, (0, 0, 0, WIDE_QUERIES - size))
    found = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
    return found[:, :, :size]
