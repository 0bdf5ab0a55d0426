"""T3's decoding loop for GPUs, where launching a kernel costs more than running it.

All sentences are decoded in one call a step, captured once as a CUDA graph. Sampled tokens stay
on the device for STRIDE steps before they are copied to the host. Tokens equal those of
`Decoder`'s own loop up to the rounding of other shapes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from voicelab.engines.chatterbox.backbone import Backbone
from voicelab.engines.chatterbox.kv_cache import rounded_capacity
from voicelab.engines.chatterbox.linear import Linear
from voicelab.engines.chatterbox.sampling import BatchSampler
from voicelab.engines.chatterbox.sentence import Row
from voicelab.engines.chatterbox.slots import SlotAttention, Slots
from voicelab.engines.chatterbox.waveform import NOT_FINITE, is_out_of_memory
from voicelab.errors import SpeechFailed

__all__ = ["STRIDE", "Lockstep"]

log = logging.getLogger(__name__)

STRIDE = 8
"""Tokens drawn before the device is asked for them; what comes after an end is dropped."""


class Lockstep:
    """Decodes up to `count` sentences together, each in a slot of one key-value tensor.

    Args:
        t3: upstream's model; its speech embeddings are used.
        backbone: of it.
        head: hidden states to logits.
        count: of sentences at most.
    """

    def __init__(self, t3: Any, backbone: Backbone, head: Linear, count: int):
        self._t3, self._backbone, self._head = t3, backbone, head
        self._turbo = t3.is_gpt
        self._vocabulary = t3.hp.speech_tokens_dict_size
        self._slots = Slots(count, 1 if self._turbo else 2, backbone.cache(1))
        self._rows: list[Row | None] = [None] * count
        device = self._slots.positions.device
        self._tokens = torch.zeros(count, dtype=torch.long, device=device)
        self._drawn_counts = torch.zeros_like(self._tokens)
        self._weights = torch.zeros(count, 1, device=device)
        self._forward = _CudaGraphs(self._logits) if device.type == "cuda" else self._logits

    def step(self, rows: Sequence[Row]) -> None:
        """Up to `STRIDE` tokens more for each row, fewer where one ends."""
        slots = self._assigned_slots(rows)
        count = 1 << max(slots).bit_length()
        length = rounded_capacity(max(row.cache.length for row in rows) + STRIDE)
        if self._slots.reserve(length) and isinstance(self._forward, _CudaGraphs):
            self._forward.clear()
        states = [row.sentence.generator.get_state() for row in rows]
        try:
            drawn, finite = self._draw_tokens(rows, slots, min(count, len(self._rows)), length)
        except Exception:
            # No token was handed out: rows that go on draw the same ones again.
            for row, state in zip(rows, states, strict=True):
                row.sentence.generator.set_state(state)
            raise
        for row, tokens, is_number, state in zip(rows, drawn, finite, states, strict=True):
            if not is_number:
                row.failure = SpeechFailed(NOT_FINITE)
            elif (taken := row.extend(tokens)) < STRIDE:
                # The waveform's noise is drawn from where the end was, not from beyond it.
                row.sentence.generator.set_state(state)
                BatchSampler.skip(row.sentence.generator, taken, self._vocabulary)

    def _draw_tokens(
        self, rows: Sequence[Row], slots: list[int], count: int, length: int
    ) -> tuple[list[list[int]], list[bool]]:
        """STRIDE tokens of each row, and whether its probabilities were finite."""
        device = self._tokens.device
        at = torch.tensor(slots, device=device)
        self._write(rows, slots)
        sampler = self._sampler(rows)
        drawn = []
        for _ in range(STRIDE):
            tokens = sampler(self._forward(count, length)[at])
            self._tokens[at] = tokens
            self._drawn_counts += 1
            self._slots.positions += 1
            drawn.append(tokens)
        return torch.stack(drawn, dim=1).tolist(), sampler.finite.tolist()

    def _assigned_slots(self, rows: Sequence[Row]) -> list[int]:
        """The slot of each row; slots of rows that ended or were removed are reused."""
        here = {id(row) for row in rows}
        self._rows = [row if id(row) in here else None for row in self._rows]
        for row in rows:
            if row not in self._rows:
                slot = self._rows.index(None)
                self._slots.enter(slot, row.cache)
                self._rows[slot] = row
                row.cache.release()
        return [self._rows.index(row) for row in rows]

    def _write(self, rows: Sequence[Row], slots: Sequence[int]) -> None:
        """Copy each row's last token, count and position to the device; zeros for empty slots."""
        count = len(self._rows)
        tokens, drawn, positions = ([0] * count for _ in range(3))
        weights = [0.0] * count
        for row, slot in zip(rows, slots, strict=True):
            tokens[slot], drawn[slot] = row.tokens[-1], len(row.tokens)
            positions[slot] = row.cache.length
            weights[slot] = row.sentence.parameters.get("cfg_weight", 0.0)
        for target, values in ((self._tokens, tokens), (self._drawn_counts, drawn)):
            target.copy_(torch.tensor(values))
        self._weights.copy_(torch.tensor(weights)[:, None])
        self._slots.positions.copy_(torch.tensor(positions).repeat_interleave(self._slots.rows))

    def _sampler(self, rows: Sequence[Row]) -> BatchSampler:
        start = [] if self._turbo else [self._t3.hp.start_speech_token]
        return BatchSampler(
            [row.sentence.parameters for row in rows],
            [start + row.tokens for row in rows],
            [row.sentence.generator for row in rows],
            self._vocabulary,
            turbo=self._turbo,
        )

    def _logits(self, count: int, length: int) -> Tensor:
        """(count, vocabulary) after the tokens of the first slots."""
        x = self._t3.speech_emb(self._tokens[:count])
        if not self._turbo:
            x = x + self._t3.speech_pos_emb.emb(self._drawn_counts[:count])
        x = x.repeat_interleave(self._slots.rows, dim=0)
        logits = self._head(self._backbone(x, SlotAttention(self._slots, count, length)))
        if self._turbo:
            return logits
        guided, free = logits.unflatten(0, (count, 2)).unbind(1)
        return guided + self._weights[:count] * (guided - free)


class _CudaGraphs:
    """A function of two sizes, captured as a CUDA graph for each pair and then replayed."""

    def __init__(self, function: Callable[[int, int], Tensor]):
        self._function = function
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._works = True

    def __call__(self, count: int, length: int) -> Tensor:
        """The function's result; the next call overwrites it."""
        key = count, length
        if key not in self._graphs and self._works:
            self._record(*key)
        if not self._works:
            return self._function(*key)
        graph, result = self._graphs[key]
        graph.replay()
        return result

    def clear(self) -> None:
        """Drop all graphs, because the tensors they were captured with were reallocated."""
        self._graphs.clear()

    def _record(self, count: int, length: int) -> None:
        try:
            self._graphs[count, length] = self._recorded(count, length)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            log.warning("CUDA graphs cannot be recorded here: going on without", exc_info=True)
            self._works = False

    def _recorded(self, count: int, length: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        # Once beforehand, on a stream of its own: libraries make their workspaces at a first call.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._function(count, length)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self._function(count, length)
        return graph, result
