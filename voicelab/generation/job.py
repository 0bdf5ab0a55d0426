"""The chunks of one request: taken by the scheduler, returned in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelab.errors import Cancelled, Interrupted, VoicelabError
from voicelab.text import Chunk

__all__ = ["LOOKAHEAD_CHUNKS", "ChunkAudio", "Job"]

LOOKAHEAD_CHUNKS, LOOKAHEAD_BYTES = 64, 16 << 20
"""Chunks and bytes spoken ahead of the reader; a slow reader pauses its own job only."""


@dataclass(frozen=True)
class ChunkAudio:
    """A spoken chunk: float32 (n,) at the engine's sample rate, and the seed that made it."""

    chunk: Chunk
    samples: NDArray[np.float32]
    seed: int


class Job:
    """The chunks of one request; `results()` gives their audio in order.

    Args:
        engine: name of the engine.
        chunks: what to speak.
        clip: reference clip as a file, None for the engine's own voice.
        language, parameters: as in `Utterance`.
        seeds: one for each chunk.
        use_cache: whether cached chunks may be used.
        keep: whether spoken chunks are added to the cache.
        listening: a client plays it while it is made: its first chunk is spoken first, and alone.
        on_start: called once, when the engine starts with the first chunk.
    """

    def __init__(
        self,
        *,
        engine: str,
        chunks: Sequence[Chunk],
        clip: Path | None,
        language: str,
        parameters: Mapping[str, float],
        seeds: Sequence[int],
        use_cache: bool = True,
        keep: bool = True,
        listening: bool = False,
        on_start: Callable[[], None] = lambda: None,
    ):
        self.engine = engine
        self.chunks = chunks
        self.clip = clip
        self.language = language
        self.parameters = parameters
        self.seeds = seeds
        self.use_cache = use_cache
        self.keep = keep
        self.listening = listening
        self.on_start = on_start
        self.next_index = 0
        self.cancelled = threading.Event()
        self._changed = threading.Condition()
        self._done: dict[int, ChunkAudio] = {}
        self._consumed = 0
        self._buffered_bytes = 0
        self._error: VoicelabError | None = None
        self._wake: Callable[[], None] = lambda: None

    def results(self) -> Iterator[ChunkAudio]:
        """The audio of each chunk, in order, as soon as it is available.

        Raises:
            Cancelled: `cancel` was called.
            SpeechFailed, EngineUnavailable: the message names the sentence.
        """
        for index in range(len(self.chunks)):
            with self._changed:
                self._changed.wait_for(lambda i=index: i in self._done or self._error)
                if index not in self._done:
                    raise self._error or Cancelled()
                audio = self._done.pop(index)
                self._buffered_bytes -= audio.samples.nbytes
                self._consumed = index + 1
            self._wake()
            yield audio

    def wait(self, timeout_s: float) -> bool:
        """Wait until `results` can continue without blocking.

        Args:
            timeout_s: longest wait in seconds.

        Returns:
            Whether it can.
        """
        with self._changed:
            limit_s = min(timeout_s, threading.TIMEOUT_MAX)
            return self._changed.wait_for(lambda: self.ready or self._has_ended, limit_s)

    def cancel(self) -> None:
        """Cancel the job; the engine stops within one decoding step."""
        self.fail(Cancelled())

    def fail(self, error: VoicelabError) -> None:
        """End the job with an error; only the first one counts. Undelivered chunks are dropped."""
        with self._changed:
            if self._error is None:
                self._error = error
                if isinstance(error, Cancelled | Interrupted):
                    self._done.clear()
            self.cancelled.set()
            self._changed.notify_all()
        self._wake()

    def deliver(self, audio: ChunkAudio) -> None:
        """Add the audio of a chunk; called by the scheduler."""
        with self._changed:
            if not self.cancelled.is_set():
                self._done[audio.chunk.index] = audio
                self._buffered_bytes += audio.samples.nbytes
            self._changed.notify_all()

    def attach(self, wake: Callable[[], None]) -> None:
        """Set the function to call when further chunks may be taken; called by the scheduler."""
        self._wake = wake

    @property
    def error(self) -> VoicelabError | None:
        """The error that ended the job; None if there is none."""
        return self._error

    @property
    def finished(self) -> bool:
        """Whether no chunk is left to give to an engine."""
        return self.cancelled.is_set() or self.next_index >= len(self.chunks)

    @property
    def over(self) -> bool:
        """Whether all chunks are spoken, or the job has ended with an error."""
        spoken = self._consumed + len(self._done)
        return self.cancelled.is_set() or spoken >= len(self.chunks)

    @property
    def waiting(self) -> bool:
        """Whether its next chunk may be taken now."""
        ahead = self.next_index - self._consumed
        room = ahead < LOOKAHEAD_CHUNKS and self._buffered_bytes < LOOKAHEAD_BYTES
        return not self.finished and room

    @property
    def ready(self) -> bool:
        """Whether `results` can give the next chunk at once."""
        return self._consumed in self._done

    @property
    def _has_ended(self) -> bool:
        return self._error is not None or self._consumed >= len(self.chunks)

    @property
    def urgent(self) -> bool:
        """Whether a client is listening and has no audio yet."""
        has_audio = self._consumed or 0 in self._done
        return self.listening and not has_audio and not self.cancelled.is_set()
