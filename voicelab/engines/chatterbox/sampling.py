"""From logits to the next speech token, as upstream draws it, with a generator a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from voicelab.engines.chatterbox.waveform import NOT_FINITE
from voicelab.errors import SpeechFailed

__all__ = ["BatchSampler", "Sampler", "TurboSampler"]

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
        from transformers import TopPLogitsWarper  # of the extra chatterbox

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
        token = _sampled(logits, self._generator)
        self._ids = torch.cat([self._ids, token], dim=1)
        return int(token)

    def correct(self, token: int) -> None:
        """Another token than the last one drawn is spoken."""
        self._ids[0, -1] = token


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
        from transformers import TopKLogitsWarper, TopPLogitsWarper  # of the extra chatterbox

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
        token = _sampled(_penalized(logits, ids, self._penalty), self._generator)
        self._ids = torch.cat([self._ids, token], dim=1)
        return int(token)

    def correct(self, token: int) -> None:
        """Another token than the last one drawn is spoken."""
        self._ids[0, -1] = token


class BatchSampler:
    """Samples the next tokens of many sentences at once, without synchronizing with the device.

    Args:
        parameters: of each sentence; see `Sampler`, `TurboSampler`.
        ids: of each, the tokens to be penalized.
        generators: of each.
        vocabulary: how many tokens there are.
        turbo: in whose order.
    """

    def __init__(
        self,
        parameters: Sequence[Mapping[str, float]],
        ids: Sequence[Sequence[int]],
        generators: Sequence[torch.Generator],
        vocabulary: int,
        *,
        turbo: bool,
    ):
        device = generators[0].device

        def column(name: str, unset: float = 1.0) -> Tensor:
            return torch.tensor([[p.get(name, unset)] for p in parameters], device=device)

        self._temperature, self._penalty = column("temperature"), column("repetition_penalty")
        self._min_p, self._top_p = column("min_p", 0.0), column("top_p")
        self._top_k = column("top_k").long().clamp(1, vocabulary)
        self._warped = self._turbo if turbo else self._guided
        self._generators = generators
        self._noise = torch.empty(len(parameters), vocabulary, device=device)
        self._seen = torch.zeros(len(parameters), vocabulary, dtype=torch.bool, device=device)
        at = [(row, token) for row, tokens in enumerate(ids) for token in tokens]
        self._seen[tuple(torch.tensor(at, device=device).t())] = True
        self.finite = torch.ones(len(parameters), dtype=torch.bool, device=device)

    def __call__(self, logits: Tensor) -> Tensor:
        """The next tokens, int64 (n,), for logits (n, vocabulary)."""
        shares = self._warped(logits).softmax(-1)
        self.finite &= torch.isfinite(shares).all(-1)
        for row, generator in enumerate(self._generators):
            self._noise[row].exponential_(1, generator=generator)
        # As torch.multinomial draws one, which would take a call for each generator.
        tokens = (shares / self._noise).argmax(-1)
        self._seen.scatter_(1, tokens[:, None], True)
        return tokens

    @staticmethod
    def skip(generator: torch.Generator, count: int, vocabulary: int) -> None:
        """Advance a generator by `count` draws."""
        noise = torch.empty(vocabulary, device=generator.device)
        for _ in range(count):
            noise.exponential_(1, generator=generator)

    def _guided(self, logits: Tensor) -> Tensor:
        logits = self._penalized(logits) / self._temperature
        shares = logits.softmax(-1)
        least = self._min_p * shares.max(-1, keepdim=True).values
        return self._top_p_filtered(logits.masked_fill(shares < least, -torch.inf))

    def _turbo(self, logits: Tensor) -> Tensor:
        logits = logits / self._temperature
        least = logits.sort(-1, descending=True).values.gather(1, self._top_k - 1)
        return self._penalized(self._top_p_filtered(logits.masked_fill(logits < least, -torch.inf)))

    def _penalized(self, logits: Tensor) -> Tensor:
        penalized = torch.where(logits < 0, logits * self._penalty, logits / self._penalty)
        return torch.where(self._seen, penalized, logits)

    def _top_p_filtered(self, logits: Tensor) -> Tensor:
        """transformers' TopPLogitsWarper, with a limit for each row."""
        ordered, places = logits.sort(-1)
        unlikely = ordered.softmax(-1).cumsum(-1) <= 1 - self._top_p
        unlikely[:, -1] = False
        return logits.masked_fill(unlikely.scatter(1, places, unlikely), -torch.inf)


def _penalized(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    if penalty == 1:
        return logits
    found = logits.gather(1, ids)
    return logits.scatter(1, ids, torch.where(found < 0, found * penalty, found / penalty))


def _sampled(logits: Tensor, generator: torch.Generator) -> Tensor:
    """(1, 1)"""
    shares = logits.softmax(-1)
    if not bool(torch.isfinite(shares).all()):
        raise SpeechFailed(NOT_FINITE)
    return torch.multinomial(shares, 1, generator=generator)
