"""Synthesis: speech tokens to samples at 24 kHz, as upstream's S3Gen computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.encoder import Encoder
from voicelab.engines.chatterbox.flow import MELS, Condition, Flow
from voicelab.engines.chatterbox.info import Mode
from voicelab.engines.chatterbox.layers import packs_bfloat16
from voicelab.engines.chatterbox.lru_cache import LruCache
from voicelab.engines.chatterbox.vocoder import Vocoder

__all__ = ["RUN", "Piece", "Synthesis"]

FRAMES_PER_TOKEN = 2
STEPS, MEANFLOW_STEPS = 10, 2
RUN = 8
"""Pieces that share their prompt's frames at most; all are done together, at the end."""
PROMPT_SEED = 0
VOICES = 16
"""Kept as far as they are the same in each chunk; about 1.5 MB each."""


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
        mel: (prompt frames, 80).
        speaker: (80,).
    """

    embedded: Tensor
    mel: Tensor
    speaker: Tensor


class Synthesis:
    """S3Gen: tokens to samples; for one thread at a time.

    In each mode a piece's samples are the same, bit for bit, whatever pieces are beside it; to the
    rounding where several are computed at once.

    Args:
        s3gen: upstream's; its encoder, flow and vocoder are taken from it, to be held once. What
            encodes a clip stays.
        mode: "exact" is upstream's sound; "fast" computes the prompt's frames once for a run of
            pieces in one voice, in bfloat16 where the machine has it; "draft" is fast with half
            the steps.
        batch_size: pieces of similar length computed at once in mode exact.
    """

    def __init__(self, s3gen: Any, *, mode: Mode = "exact", batch_size: int = 1):
        self._batch_size = batch_size
        self._device = s3gen.device
        self._exact = mode == "exact"
        self._meanflow = bool(s3gen.meanflow)
        steps = MEANFLOW_STEPS if self._meanflow else STEPS
        steps = steps // 2 if mode == "draft" else steps
        dtype = torch.float32 if self._exact else _quick_dtype(self._device)
        decoder = s3gen.flow.decoder
        with torch.inference_mode():
            self._encoder = Encoder(s3gen.flow)
            self._flow = Flow(decoder, steps=steps, meanflow=self._meanflow, dtype=dtype)
            self._vocoder = Vocoder(s3gen.mel2wav)
            self._fade = s3gen.trim_fade.clone()
        self._speaker = s3gen.flow.spk_embed_affine_layer
        self._references: LruCache[_Reference] = LruCache(VOICES)
        self._prompts: LruCache[Condition] = LruCache(VOICES)
        s3gen.flow.encoder = s3gen.flow.encoder_proj = s3gen.flow.decoder = s3gen.mel2wav = None

    def waves(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Tensor]]:
        """Each piece's index and its samples, float32 (n,), without a watermark, when done.

        A piece whose `poll` raises Cancelled is left out.
        """
        for run in (
            _batches_by_length(pieces, self._batch_size)
            if self._exact
            else _batches_by_voice(pieces)
        ):
            mels = self._mels([pieces[index] for index in run])
            for index, mel in zip(run, mels, strict=True):
                if mel is not None:
                    yield index, self._wave(mel, pieces[index].generator)

    @torch.inference_mode()
    def _mels(self, run: Sequence[Piece]) -> list[Tensor | None]:
        """The mel frames, (time, 80), of pieces; None where one is cancelled."""
        voices = [self._voice(piece) for piece in run]
        owns = [len(voice.mel) for voice in voices]
        conditions = [self._condition(*each) for each in zip(run, voices, strict=True)]
        polls = [piece.poll for piece in run]
        if self._exact:
            mels = self._flow(conditions, polls)
            return [m if m is None else m[own:] for m, own in zip(mels, owns, strict=True)]
        prompt = self._prompts.get(run[0].key, lambda: self._prompt(voices[0]))
        return self._flow.with_shared_prompt(prompt, [c.after(owns[0]) for c in conditions], polls)

    def _voice(self, piece: Piece) -> _Reference:
        return self._references.get(piece.key, lambda: self._encoded(piece.reference))

    @torch.inference_mode()
    def _wave(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        wave = self._vocoder(mel, generator)
        wave[: len(self._fade)] *= self._fade[: len(wave)]
        return wave

    def _condition(self, piece: Piece, voice: _Reference) -> Condition:
        """Of the prompt's frames and the piece's."""
        embedded = self._encoder.embed(piece.tokens.to(self._device))
        mean = self._encoder(torch.cat([voice.embedded, embedded]))
        known = functional.pad(voice.mel, (0, 0, 0, len(mean) - len(voice.mel)))
        return Condition(self._noise(piece, len(mean)), mean, known, voice.speaker)

    def _noise(self, piece: Piece, frames: int) -> Tensor:
        """(frames, 80), drawn in upstream's order."""
        generator, own = piece.generator, FRAMES_PER_TOKEN * len(piece.tokens)
        sizes = [own, frames] if self._meanflow else [frames]
        *ends, noise = [_normal((MELS, size), generator) for size in sizes]
        for end in ends:  # of meanflow: it replaces what was drawn for these frames
            noise[:, frames - own :] = end
        return noise.t().contiguous().to(self._device)

    def _prompt(self, voice: _Reference) -> Condition:
        """Of the prompt's frames alone, always with the same noise."""
        mean = self._encoder(voice.embedded)[: len(voice.mel)]
        noise = _normal((len(mean), MELS), torch.Generator().manual_seed(PROMPT_SEED))
        return Condition(noise.to(self._device), mean, voice.mel[: len(mean)], voice.speaker)

    def _encoded(self, reference: Mapping[str, Any]) -> _Reference:
        tokens, mel, embedding = (
            torch.as_tensor(reference[key]).to(self._device)
            for key in ("prompt_token", "prompt_feat", "embedding")
        )
        embedding = functional.normalize(torch.atleast_2d(embedding.float()), dim=1)
        return _Reference(
            self._encoder.embed(tokens.flatten().long()),
            mel.float().reshape(-1, MELS),
            self._speaker(embedding).squeeze(0),
        )


def _batches_by_length(pieces: Sequence[Piece], most: int) -> Iterator[tuple[int, ...]]:
    """Indices by the pieces' lengths, at most `most` together."""
    order = sorted(range(len(pieces)), key=lambda index: len(pieces[index].tokens))
    return _batched(iter(order), most)


def _batches_by_voice(pieces: Sequence[Piece]) -> Iterator[tuple[int, ...]]:
    """Indices of neighbours in one voice, at most `RUN` together."""
    for _, same in groupby(range(len(pieces)), key=lambda index: pieces[index].key):
        yield from _batched(same, RUN)


def _batched(indices: Iterator[int], most: int) -> Iterator[tuple[int, ...]]:
    while run := tuple(islice(indices, most)):
        yield run


def _normal(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.randn(size, generator=generator, device=generator.device)


def _quick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where it is computed, not emulated."""
    native = False
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, name, bool)() for name in asked) and packs_bfloat16()
    return torch.bfloat16 if native else torch.float32
