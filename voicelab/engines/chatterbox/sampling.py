"""From logits to the next speech token, as upstream draws it, with a generator a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from voicelab.errors import SpeechFailed

__all__ = ["Sampler", "TurboSampler"]

Warper = Callable[..., Tensor]


class Sampler:
    """Of the English and the Multilingual model.

    Args:
        parameters: temperature, top_p, min_p, repetition_penalty, cfg_weight.
        generator: seeded; what it gives is what upstream draws after manual_seed.
        start_token: with which every sentence begins.
    """

    def __init__(
        self, parameters: Mapping[str, float], generator: torch.Generator, start_token: int
    ):
        from transformers import TopPLogitsWarper

        self._temperature = parameters["temperature"]
        self._min_p = parameters["min_p"]
        self._penalty = parameters["repetition_penalty"]
        top_p = parameters["top_p"]
        # At 1 it removes what has no probability anyway.
        self._top_p: Warper | None = TopPLogitsWarper(top_p) if top_p < 1 else None
        self._generator = generator
        self._ids = torch.tensor([[start_token]], device=generator.device)

    def draw(self, logits: Tensor) -> int:
        """The next token for logits (1, vocabulary)."""
        logits = _penalized(logits, self._ids, self._penalty)
        if self._temperature != 1:
            logits = logits / self._temperature
        if self._min_p > 0:
            shares = logits.softmax(-1)
            least = self._min_p * shares.max(-1, keepdim=True).values
            logits = logits.masked_fill(shares < least, -torch.inf)
        if self._top_p is not None:
            logits = self._top_p(self._ids, logits)
        token = _drawn(logits, self._generator)
        self._ids = torch.cat([self._ids, token], dim=1)
        return int(token)


class TurboSampler:
    """Of the Turbo model, where the repetition penalty comes last.

    Args:
        parameters: temperature, top_k, top_p, repetition_penalty.
        generator: see `Sampler`.
        start_token: penalized in the first draw alone.
    """

    def __init__(
        self, parameters: Mapping[str, float], generator: torch.Generator, start_token: int
    ):
        from transformers import TopKLogitsWarper, TopPLogitsWarper

        self._temperature = parameters["temperature"]
        self._penalty = parameters["repetition_penalty"]
        self._warpers: list[Warper] = [TopKLogitsWarper(int(parameters["top_k"]))]
        if parameters["top_p"] < 1:
            self._warpers.append(TopPLogitsWarper(parameters["top_p"]))
        self._generator = generator
        self._start = torch.tensor([[start_token]], device=generator.device)
        self._ids = self._start[:, :0]

    def draw(self, logits: Tensor) -> int:
        """The next token for logits (1, vocabulary)."""
        ids = self._ids if self._ids.shape[1] else self._start
        if self._temperature != 1:
            logits = logits / self._temperature
        for warper in self._warpers:
            logits = warper(ids, logits)
        token = _drawn(_penalized(logits, ids, self._penalty), self._generator)
        self._ids = torch.cat([self._ids, token], dim=1)
        return int(token)


def _penalized(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    if penalty == 1:
        return logits
    found = logits.gather(1, ids)
    return logits.scatter(1, ids, torch.where(found < 0, found * penalty, found / penalty))


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """(1, 1)"""
    shares = logits.softmax(-1)
    if not bool(torch.isfinite(shares).all()):
        raise SpeechFailed("the model's probabilities are not finite numbers.")
    return torch.multinomial(shares, 1, generator=generator)
