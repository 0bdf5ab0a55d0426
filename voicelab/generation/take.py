"""One take being made: the only generation loop there is.

A `Take` is an iterator of pieces. Whoever drains it has the take: the page shows pieces as
they come, REST sends them, `VoiceLab.generate` keeps only the last word. What the pieces hold,
put together, is the file.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import (
    Join,
    Joiner,
    WavWriter,
    apply_chain,
    normalize_loudness,
    stretch,
    to_float,
    to_pcm16,
    trim_silence,
    wav_chunks,
)
from voicelab.errors import (
    Cancelled,
    Interrupted,
    NotFound,
    SpeechFailed,
    StorageError,
    VoicelabError,
)
from voicelab.generation.job import ChunkAudio, Job
from voicelab.generation.live import LiveRequest
from voicelab.generation.scheduler import Scheduler
from voicelab.library import INTERRUPTED, Destination, Files, described, processed, version_row
from voicelab.records import Generation, SpokenChunk
from voicelab.text import Plan

__all__ = ["Blueprint", "Piece", "Take"]

log = logging.getLogger(__name__)

Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Piece:
    """Audio that can be played now: int16 (n,), and the chunk it came with.

    `chunk` is None for the last piece, which only lets the sound end. With effects, which
    need the whole take, all audio is in the last piece.
    """

    pcm: Pcm
    chunk: SpokenChunk | None
    total_chunks: int


@dataclass(frozen=True)
class Blueprint:
    """A checked request: everything that is decided before the first sample.

    Attributes:
        record: the pending record.
        plan: chunks, leading pause, warnings.
        job: for the scheduler.
        join: gaps or crossfade.
        speed: 0.25-4.
        normalize: same loudness for each chunk.
        effects: for a processed version of the finished take; see `voicelab.audio.effects`.
        destination: where it goes.
        versions: of the engine, for the record; asked when it has spoken.
        shown: parameters for the status: the effective ones, and those the document promises.
    """

    record: Generation
    plan: Plan
    job: Job
    join: Join
    speed: float
    normalize: bool
    effects: list[dict[str, Any]]
    destination: Destination
    versions: Callable[[], Mapping[str, str]]
    shown: Mapping[str, float]

    @property
    def sample_rate(self) -> int:
        """Of the audio in Hz."""
        return self.record.sample_rate or 0


class Take(Iterator[Piece]):
    """Iterate to the end to have it made; `close` early to stop it.

    Args:
        blueprint: from the lab's checks.
        live: its entry in the status.
        scheduler, files: of the lab.

    Raises:
        StoreFull, StorageError, Unavailable: from the constructor; nothing is left then.
        SpeechFailed, EngineUnavailable, Cancelled, StorageError: from the iteration; the
            record then says failed, and there is no file.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        live: LiveRequest,
        *,
        scheduler: Scheduler,
        files: Files,
    ):
        self.id = blueprint.record.id
        self.request_id = live.request_id
        self.sample_rate = blueprint.sample_rate
        self.total_chunks = len(blueprint.plan.chunks)
        self.live = live
        self._blueprint = blueprint
        self._files = files
        self._clean: list[Pcm] = []
        self._began = time.monotonic()
        self._record: dict[str, Any] | None = None
        self._spoken: list[SpokenChunk] = []
        live.plan([len(chunk.text) for chunk in blueprint.plan.chunks])
        live.on_cancel(blueprint.job.cancel)
        self._iterating = threading.RLock()
        self._pieces = self._make()
        self._begin(scheduler)

    @property
    def record(self) -> dict[str, Any]:
        """The finished record; only after the last piece."""
        if self._record is None:
            raise RuntimeError("the take is not finished: iterate to its end first")
        return self._record

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what was asked for and is not done; known before the first piece."""
        return self._blueprint.record.warnings

    @property
    def ready(self) -> bool:
        """Whether the next piece comes at once: its chunk is spoken already."""
        return self._blueprint.job.ready

    @property
    def kept(self) -> bool:
        """Whether it is in the history, and its file in the folder."""
        return self._blueprint.destination.keeps

    def wait(self, timeout_s: float) -> bool:
        """Wait until the next piece comes at once, or the end, or a failure; whether it does."""
        return self._blueprint.job.wait(timeout_s)

    def __next__(self) -> Piece:
        with self._iterating:
            return next(self._pieces)

    def __enter__(self) -> Take:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cancel(self) -> None:
        """Ask for the work to be stopped; who iterates gets Cancelled, and waits for nothing."""
        self._blueprint.job.cancel()

    def close(self) -> None:
        """Stop the work, unless it is finished; may be called again and from any thread.

        It has stopped when this comes back: a thread that iterates is waited for.
        """
        self.cancel()
        self._end()

    def interrupt(self) -> None:
        """As `close`, because the app ends; the record says so, and the take can be resumed."""
        self._blueprint.job.fail(Interrupted())
        self._end()

    def _begin(self, scheduler: Scheduler) -> None:
        destination = self._blueprint.destination
        try:
            destination.begin(self._blueprint.record, self.request_id)
        except VoicelabError as error:  # the record is not this take's: another may be making it
            self._end_live(error.message, cancelled=False)
            raise
        self.live.on_interrupt(self.interrupt)
        try:
            scheduler.submit(self._blueprint.job)
        except VoicelabError as error:
            self._failed(error)
            raise

    def _end(self) -> None:
        with self._iterating:
            self._pieces.close()
            if self._record is None and not self.live.ended:
                self._failed(Cancelled())  # it was never begun, so no block of it can clean up

    def _make(self) -> Generator[Piece, None, None]:
        try:
            yield from self._speak()
        except GeneratorExit:
            self._failed(Cancelled())
            raise
        except VoicelabError as error:
            self._failed(error)
            raise
        except Exception as error:
            log.exception("take %s failed", self.id)
            failure = SpeechFailed(f"The take failed: {type(error).__name__}.")
            self._failed(failure)
            raise failure from error

    def _speak(self) -> Iterator[Piece]:
        plan = self._blueprint.plan
        joiner = Joiner(self.sample_rate, self._blueprint.join, plan.lead_ms)
        with self._file() as wav:
            for spoken in self._blueprint.job.results():
                chunk = spoken.chunk
                pcm = joiner.push(self._shaped(spoken), chunk.pause_ms, chunk.paragraph_end)
                start_s, duration_s = joiner.spans[-1]
                done = SpokenChunk(
                    chunk.index, chunk.text, round(start_s, 4), round(duration_s, 4), spoken.seed
                )
                self._spoken.append(done)
                self.live.chunk_done()
                self._blueprint.destination.check()
                yield Piece(self._written(wav, pcm), done, self.total_chunks)
            self.live.step("concatenating", "Joining the chunks")
            rest = self._written(wav, joiner.finish())
            rest = self._finish(wav, rest)
        yield Piece(rest, None, self.total_chunks)

    def _written(self, wav: WavWriter | None, pcm: Pcm) -> Pcm:
        """What of it can be heard already: nothing while effects are still to come."""
        if wav:
            wav.write(pcm)
        if not self._blueprint.effects:
            return pcm
        self._clean.append(pcm)
        return pcm[:0]

    @contextlib.contextmanager
    def _file(self) -> Iterator[WavWriter | None]:
        path = self._blueprint.record.audio_path
        if not self._blueprint.destination.keeps or path is None:
            yield None
            return
        with self._files.writer(path, self.sample_rate) as wav:
            yield wav

    def _shaped(self, spoken: ChunkAudio) -> NDArray[np.float32]:
        samples = trim_silence(spoken.samples, self.sample_rate)
        samples = stretch(samples, self.sample_rate, self._blueprint.speed)
        return normalize_loudness(samples) if self._blueprint.normalize else samples

    def _finish(self, wav: WavWriter | None, rest: Pcm) -> Pcm:
        """Files, then record, then the status: none points at what is not there.

        The last samples to hear: `rest`, or with effects all of them.
        """
        self.live.step("finalizing", "Saving the take")
        effects = self._blueprint.effects
        heard = self._processed() if effects else rest
        last = self._spoken[-1]
        frames = wav.frames if wav else round((last.start_s + last.duration_s) * self.sample_rate)
        record = self._completed(frames)
        if wav is None:
            self._record = self._blueprint.destination.complete(record, None)
        else:
            row = version_row(
                record.document(), label=self._blueprint.destination.label, is_default=not effects
            )
            chunks = wav_chunks(described(record.document(), row))
            record = replace(record, size_bytes=record.size_bytes + len(chunks))
            wav.commit(chunks)
            self._record = self._keep(record, heard if effects else None)
        self.live.finish(
            generation_id=self.id if wav else None,
            audio_seconds=self._record["duration"],
            elapsed_seconds=record.elapsed_s,
        )
        return heard

    def _processed(self) -> Pcm:
        self.live.step("finalizing", "Applying effects")
        clean = to_float(np.concatenate(self._clean))
        return to_pcm16(apply_chain(clean, self.sample_rate, self._blueprint.effects))

    def _keep(self, record: Generation, heard: Pcm | None) -> dict[str, Any]:
        """With its processed version, when there is one: both files, or none."""
        path = str(record.audio_path)
        with self._files.kept(path):
            if heard is None:
                return self._blueprint.destination.complete(record, None)
            source = version_row(record.document())
            effects = self._blueprint.effects
            row = processed(source, self._files, effects, len(heard), self.sample_rate)
            chunks = wav_chunks(described(record.document(), row))
            row["size_bytes"] += len(chunks)
            with self._files.writer(row["audio_path"], self.sample_rate) as wav:
                wav.write(heard)
                wav.commit(chunks)
            with self._files.kept(row["audio_path"]):
                return self._blueprint.destination.complete(record, row)

    def _completed(self, frames: int) -> Generation:
        elapsed_s = time.monotonic() - self._began
        duration_s = frames / self.sample_rate
        return replace(
            self._blueprint.record,
            status="completed",
            error=None,
            duration=round(duration_s, 4),
            chunks=tuple(self._spoken),
            request_id=self.request_id,
            elapsed_s=round(elapsed_s, 3),
            real_time_factor=round(elapsed_s / duration_s, 4) if duration_s else None,
            size_bytes=44 + 2 * frames if self._blueprint.destination.keeps else 0,
            software=dict(self._blueprint.versions()),
        )

    def _failed(self, error: VoicelabError) -> None:
        if self._record is not None:
            return  # closed after the last piece: the take is whole
        self._blueprint.job.cancel()
        if isinstance(error, Cancelled):  # whoever left may only have seen the app end
            error = self._blueprint.job.error or error
        cancelled = isinstance(error, Cancelled)
        message = self.live.reason if cancelled else error.message
        if isinstance(error, Interrupted):
            message = INTERRUPTED
        try:
            elapsed_s = round(time.monotonic() - self._began, 3)
            self._blueprint.destination.fail(self._blueprint.record, message, elapsed_s)
        except (StorageError, NotFound) as failure:
            log.warning("take %s: its failure could not be recorded: %s", self.id, failure)
        finally:
            self._end_live(message, cancelled)

    def _end_live(self, message: str, cancelled: bool) -> None:
        kept = self.id if self._blueprint.destination.keeps else None
        try:
            self.live.finish(error=message, cancelled=cancelled, generation_id=kept)
        except StorageError as failure:
            log.warning("request %s could not be logged: %s", self.request_id, failure)
