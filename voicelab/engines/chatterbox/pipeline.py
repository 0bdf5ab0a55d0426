"""Sentences to samples: batched decoding by T3, then synthesis by S3Gen as sentences end."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from voicelab.engines.base import Spoken, Utterance
from voicelab.engines.chatterbox.decoding import Decoder
from voicelab.engines.chatterbox.rules import kept_samples
from voicelab.engines.chatterbox.sentence import Row, Sentence
from voicelab.engines.chatterbox.synthesis import RUN, Piece, Synthesis
from voicelab.engines.chatterbox.tokens import text_token_ids, valid_speech_tokens
from voicelab.engines.chatterbox.voices import Voices, own_copy
from voicelab.engines.chatterbox.waveform import failure_message, finite_samples, is_out_of_memory
from voicelab.errors import Cancelled, SpeechFailed

__all__ = ["Pipeline"]

log = logging.getLogger(__name__)

SILENCE_TOKEN = 4299
"""chatterbox.models.s3gen.const.S3GEN_SIL; Turbo ends with three."""


@dataclass(frozen=True)
class PipelineParts:
    """The components of a pipeline: upstream's model and our replacements of its parts.

    Attributes:
        batch_size: sentences decoded at once.
        batch_synthesis: decoded sentences wait for each other and are synthesized together.
    """

    model: Any
    voices: Voices
    decoder: Decoder
    synthesis: Synthesis
    batch_size: int
    batch_synthesis: bool


class Pipeline:
    """Speaks with T3 and S3Gen decoded by our own loops.

    Args:
        parts: see `PipelineParts`.
        kernel: name of the matrix products', for the record.
        lock: of the process: two models on the same cores are slower than one after the other.
    """

    def __init__(self, parts: PipelineParts, kernel: str, lock: threading.Lock):
        self.kernel = kernel
        self.batch_size = parts.batch_size
        self.model = parts.model
        self._parts = parts
        self._lock = lock

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: Callable[[int], Sequence[Utterance]],
    ) -> Iterator[Spoken]:
        """See `Engine.speak`."""
        batch = _Batch(self._parts, utterances, cancelled, more)
        while batch.has_work():
            # inference_mode belongs to the thread that computes, and not to whoever listens.
            with self._lock, torch.inference_mode():
                spoken = batch.advance()
            if spoken is not None:
                yield spoken


class _Batch:
    """The sentences of one call: waiting, being decoded, waiting for synthesis."""

    def __init__(
        self,
        parts: PipelineParts,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: Callable[[int], Sequence[Utterance]],
    ):
        self._parts = parts
        self._cancelled = cancelled
        self._more = more
        self._utterances = list(utterances)
        self._waiting = deque(range(len(utterances)))
        self._rows: dict[int, Row] = {}
        self._ready: dict[int, Piece] = {}
        self._failed: deque[Spoken] = deque()
        self._synthesis: Iterator[Spoken] | None = None
        self._limit = parts.batch_size

    def has_work(self) -> bool:
        """Whether a sentence is unfinished, or the scheduler has more."""
        left = self._waiting or self._rows or self._ready or self._failed or self._synthesis
        return bool(left) or self._fetch_more()

    def advance(self) -> Spoken | None:
        """Do the next step; the utterance that it finished, if any."""
        if self._failed:
            return self._failed.popleft()
        if self._synthesis is not None:
            spoken = next(self._synthesis, None)
            if spoken is None:
                self._synthesis = None
            return spoken
        self._drop_cancelled()
        if pieces := self._pieces_to_synthesize():
            self._synthesis = self._synthesize(pieces)
        elif self._waiting and len(self._rows) < self._limit:
            self._begin(self._waiting.popleft())
        elif self._rows:
            self._step()
            self._fetch_more()
        return None

    def _fetch_more(self) -> bool:
        """Ask the scheduler for sentences while there is room; whether any wait to begin."""
        free = self._limit - len(self._rows) - len(self._waiting)
        if free > 0:
            fresh = self._more(free)
            first = len(self._utterances)
            self._utterances += fresh
            self._waiting += range(first, first + len(fresh))
        return bool(self._waiting)

    def _drop_cancelled(self) -> None:
        for index in [index for index in self._rows if self._cancelled(index)]:
            del self._rows[index]
        self._waiting = deque(index for index in self._waiting if not self._cancelled(index))

    def _pieces_to_synthesize(self) -> dict[int, Piece]:
        """The pieces to synthesize now: urgent ones at once, others when enough are decoded."""
        urgent = [index for index in self._ready if self._utterances[index].urgent]
        busy = bool(self._rows or self._waiting) and len(self._ready) < RUN
        if self._parts.batch_synthesis and busy and not urgent:
            return {}
        return {index: self._ready.pop(index) for index in urgent or list(self._ready)}

    def _begin(self, index: int) -> None:
        utterance = self._utterances[index]
        try:
            row = self._parts.decoder.begin(self._sentence(utterance))
        except SpeechFailed as error:
            self._fail(index, error)
        except Exception as error:
            self._begin_later(index, error)
        else:
            self._rows[index] = row
            self._settle()

    def _begin_later(self, index: int, error: Exception) -> None:
        """After an out-of-memory error: requeue the sentence and lower the batch size."""
        if not is_out_of_memory(error) or not self._rows:
            self._fail(index, error)
            return
        self._limit = len(self._rows)
        self._waiting.appendleft(index)
        _warn_smaller_batch(self._limit)

    def _step(self) -> None:
        try:
            self._parts.decoder.step(list(self._rows.values()))
        except Exception as error:
            if is_out_of_memory(error) and len(self._rows) > 1:
                self._halve()
                return
            for index in self._rows:
                self._fail(index, error)
            self._rows.clear()
        self._settle()

    def _halve(self) -> None:
        """Halve the batch; the later half is decoded again later, with the same seeds."""
        self._limit = len(self._rows) // 2
        for index in reversed(list(self._rows)[self._limit :]):
            del self._rows[index]
            self._waiting.appendleft(index)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _warn_smaller_batch(self._limit)

    def _settle(self) -> None:
        """Move rows that have ended to the pieces waiting for synthesis, or to the failures."""
        for index in [index for index, row in self._rows.items() if row.ended]:
            row = self._rows.pop(index)
            try:
                if row.failure is not None:
                    self._fail(index, row.failure)
                elif row.capped:  # its sound would be thrown away: it is spoken in two halves
                    self._failed.append(Spoken(index, capped=True))
                else:
                    self._ready[index] = self._piece(index, row)
            except SpeechFailed as error:
                self._fail(index, error)

    def _sentence(self, utterance: Utterance) -> Sentence:
        model = self._parts.model
        parameters = utterance.parameters
        voice = own_copy(self._parts.voices.get(utterance.voice))
        conditioning = voice.t3
        exaggeration = parameters.get("exaggeration")
        if exaggeration is not None:
            conditioning.cond_prompt_speech_emb = None
            conditioning.emotion_adv = torch.full((1, 1, 1), exaggeration, device=model.t3.device)
        generator = torch.Generator(device=model.t3.device).manual_seed(utterance.seed)
        return Sentence(
            text=text_token_ids(model, utterance),
            key=(utterance.voice.key, exaggeration),
            conditioning=conditioning,
            parameters=parameters,
            generator=generator,
            reference=voice.gen,
        )

    def _piece(self, index: int, row: Row) -> Piece:
        tokens = valid_speech_tokens(torch.tensor(row.tokens, device=self._parts.model.t3.device))
        if self._parts.model.t3.is_gpt:
            tokens = torch.cat([tokens, tokens.new_full((3,), SILENCE_TOKEN)])
        key, sentence = self._utterances[index].voice.key, row.sentence

        def poll() -> None:
            if self._cancelled(index):
                raise Cancelled

        return Piece(tokens, sentence.reference, key, sentence.generator, poll)

    def _synthesize(self, pieces: dict[int, Piece]) -> Iterator[Spoken]:
        """Synthesize pieces together, or one by one, so that one failure affects one piece."""
        indices = list(pieces)
        groups = [indices] if self._parts.batch_synthesis else [[index] for index in indices]
        for group in groups:
            left = set(group)
            try:
                for n, wave in self._parts.synthesis.waves([pieces[index] for index in group]):
                    left.discard(group[n])
                    yield self._spoken(group[n], self._heard(wave, pieces[group[n]]))
            except Exception as error:
                for index in sorted(left):
                    self._begin_later(index, error)

    def _heard(self, wave: Tensor, piece: Piece) -> Tensor:
        if self._parts.model.t3.rules.drops_last_token:
            return wave[: kept_samples(len(piece.tokens))]
        return wave

    def _spoken(self, index: int, wave: Tensor) -> Spoken:
        try:
            return Spoken(index, finite_samples(self._watermarked(wave)))
        except Exception as error:
            return _failed(index, error)

    def _watermarked(self, wave: Tensor) -> Tensor:
        """With upstream's watermark."""
        samples = wave.detach().cpu().numpy()
        model = self._parts.model
        return torch.from_numpy(model.watermarker.apply_watermark(samples, sample_rate=model.sr))

    def _fail(self, index: int, error: Exception) -> None:
        self._failed.append(_failed(index, error))


def _failed(index: int, error: Exception) -> Spoken:
    if not isinstance(error, SpeechFailed):
        log.warning("a sentence failed", exc_info=error)
        error = SpeechFailed(failure_message(error))
    return Spoken(index, failure=error)


def _warn_smaller_batch(limit: int) -> None:
    log.warning("there is not enough memory: going on with %d sentences at once", limit)
