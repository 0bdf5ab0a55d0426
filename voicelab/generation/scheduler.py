"""Gives the chunks of all running jobs to the engines in batches.

One worker thread owns the engines. It takes one chunk of each waiting job in turn (round robin), so
that a short request does not wait for a long one.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import is_silent, trim_silence
from voicelab.engines import Engine, Registry, Spoken, Utterance
from voicelab.errors import Cancelled, Interrupted, SpeechFailed, Unavailable, VoicelabError
from voicelab.generation.cache import ChunkCache, chunk_key
from voicelab.generation.job import ChunkAudio, Job
from voicelab.records import MAX_SEED
from voicelab.text import Chunk, halves

__all__ = ["Scheduler"]

log = logging.getLogger(__name__)


class Scheduler:
    """Runs jobs in a worker thread of its own.

    Args:
        registry: the engines.
        cache: cache of spoken chunks.
        max_queue: jobs that may wait or run at once.
        idle_s: seconds without work after which weights are freed; None keeps them.
    """

    def __init__(
        self,
        registry: Registry,
        cache: ChunkCache,
        max_queue: int = 100,
        idle_s: float | None = None,
    ):
        self._idle_s = idle_s
        self._registry = registry
        self._cache = cache
        self._max_queue = max_queue
        self._jobs: deque[Job] = deque()
        self._preload: deque[str] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="voicelab-scheduler", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise Unavailable if a further job would be refused."""
        with self._changed:
            if self._closing:
                raise Unavailable("The lab is closing.")
            # While an engine keeps speaking, `_has_work` is not called to remove ended jobs.
            self._jobs = deque(job for job in self._jobs if not job.over)
            if len(self._jobs) >= self._max_queue:
                raise Unavailable(
                    f"{len(self._jobs)} requests are waiting, as many as are allowed; try again "
                    "later."
                )

    def submit(self, job: Job) -> Job:
        """Queue a job; raises as `check`, or Interrupted when the lab is closing."""
        with self._changed:
            if self._closing:
                raise Interrupted
            self.check()
            job.attach(self._notify)
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def preload(self, engine: str) -> None:
        """Load an engine in the background, before the first request."""
        with self._changed:
            if engine not in self._preload:
                self._preload.append(engine)
            self._changed.notify_all()

    def interrupt(self) -> None:
        """Interrupt all jobs and refuse new ones; the thread ends by itself."""
        with self._changed:
            self._closing = True
            jobs = list(self._jobs)
        for job in jobs:
            job.fail(Interrupted())
        self._notify()

    def close(self) -> None:
        """As `interrupt`, and wait for the thread."""
        self.interrupt()
        self._thread.join()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                busy = self._changed.wait_for(self._has_work, self._idle_s)
                if self._closing:
                    return
                preload = self._preload.popleft() if self._preload else None
                waiting = next((job for job in self._jobs if self._is_ready(job)), None)
            if not busy:
                self._registry.unload()
            elif preload:
                self._try_load(preload)
            elif waiting:
                self._speak(waiting.engine)

    def _has_work(self) -> bool:
        self._jobs = deque(job for job in self._jobs if not job.finished)
        return self._closing or bool(self._preload) or any(map(self._is_ready, self._jobs))

    def _is_ready(self, job: Job) -> bool:
        """Whether a chunk of the job can be spoken: it waits, and its engine's weights are here."""
        return job.waiting and not self._registry.is_fetching(job.engine)

    def _take(self, engine: str, size: int) -> list[tuple[Job, Chunk]]:
        """One chunk of each waiting job in turn; only the first chunks of urgent jobs, if any."""
        first = any(job.urgent and job.next_index == 0 for job in self._waiting_jobs(engine))
        batch: list[tuple[Job, Chunk]] = []
        idle = 0
        while len(batch) < size and idle < len(self._jobs):
            job = self._jobs[0]
            self._jobs.rotate(-1)
            fits = job.urgent and job.next_index == 0 if first else job.waiting
            if job.engine == engine and fits:
                batch.append((job, job.chunks[job.next_index]))
                job.next_index += 1
                idle = 0
            else:
                idle += 1
        return batch

    def _waiting_jobs(self, engine: str) -> list[Job]:
        return [job for job in self._jobs if job.engine == engine and job.waiting]

    def _try_load(self, name: str) -> Engine | VoicelabError | None:
        """The engine, ready; None while its weights are fetched, in another thread."""
        try:
            if self._registry.begin_fetch(name, functools.partial(self._fetched, name)):
                return None
            return self._registry.load(name)
        except VoicelabError as error:
            return error

    def _fetched(self, name: str, error: VoicelabError | None) -> None:
        """Load what was fetched, or end the jobs that waited for it."""
        if error is None:
            self.preload(name)
        else:
            self._fail_waiting(name, error)

    def _fail_waiting(self, name: str, error: VoicelabError) -> None:
        with self._changed:
            jobs = self._waiting_jobs(name)
        for job in jobs:
            job.fail(error)

    def _speak(self, name: str) -> None:
        """Speak with one engine until no job waits for it, or a job waits for another one."""
        engine = self._try_load(name)
        if engine is None:
            return
        if isinstance(engine, VoicelabError):
            self._fail_waiting(name, engine)
            return
        batch = _Batch(functools.partial(self._next_entries, engine))
        try:
            if utterances := batch.more(engine.info.batch_size):
                for spoken in engine.speak(utterances, batch.cancelled, batch.more):
                    self._handle_result(engine, batch, spoken)
        except Exception as error:
            if not isinstance(error, VoicelabError):
                log.warning("engine %s failed on a batch", name, exc_info=True)
        # An engine fails for a whole batch; one by one, only the faulty sentence fails.
        for entry in batch.remaining():
            self._speak_alone(engine, entry)

    def _next_entries(self, engine: Engine, room: int, first: bool) -> list[Entry]:
        """Uncached chunks to speak; after the first call none while another engine is wanted."""
        name, uncached = engine.info.name, []
        while not uncached:
            with self._changed:
                other_engine = not first and any(
                    self._is_ready(job) and job.engine != name for job in self._jobs
                )
                taken = [] if other_engine or self._closing else self._take(name, room)
            if not taken:
                break
            for job, chunk in taken:
                if chunk.index == 0:
                    job.on_start()
            entries = [entry for job, chunk in taken if (entry := _entry(engine, job, chunk))]
            uncached = [entry for entry in entries if not self._deliver_cached(engine, entry)]
        return uncached

    def _deliver_cached(self, engine: Engine, entry: Entry) -> bool:
        """Deliver the chunk from the cache, if it is there; whether it was."""
        job, chunk = entry.job, entry.chunk
        found = self._cache.get(entry.key) if job.use_cache else None
        if found is None:
            return False
        samples, seed = found
        # For engines without random numbers the key has no seed: the cached one may differ.
        seed = seed if engine.info.random else job.seeds[chunk.index]
        job.deliver(ChunkAudio(chunk, samples, seed))
        return True

    def _handle_result(self, engine: Engine, batch: _Batch, spoken: Spoken) -> None:
        entry = batch.entries[spoken.index]
        if spoken.failure is not None:
            batch.done(spoken.index)
            _fail(engine, entry.job, entry.chunk, spoken.failure)
        elif spoken.capped or is_silent(spoken.audio):
            entry.spoken = spoken
        else:
            batch.done(spoken.index)
            self._deliver(entry, spoken.audio, entry.utterance.seed)

    def _deliver(self, entry: Entry, samples: NDArray[np.float32], seed: int) -> None:
        if entry.job.keep:
            self._cache.put(entry.key, samples, seed)
        entry.job.deliver(ChunkAudio(entry.chunk, samples, seed))

    def _speak_alone(self, engine: Engine, entry: Entry) -> None:
        job, utterance = entry.job, entry.utterance
        try:
            samples = self._samples(engine, job, utterance, entry.spoken)
            if is_silent(samples) and engine.info.random:
                utterance = replace(utterance, seed=(utterance.seed + 1) % (MAX_SEED + 1))
                samples = self._samples(engine, job, utterance)
            if is_silent(samples):
                raise SpeechFailed("it came out silent.")
        except Cancelled:
            return
        except Exception as error:
            _fail(engine, job, entry.chunk, error)
        else:
            self._deliver(entry, samples, utterance.seed)

    def _samples(
        self, engine: Engine, job: Job, utterance: Utterance, spoken: Spoken | None = None
    ) -> NDArray[np.float32]:
        """Samples of an utterance, float32 (n,).

        A text that reaches the engine's length limit is split in two halves.

        Args:
            engine, job: to speak with, and for.
            utterance: what to speak.
            spoken: the result of an earlier attempt in a batch.
        """
        if spoken is None:
            spoken = next(iter(engine.speak([utterance], lambda _: job.cancelled.is_set())), None)
        if job.cancelled.is_set():
            raise Cancelled
        if spoken is None:
            return np.zeros(0, np.float32)
        if spoken.failure is not None:
            raise spoken.failure
        if not spoken.capped:
            return spoken.audio
        parts = halves(utterance.text)
        if len(parts) < 2:
            raise SpeechFailed("it is longer than the engine can speak and cannot be split.")
        rate = engine.info.sample_rate
        found = [self._samples(engine, job, replace(utterance, text=part)) for part in parts]
        return np.concatenate([trim_silence(samples, rate) for samples in found])


@dataclass
class Entry:
    """A chunk given to an engine.

    Attributes:
        job, chunk: whose chunk it is.
        utterance: what the engine is given.
        key: of its samples in the cache.
        spoken: its result in a batch if unusable: silent, or cut off.
    """

    job: Job
    chunk: Chunk
    utterance: Utterance
    key: str
    spoken: Spoken | None = None


class _Batch:
    """The unfinished chunks of one call of an engine, which may grow while it speaks."""

    def __init__(self, take: Callable[[int, bool], list[Entry]]):
        self._take = take
        self._count = 0
        self.entries: dict[int, Entry] = {}

    def more(self, room: int) -> list[Utterance]:
        """See `engines.base.More`: empty while an urgent or failed chunk is pending."""
        if any(entry.job.urgent or entry.spoken is not None for entry in self.remaining()):
            return []
        taken = self._take(room, not self._count)
        self.entries.update(enumerate(taken, self._count))
        self._count += len(taken)
        return [entry.utterance for entry in taken]

    def cancelled(self, index: int) -> bool:
        """Whether an utterance is no longer wanted."""
        entry = self.entries.get(index)
        return entry is None or entry.job.cancelled.is_set()

    def done(self, index: int) -> None:
        """Remove an utterance that is finished or has failed."""
        del self.entries[index]

    def remaining(self) -> list[Entry]:
        """Chunks that must be tried one by one."""
        return [entry for entry in self.entries.values() if not entry.job.cancelled.is_set()]


def _fail(engine: Engine, job: Job, chunk: Chunk, error: Exception) -> None:
    """End the job with an error that names the sentence."""
    reason = str(error) if isinstance(error, VoicelabError) else type(error).__name__
    log.warning("chunk %d failed: %s", chunk.index, reason)
    job.fail(SpeechFailed(f"{engine.info.label} failed on '{_shorten(chunk.text)}': {reason}"))


def _entry(engine: Engine, job: Job, chunk: Chunk) -> Entry | None:
    """The chunk as an Entry; None, and the job failed, when its voice clip is missing."""
    seed = job.seeds[chunk.index]
    try:
        voice = engine.prepare_voice(job.clip)
    except Exception as error:
        _fail(engine, job, chunk, error)
        return None
    utterance = Utterance(chunk.text, voice, job.parameters, seed, job.language, job.urgent)
    return Entry(job, chunk, utterance, _key(engine, utterance))


def _key(engine: Engine, utterance: Utterance) -> str:
    """The cache key: everything that the samples depend on."""
    return chunk_key(
        engine=engine.info.name,
        versions=engine.versions(),
        voice=utterance.voice.key,
        language=utterance.language,
        parameters=utterance.parameters,
        seed=utterance.seed if engine.info.random else None,
        text=utterance.text,
    )


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
