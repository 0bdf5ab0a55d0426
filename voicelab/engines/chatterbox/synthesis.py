"""Synthesis: speech tokens to samples at 24 kHz, as upstream's S3Gen computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.encoder import Encoder
from voicelab.engines.chatterbox.flow import MELS, Condition, Flow
from voicelab.engines.chatterbox.vocoder import Vocoder
from voicelab.engines.chatterbox.voices import Conditionals
from voicelab.errors import Cancelled

__all__ = ["Mode", "Piece", "Synthesis"]

Mode = Literal["exact", "fast", "draft"]

FRAMES_PER_TOKEN = 2
STEPS, MEANFLOW_STEPS = 10, 2


@dataclass(frozen=True)
class Piece:
    """One chunk's tokens.

    Attributes:
        tokens: int64 (n,), ids below 6,561; Turbo's with its three of silence at the end.
        reference: its voice, upstream's `conds.gen`.
        key: of the voice; equal keys have equal references.
        generator: in its state after the tokens were drawn; used up.
        poll: called before each step of the flow; raises Cancelled.
    """

    tokens: Tensor
    reference: Mapping[str, Any]
    key: str
    generator: torch.Generator
    poll: Callable[[], None]


@dataclass(frozen=True)
class _Reference:
    """A voice, as far as it is the same in each of its chunks.

    Attributes:
        embedded: (prompt tokens, channels).
        speaker: (80,).
        mel: (prompt frames, 80).
    """

    embedded: Tensor
    speaker: Tensor
    mel: Tensor


class Synthesis:
    """S3Gen without its ballast; one thread at a time.

    Args:
        s3gen: upstream's; its encoder, flow and vocoder are taken from it to be held once, what
            encodes a clip stays.
        mode: exact, fast (less exact) or draft (fast with half the steps).
    """

    def __init__(self, s3gen: Any, *, mode: Mode = "exact"):
        self._device = s3gen.device
        self._meanflow = bool(s3gen.meanflow)
        steps = MEANFLOW_STEPS if self._meanflow else STEPS
        with torch.inference_mode():
            self._encoder = Encoder(s3gen.flow)
            self._flow = Flow(s3gen.flow.decoder, steps=steps, meanflow=self._meanflow)
            self._vocoder = Vocoder(s3gen.mel2wav)
            self._fade = s3gen.trim_fade.clone()
        self._speaker = s3gen.flow.spk_embed_affine_layer
        self._references = Conditionals()
        s3gen.flow.encoder = s3gen.flow.encoder_proj = s3gen.flow.decoder = s3gen.mel2wav = None

    def waves(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Tensor]]:
        """Each piece's index and its samples, float32 (n,), without a watermark, when done.

        A piece whose `poll` raises Cancelled is left out.
        """
        for index, piece in enumerate(pieces):
            try:
                wave = self._wave(piece)
            except Cancelled:
                continue
            yield index, wave

    @torch.inference_mode()
    def _wave(self, piece: Piece) -> Tensor:
        piece.poll()
        reference = self._reference(piece)
        embedded = self._encoder.embed(piece.tokens.to(self._device))
        mean = self._encoder(torch.cat([reference.embedded, embedded]))
        known = functional.pad(reference.mel, (0, 0, 0, len(mean) - len(reference.mel)))
        noise = self._noise(piece, len(mean))
        mel = self._flow(noise, Condition(mean, reference.speaker, known), piece.poll)
        wave = self._vocoder(mel[len(reference.mel) :], piece.generator)
        wave[: len(self._fade)] *= self._fade[: len(wave)]
        return wave

    def _noise(self, piece: Piece, frames: int) -> Tensor:
        """(frames, 80), drawn in upstream's order."""
        own = FRAMES_PER_TOKEN * len(piece.tokens)
        sizes = [own, frames] if self._meanflow else [frames]
        drawn = [
            torch.randn((MELS, n), generator=piece.generator, device=piece.generator.device)
            for n in sizes
        ]
        if self._meanflow:  # the first replaces the end of the second
            drawn[-1][:, frames - own :] = drawn[0]
        return drawn[-1].t().contiguous().to(self._device)

    def _reference(self, piece: Piece) -> _Reference:
        return self._references.get(piece.key, lambda: self._encoded(piece.reference))

    def _encoded(self, reference: Mapping[str, Any]) -> _Reference:
        given = {
            key: torch.as_tensor(reference[key]).to(self._device)
            for key in ("prompt_token", "prompt_feat", "embedding")
        }
        embedding = functional.normalize(torch.atleast_2d(given["embedding"].float()), dim=1)
        return _Reference(
            self._encoder.embed(given["prompt_token"].flatten().long()),
            self._speaker(embedding).squeeze(0),
            given["prompt_feat"].float().reshape(-1, MELS),
        )
