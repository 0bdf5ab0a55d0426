"""A sentence to be decoded by T3, and the state of its decoding."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from voicelab.engines.chatterbox.alignment import Alignment
from voicelab.engines.chatterbox.kv_cache import Cache

__all__ = ["CAP_TOKENS", "SPEECH_TOKENS", "STOP_TOKEN", "Row", "Sentence"]

CAP_TOKENS = 1000
"""Upstream's limit (40 s); Turbo draws one token before it begins to count."""
SPEECH_TOKENS = 6561
STOP_TOKEN = 6562


@dataclass(frozen=True)
class Sentence:
    """The input of T3 for one sentence.

    Attributes:
        text: token ids, int64 (n,); with start and stop where the model wants them.
        key: of the conditioning: voice and exaggeration.
        conditioning: upstream's T3Cond.
        parameters: see `Sampler`, `TurboSampler`.
        generator: on the model's device, seeded; left where the waveform's noise begins.
        reference: the voice, as S3Gen wants it: upstream's `conds.gen`.
    """

    text: Tensor
    key: Hashable
    conditioning: Any
    parameters: Mapping[str, float]
    generator: torch.Generator
    reference: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Row:
    """The decoding state of a sentence.

    Attributes:
        max_tokens: decoding stops at so many.
        tokens: sampled so far, the stop token included.
        failure: the error that ended the decoding.
    """

    sentence: Sentence
    cache: Cache
    sampler: Any
    max_tokens: int
    alignment: Alignment | None = None
    tokens: list[int] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether decoding is over: stop token, limit or failure."""
        return self.failure is not None or self.tokens[-1] == STOP_TOKEN or self.capped

    @property
    def capped(self) -> bool:
        """Whether the limit was reached without a stop token."""
        return len(self.tokens) >= self.max_tokens and self.tokens[-1] != STOP_TOKEN

    def extend(self, tokens: Sequence[int]) -> int:
        """Append sampled tokens until the row has ended; how many were appended."""
        for number, token in enumerate(tokens, 1):
            self.cache.length += 1
            self.tokens.append(token)
            if self.ended:
                return number
        return len(tokens)
