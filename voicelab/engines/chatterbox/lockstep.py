"""T3's decoding loop where starting a kernel costs more than running it: on a GPU.

All sentences take a step in one call, whose kernels are recorded once as a CUDA graph; what is
drawn stays there for a few steps before it is looked at. Tokens equal those of `Decoder`'s own
loop but for the roundings of other shapes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from voicelab.engines.chatterbox.backbone import Backbone
from voicelab.engines.chatterbox.caches import roomy
from voicelab.engines.chatterbox.linear import Linear
from voicelab.engines.chatterbox.sampling import Draws
from voicelab.engines.chatterbox.sentence import Row
from voicelab.engines.chatterbox.slots import Abreast, Slots
from voicelab.engines.chatterbox.waveform import NOT_FINITE, lacks_memory
from voicelab.errors import SpeechFailed

__all__ = ["STRIDE", "Lockstep"]

log = logging.getLogger(__name__)

STRIDE = 8
"""Tokens drawn before the device is asked for them; what comes after an end is dropped."""


class Lockstep:
    """Sentences in slots.

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
        self._drawn = torch.zeros_like(self._tokens)
        self._weights = torch.zeros(count, 1, device=device)
        self._forward = _Recorded(self._logits) if device.type == "cuda" else self._logits

    def step(self, rows: Sequence[Row]) -> None:
        """Up to `STRIDE` tokens more for each row, fewer where one ends."""
        slots = self._seated(rows)
        count = 1 << max(slots).bit_length()
        length = roomy(max(row.cache.length for row in rows) + STRIDE)
        if self._slots.reserve(length) and isinstance(self._forward, _Recorded):
            self._forward.forget()
        states = [row.sentence.generator.get_state() for row in rows]
        try:
            told, finite = self._stride(rows, slots, min(count, len(self._rows)), length)
        except Exception:
            # Nothing was told: those that go on draw the same again.
            for row, state in zip(rows, states, strict=True):
                row.sentence.generator.set_state(state)
            raise
        for row, tokens, is_number, state in zip(rows, told, finite, states, strict=True):
            if not is_number:
                row.failure = SpeechFailed(NOT_FINITE)
            elif (taken := row.take(tokens)) < STRIDE:
                # The waveform's noise is drawn from where the end was, not from beyond it.
                row.sentence.generator.set_state(state)
                Draws.skip(row.sentence.generator, taken, self._vocabulary)

    def _stride(
        self, rows: Sequence[Row], slots: list[int], count: int, length: int
    ) -> tuple[list[list[int]], list[bool]]:
        """The tokens of each row, and whether they came of numbers."""
        device = self._tokens.device
        at = torch.tensor(slots, device=device)
        self._write(rows, slots)
        draws = self._draws(rows)
        told = []
        for _ in range(STRIDE):
            tokens = draws(self._forward(count, length)[at])
            self._tokens[at] = tokens
            self._drawn += 1
            self._slots.positions += 1
            told.append(tokens)
        return torch.stack(told, dim=1).tolist(), draws.finite.tolist()

    def _seated(self, rows: Sequence[Row]) -> list[int]:
        """The slot of each; who ended or was taken away has left his to the next."""
        here = {id(row) for row in rows}
        self._rows = [row if id(row) in here else None for row in self._rows]
        for row in rows:
            if row not in self._rows:
                slot = self._rows.index(None)
                self._slots.enter(slot, row.cache)
                self._rows[slot] = row
                row.cache.give_back()
        return [self._rows.index(row) for row in rows]

    def _write(self, rows: Sequence[Row], slots: Sequence[int]) -> None:
        """Where each stands; an empty slot stands at its beginning."""
        count = len(self._rows)
        tokens, drawn, positions = ([0] * count for _ in range(3))
        weights = [0.0] * count
        for row, slot in zip(rows, slots, strict=True):
            tokens[slot], drawn[slot] = row.tokens[-1], len(row.tokens)
            positions[slot] = row.cache.length
            weights[slot] = row.sentence.parameters.get("cfg_weight", 0.0)
        for target, values in ((self._tokens, tokens), (self._drawn, drawn)):
            target.copy_(torch.tensor(values))
        self._weights.copy_(torch.tensor(weights)[:, None])
        self._slots.positions.copy_(torch.tensor(positions).repeat_interleave(self._slots.rows))

    def _draws(self, rows: Sequence[Row]) -> Draws:
        start = [] if self._turbo else [self._t3.hp.start_speech_token]
        return Draws(
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
            x = x + self._t3.speech_pos_emb.emb(self._drawn[:count])
        x = x.repeat_interleave(self._slots.rows, dim=0)
        logits = self._head(self._backbone(x, Abreast(self._slots, count, length)))
        if self._turbo:
            return logits
        guided, free = logits.unflatten(0, (count, 2)).unbind(1)
        return guided + self._weights[:count] * (guided - free)


class _Recorded:
    """A function of sizes whose kernels are recorded, for each of them once, and then replayed."""

    def __init__(self, function: Callable[[int, int], Tensor]):
        self._function = function
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._works = True

    def __call__(self, count: int, length: int) -> Tensor:
        """What the function gives, until the next call."""
        key = count, length
        if key not in self._graphs and self._works:
            self._record(*key)
        if not self._works:
            return self._function(*key)
        graph, result = self._graphs[key]
        graph.replay()
        return result

    def forget(self) -> None:
        """The tensors it was recorded with are gone."""
        self._graphs.clear()

    def _record(self, count: int, length: int) -> None:
        try:
            self._graphs[count, length] = self._recorded(count, length)
        except RuntimeError as error:
            if lacks_memory(error):
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
