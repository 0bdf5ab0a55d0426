"""Placeholder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from voicelab.engines.chatterbox.quiet import hushed
from voicelab.errors import Cancelled


@dataclass(frozen=True)
class Piece:
    tokens: Tensor
    reference: Mapping[str, Any]
    key: str
    generator: torch.Generator
    poll: Callable[[], None]


class Synthesis:
    def __init__(self, s3gen: Any, *, mode: str = "exact"):
        self._s3gen = s3gen

    def waves(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Tensor]]:
        for index, piece in enumerate(pieces):
            try:
                piece.poll()
            except Cancelled:
                continue
            torch.random.set_rng_state(piece.generator.get_state())
            with hushed():
                wave, _ = self._s3gen.inference(
                    speech_tokens=piece.tokens,
                    ref_dict=dict(piece.reference),
                    n_cfm_timesteps=2 if self._s3gen.meanflow else None,
                )
            yield index, wave.squeeze(0)
