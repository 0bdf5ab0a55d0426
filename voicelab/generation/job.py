"""The chunks of one request: taken by the scheduler, given back in order."""

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
"""A reader that falls this far behind stops its own request, not the memory of the server."""


@dataclass(frozen=True)
class ChunkAudio:
    """One spoken chunk: float32 (n,) at the engine's rate, and the seed that made it."""

    chunk: Chunk
    samples: NDArray[np.float32]
    seed: int


class Job:
    """The chunks of one request; `results()` gives their audio in order.

    Args:
        engine: its name.
        chunks: what to say.
        clip: reference clip as a file, None for the engine's own voice.
        language, parameters: as in `Utterance`.
        seeds: of each chunk.
        use_cache: whether chunks spoken before may be given again.
        keep: whether its chunks are kept for that.
        listening: somebody hears it while it is made: its first chunk goes first, alone.
        on_start: called once, when the engine begins with the first chunk.
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
        self._given = 0
        self._held_bytes = 0
        self._error: VoicelabError | None = None
        self._wake: Callable[[], None] = lambda: None

    def results(self) -> Iterator[ChunkAudio]:
        """Each chunk's audio, in order, as soon as it is there.

        Raises:
            Cancelled: `cancel` was called.
            SpeechFailed, EngineUnavailable: naming the sentence.
        """
        for index in range(len(self.chunks)):
            with self._changed:
                self._changed.wait_for(lambda i=index: i in self._done or self._error)
                if index not in self._done:
                    raise self._error or Cancelled()
                audio = self._done.pop(index)
                self._held_bytes -= audio.samples.nbytes
                self._given = index + 1
            self._wake()
            yield audio

    def wait(self, timeout_s: float) -> bool:
        """Wait until `results` has something to give or to raise at once; whether it has."""
        with self._changed:
            limit_s = min(timeout_s, threading.TIMEOUT_MAX)
            return self._changed.wait_for(lambda: self.ready or self._over, limit_s)

    def cancel(self) -> None:
        """Stop it within one decoding step."""
        self.fail(Cancelled())

    def fail(self, error: VoicelabError) -> None:
        """End it; chunks not yet given are dropped. The first error stays."""
        with self._changed:
            if self._error is None:
                self._error = error
                if isinstance(error, Cancelled | Interrupted):
                    self._done.clear()
            self.cancelled.set()
            self._changed.notify_all()
        self._wake()

    def deliver(self, audio: ChunkAudio) -> None:
        """A chunk is ready; called by the scheduler."""
        with self._changed:
            if not self.cancelled.is_set():
                self._done[audio.chunk.index] = audio
                self._held_bytes += audio.samples.nbytes
            self._changed.notify_all()

    def attach(self, wake: Callable[[], None]) -> None:
        """Whom to tell when there is room for more; called by the scheduler."""
        self._wake = wake

    @property
    def error(self) -> VoicelabError | None:
        """What ended it; None as long as nothing has."""
        return self._error

    @property
    def finished(self) -> bool:
        """Nothing of it is left to give to an engine."""
        return self.cancelled.is_set() or self.next_index >= len(self.chunks)

    @property
    def over(self) -> bool:
        """All of it is spoken, or none of it is wanted any more."""
        spoken = self._given + len(self._done)
        return self.cancelled.is_set() or spoken >= len(self.chunks)

    @property
    def waiting(self) -> bool:
        """Whether its next chunk may be taken now."""
        ahead = self.next_index - self._given
        room = ahead < LOOKAHEAD_CHUNKS and self._held_bytes < LOOKAHEAD_BYTES
        return not self.finished and room

    @property
    def ready(self) -> bool:
        """Whether `results` has its next chunk at once."""
        return self._given in self._done

    @property
    def _over(self) -> bool:
        return self._error is not None or self._given >= len(self.chunks)

    @property
    def urgent(self) -> bool:
        """Whether somebody listens and has heard nothing of it yet."""
        heard = self._given or 0 in self._done
        return self.listening and not heard and not self.cancelled.is_set()
