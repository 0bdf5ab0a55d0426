"""Chunks of all running requests, to the engine in batches, results back in order.

One worker thread owns the engines. It goes round the waiting requests and takes one chunk of
each in turn, so a short request never waits for a whole chapter.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import is_silent, trim_silence
from voicelab.cache import ChunkCache, chunk_key
from voicelab.engines import Engine, Rack, Utterance
from voicelab.errors import Cancelled, SpeechFailed, Unavailable, VoicelabError
from voicelab.records import MAX_SEED
from voicelab.text import Chunk, halves

__all__ = ["ChunkAudio", "Job", "Runner"]

log = logging.getLogger(__name__)

LOOKAHEAD_CHUNKS = 64
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
        self.on_start = on_start
        self.next_index = 0
        self.cancelled = threading.Event()
        self._changed = threading.Condition()
        self._done: dict[int, ChunkAudio] = {}
        self._given = 0
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
                self._given = index + 1
            self._wake()
            yield audio

    def cancel(self) -> None:
        """Stop it within one decoding step."""
        self.fail(Cancelled())

    def fail(self, error: VoicelabError) -> None:
        """End it; chunks not yet given are dropped. The first error stays."""
        with self._changed:
            if self._error is None:
                self._error = error
                if isinstance(error, Cancelled):
                    self._done.clear()
            self.cancelled.set()
            self._changed.notify_all()
        self._wake()

    def deliver(self, audio: ChunkAudio) -> None:
        """A chunk is ready; called by the runner."""
        with self._changed:
            if not self.cancelled.is_set():
                self._done[audio.chunk.index] = audio
            self._changed.notify_all()

    def attach(self, wake: Callable[[], None]) -> None:
        """Whom to tell when there is room for more; called by the runner."""
        self._wake = wake

    @property
    def finished(self) -> bool:
        """Nothing of it is left to give to an engine."""
        return self.cancelled.is_set() or self.next_index >= len(self.chunks)

    @property
    def waiting(self) -> bool:
        """Whether its next chunk may be taken now."""
        return not self.finished and self.next_index - self._given < LOOKAHEAD_CHUNKS


class Runner:
    """See the module.

    Args:
        rack: the engines.
        cache: chunks spoken before.
        max_queue: jobs that may wait or run at once.
    """

    def __init__(self, rack: Rack, cache: ChunkCache, max_queue: int = 100):
        self._rack = rack
        self._cache = cache
        self._max_queue = max_queue
        self._jobs: deque[Job] = deque()
        self._preload: str | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="voicelab-runner", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise Unavailable when a further job would be refused."""
        if self._closing:
            raise Unavailable("The lab is closing.")
        if len(self._jobs) >= self._max_queue:
            raise Unavailable(
                f"{len(self._jobs)} requests are waiting, as many as are allowed; try again later."
            )

    def submit(self, job: Job) -> Job:
        """Queue a job; raises as `check`."""
        with self._changed:
            self.check()
            job.attach(self._notify)
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def preload(self, engine: str) -> None:
        """Load an engine in the background, before the first request."""
        with self._changed:
            self._preload = engine
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel what runs and wait for the thread."""
        with self._changed:
            self._closing = True
            jobs = list(self._jobs)
        for job in jobs:
            job.fail(Cancelled("the lab was closed"))
        self._notify()
        self._thread.join()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                if self._closing:
                    return
                preload, self._preload = self._preload, None
                batch = [] if preload else self._take()
            if preload:
                self._try_load(preload)
            elif batch:
                self._speak_batch(batch)

    def _has_work(self) -> bool:
        self._jobs = deque(job for job in self._jobs if not job.finished)
        return self._closing or bool(self._preload) or any(job.waiting for job in self._jobs)

    def _take(self) -> list[tuple[Job, Chunk]]:
        """One chunk of each waiting job in turn, until the engine's batch is full."""
        first = next(job for job in self._jobs if job.waiting)
        size = self._rack.info(first.engine).batch_size
        batch: list[tuple[Job, Chunk]] = []
        idle = 0
        while len(batch) < size and idle < len(self._jobs):
            job = self._jobs[0]
            self._jobs.rotate(-1)
            if job.engine == first.engine and job.waiting:
                batch.append((job, job.chunks[job.next_index]))
                job.next_index += 1
                idle = 0
            else:
                idle += 1
        return batch

    def _try_load(self, name: str) -> Engine | VoicelabError:
        try:
            return self._rack.load(name)
        except VoicelabError as error:
            return error

    def _speak_batch(self, batch: list[tuple[Job, Chunk]]) -> None:
        engine = self._try_load(batch[0][0].engine)
        if isinstance(engine, VoicelabError):
            for job, _ in batch:
                job.fail(engine)
            return
        for job, chunk in batch:
            if chunk.index == 0:
                job.on_start()
        left = self._speak(engine, self._without_cached(engine, batch))
        # An engine fails as a whole; given one by one, only the sentence at fault fails.
        for job, chunk in left:
            self._speak_alone(engine, job, chunk)

    def _without_cached(
        self, engine: Engine, batch: list[tuple[Job, Chunk]]
    ) -> list[tuple[Job, Chunk]]:
        """Deliver what was spoken before; the rest."""
        left = []
        for job, chunk in batch:
            found = self._cache.get(_key(engine, job, chunk)) if job.use_cache else None
            if found is None:
                left.append((job, chunk))
            else:
                samples, seed = found
                # Where seeds change nothing they are not in the key, so any may have made it.
                seed = seed if engine.info.random else job.seeds[chunk.index]
                job.deliver(ChunkAudio(chunk, samples, seed))
        return left

    def _deliver(
        self, engine: Engine, job: Job, chunk: Chunk, samples: NDArray[np.float32], seed: int
    ) -> None:
        if job.keep:
            self._cache.put(_key(engine, job, chunk), samples, seed)
        job.deliver(ChunkAudio(chunk, samples, seed))

    def _speak(self, engine: Engine, batch: list[tuple[Job, Chunk]]) -> list[tuple[Job, Chunk]]:
        """Speak a batch; give back what must be tried alone."""
        left = dict(enumerate(batch))
        if not batch:
            return []
        try:
            utterances = [_utterance(engine, job, chunk) for job, chunk in batch]
            for spoken in engine.speak(utterances, lambda i: batch[i][0].cancelled.is_set()):
                if not spoken.capped and not is_silent(spoken.audio):
                    job, chunk = left.pop(spoken.index)
                    seed = utterances[spoken.index].seed
                    self._deliver(engine, job, chunk, spoken.audio, seed)
        except Exception as error:
            if not isinstance(error, VoicelabError):
                log.warning("engine %s failed on a batch", engine.info.name, exc_info=True)
        return [(job, chunk) for job, chunk in left.values() if not job.cancelled.is_set()]

    def _speak_alone(self, engine: Engine, job: Job, chunk: Chunk) -> None:
        seed = job.seeds[chunk.index]
        try:
            samples = self._samples(engine, job, chunk.text, seed)
            if is_silent(samples) and engine.info.random:
                seed = (seed + 1) % (MAX_SEED + 1)
                samples = self._samples(engine, job, chunk.text, seed)
            if is_silent(samples):
                raise SpeechFailed("it came out silent.")
        except Cancelled:
            return
        except Exception as error:
            reason = str(error) if isinstance(error, VoicelabError) else type(error).__name__
            log.warning("chunk %d failed: %s", chunk.index, reason)
            job.fail(
                SpeechFailed(f"{engine.info.label} failed on '{_short(chunk.text)}': {reason}")
            )
        else:
            self._deliver(engine, job, chunk, samples, seed)

    def _samples(self, engine: Engine, job: Job, text: str, seed: int) -> NDArray[np.float32]:
        """float32 (n,); what reaches the engine's length limit is spoken in two halves."""
        utterance = _utterance(engine, job, Chunk(0, text), seed)
        for spoken in engine.speak([utterance], lambda _: job.cancelled.is_set()):
            if not spoken.capped:
                return spoken.audio
            parts = halves(text)
            if len(parts) < 2:
                raise SpeechFailed("it is longer than the engine can speak and cannot be split.")
            rate = engine.info.sample_rate
            pieces = [trim_silence(self._samples(engine, job, p, seed), rate) for p in parts]
            return np.concatenate(pieces)
        if job.cancelled.is_set():
            raise Cancelled
        return np.zeros(0, np.float32)


def _utterance(engine: Engine, job: Job, chunk: Chunk, seed: int | None = None) -> Utterance:
    return Utterance(
        text=chunk.text,
        voice=engine.prepare_voice(job.clip),
        parameters=job.parameters,
        seed=job.seeds[chunk.index] if seed is None else seed,
        language=job.language,
    )


def _key(engine: Engine, job: Job, chunk: Chunk) -> str:
    """All that the samples depend on."""
    return chunk_key(
        engine=engine.info.name,
        versions=engine.versions(),
        voice=engine.prepare_voice(job.clip).key,
        language=job.language,
        parameters=job.parameters,
        seed=job.seeds[chunk.index] if engine.info.random else None,
        text=chunk.text,
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
