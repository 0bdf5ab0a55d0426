"""Our own way from sentences to sound: decoded together, made audible as they end."""

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
from voicelab.engines.chatterbox.reading import read, valid
from voicelab.engines.chatterbox.sentence import Row, Sentence
from voicelab.engines.chatterbox.synthesis import RUN, Piece, Synthesis
from voicelab.engines.chatterbox.voices import Voices, own_copy
from voicelab.engines.chatterbox.waveform import checked, lacks_memory, reason
from voicelab.errors import Cancelled, SpeechFailed

__all__ = ["Pipeline"]

log = logging.getLogger(__name__)

SILENCE_TOKEN = 4299
"""chatterbox.models.s3gen.const.S3GEN_SIL; Turbo ends with three."""


@dataclass(frozen=True)
class Parts:
    """What a pipeline is put together from: upstream's model and our parts of it.

    Attributes:
        batch_size: sentences decoded at once.
        gathered: sentences that are decoded wait for each other, to be made audible at once.
    """

    model: Any
    voices: Voices
    decoder: Decoder
    synthesis: Synthesis
    batch_size: int
    gathered: bool


class Pipeline:
    """Speaks with T3 and S3Gen decoded by our own loops.

    Args:
        parts: see `Parts`.
        kernel: name of the matrix products', for the record.
        lock: of the process: two models on the same cores are slower than one after the other.
    """

    def __init__(self, parts: Parts, kernel: str, lock: threading.Lock):
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
        while batch.goes_on():
            # inference_mode belongs to the thread that computes, and not to whoever listens.
            with self._lock, torch.inference_mode():
                spoken = batch.advance()
            if spoken is not None:
                yield spoken


class _Batch:
    """The sentences of one call: waiting, being decoded, to be made audible."""

    def __init__(
        self,
        parts: Parts,
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
        self._sounding: Iterator[Spoken] | None = None
        self._limit = parts.batch_size

    def goes_on(self) -> bool:
        """Whether something is left, or more is to be had."""
        left = self._waiting or self._rows or self._ready or self._failed or self._sounding
        return bool(left) or self._filled()

    def advance(self) -> Spoken | None:
        """One step of whatever is next; an utterance's end, when it was one."""
        if self._failed:
            return self._failed.popleft()
        if self._sounding is not None:
            spoken = next(self._sounding, None)
            if spoken is None:
                self._sounding = None
            return spoken
        self._drop_cancelled()
        if pieces := self._due():
            self._sounding = self._sounds(pieces)
        elif self._waiting and len(self._rows) < self._limit:
            self._begin(self._waiting.popleft())
        elif self._rows:
            self._step()
            self._filled()
        return None

    def _filled(self) -> bool:
        """Whether there is something to begin, asked for where there is room."""
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

    def _due(self) -> dict[int, Piece]:
        """Gathered sentences wait for each other; one that somebody waits for goes before them."""
        urgent = [index for index in self._ready if self._utterances[index].urgent]
        busy = bool(self._rows or self._waiting) and len(self._ready) < RUN
        if self._parts.gathered and busy and not urgent:
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
        """Without memory for one more, go on with those there are."""
        if not lacks_memory(error) or not self._rows:
            self._fail(index, error)
            return
        self._limit = len(self._rows)
        self._waiting.appendleft(index)
        _say_smaller(self._limit)

    def _step(self) -> None:
        try:
            self._parts.decoder.step(list(self._rows.values()))
        except Exception as error:
            if lacks_memory(error) and len(self._rows) > 1:
                self._halve()
                return
            for index in self._rows:
                self._fail(index, error)
            self._rows.clear()
        self._settle()

    def _halve(self) -> None:
        """The later half begins again when the others are done: the same seed, the same sound."""
        self._limit = len(self._rows) // 2
        for index in reversed(list(self._rows)[self._limit :]):
            del self._rows[index]
            self._waiting.appendleft(index)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _say_smaller(self._limit)

    def _settle(self) -> None:
        """Rows that ended become pieces of sound to make."""
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
            text=read(model, utterance),
            key=(utterance.voice.key, exaggeration),
            conditioning=conditioning,
            parameters=parameters,
            generator=generator,
            reference=voice.gen,
        )

    def _piece(self, index: int, row: Row) -> Piece:
        tokens = valid(torch.tensor(row.tokens, device=self._parts.model.t3.device))
        if self._parts.model.t3.is_gpt:
            tokens = torch.cat([tokens, tokens.new_full((3,), SILENCE_TOKEN)])
        key, sentence = self._utterances[index].voice.key, row.sentence

        def poll() -> None:
            if self._cancelled(index):
                raise Cancelled

        return Piece(tokens, sentence.reference, key, sentence.generator, poll)

    def _sounds(self, pieces: dict[int, Piece]) -> Iterator[Spoken]:
        """Gathered, or one by one: then what fails fails alone."""
        indices = list(pieces)
        groups = [indices] if self._parts.gathered else [[index] for index in indices]
        for group in groups:
            left = set(group)
            try:
                for n, wave in self._parts.synthesis.waves([pieces[index] for index in group]):
                    left.discard(group[n])
                    yield self._sound(group[n], wave)
            except Exception as error:
                for index in sorted(left):
                    self._begin_later(index, error)

    def _sound(self, index: int, wave: Tensor) -> Spoken:
        try:
            return Spoken(index, checked(self._marked(wave)))
        except Exception as error:
            return _failed(index, error)

    def _marked(self, wave: Tensor) -> Tensor:
        """With the watermark that upstream puts into every sound."""
        samples = wave.detach().cpu().numpy()
        model = self._parts.model
        return torch.from_numpy(model.watermarker.apply_watermark(samples, sample_rate=model.sr))

    def _fail(self, index: int, error: Exception) -> None:
        self._failed.append(_failed(index, error))


def _failed(index: int, error: Exception) -> Spoken:
    if not isinstance(error, SpeechFailed):
        log.warning("a sentence failed", exc_info=error)
        error = SpeechFailed(reason(error))
    return Spoken(index, failure=error)


def _say_smaller(limit: int) -> None:
    log.warning("there is not enough memory: going on with %d sentences at once", limit)
