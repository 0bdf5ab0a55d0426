"""One take while it is made.

A `Take` is an iterator of pieces of audio; iterating to the end makes it. The page plays the
pieces, REST sends them, `VoiceLab.generate` ignores them. Together they are the content of the
file.
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
    """A piece of audio, int16 (n,), and the chunk that it ends with.

    `chunk` is None for the last piece, which holds the end of the audio. With effects, which need
    the whole take, all audio is in the last piece.
    """

    pcm: Pcm
    chunk: SpokenChunk | None
    total_chunks: int


@dataclass(frozen=True)
class Blueprint:
    """A validated request with everything that is decided before the first sample.

    Attributes:
        record: the pending record.
        plan: chunks, leading pause, warnings.
        job: for the scheduler.
        join: gaps or crossfade.
        speed: 0.25-4.
        normalize: bring each chunk to the same loudness.
        effects: of the processed version; see `voicelab.audio.effects`.
        destination: where the take is recorded.
        versions: the engine's software versions, read after it has spoken.
        shown: parameters for the status: those in effect, and those that the API documents.
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
        """Sample rate in Hz."""
        return self.record.sample_rate or 0


class Take(Iterator[Piece]):
    """Makes a take while it is iterated over; `close` stops it early.

    Args:
        blueprint: from the planner.
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
        self._unprocessed: list[Pcm] = []
        self._began = time.monotonic()
        self._record: dict[str, Any] | None = None
        self._spoken: list[SpokenChunk] = []
        live.plan([len(chunk.text) for chunk in blueprint.plan.chunks])
        live.on_cancel(blueprint.job.cancel)
        self._iterating = threading.RLock()
        self._pieces = self._iterate()
        self._begin(scheduler)

    @property
    def record(self) -> dict[str, Any]:
        """The finished record; available after the last piece."""
        if self._record is None:
            raise RuntimeError("the take is not finished: iterate to its end first")
        return self._record

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about parts of the request that are not used; known before the first piece."""
        return self._blueprint.record.warnings

    @property
    def ready(self) -> bool:
        """Whether the next chunk is spoken already."""
        return self._blueprint.job.ready

    @property
    def kept(self) -> bool:
        """Whether the take is stored in the history."""
        return self._blueprint.destination.keeps

    def wait(self, timeout_s: float) -> bool:
        """Wait until the next piece, the end or an error is available; whether it is."""
        return self._blueprint.job.wait(timeout_s)

    def __next__(self) -> Piece:
        with self._iterating:
            return next(self._pieces)

    def __enter__(self) -> Take:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cancel(self) -> None:
        """Cancel the work; the iteration raises Cancelled."""
        self._blueprint.job.cancel()

    def close(self) -> None:
        """Stop the work unless it is finished; may be called repeatedly and from any thread.

        Returns when it has stopped: another thread's iteration is waited for.
        """
        self.cancel()
        self._end()

    def interrupt(self) -> None:
        """As `close`, because the app ends; the record says interrupted, and can be resumed."""
        self._blueprint.job.fail(Interrupted())
        self._end()

    def _begin(self, scheduler: Scheduler) -> None:
        destination = self._blueprint.destination
        try:
            destination.begin(self._blueprint.record, self.request_id)
        except VoicelabError as error:  # leave the record alone: another take may be writing it
            self._end_live(error.message, cancelled=False)
            raise
        self.live.on_interrupt(self.interrupt)
        try:
            scheduler.submit(self._blueprint.job)
        except VoicelabError as error:
            self._fail(error)
            raise

    def _end(self) -> None:
        with self._iterating:
            self._pieces.close()
            if self._record is None and not self.live.ended:
                self._fail(Cancelled())  # never started, so the generator cannot clean up

    def _iterate(self) -> Generator[Piece, None, None]:
        try:
            yield from self._speak()
        except GeneratorExit:
            self._fail(Cancelled())
            raise
        except VoicelabError as error:
            self._fail(error)
            raise
        except Exception as error:
            log.exception("take %s failed", self.id)
            failure = SpeechFailed(f"The take failed: {type(error).__name__}.")
            self._fail(failure)
            raise failure from error

    def _speak(self) -> Iterator[Piece]:
        plan = self._blueprint.plan
        joiner = Joiner(self.sample_rate, self._blueprint.join, plan.lead_ms)
        with self._file() as wav:
            for spoken in self._blueprint.job.results():
                chunk = spoken.chunk
                pcm = joiner.push(self._process_chunk(spoken), chunk.pause_ms, chunk.paragraph_end)
                start_s, duration_s = joiner.spans[-1]
                done = SpokenChunk(
                    chunk.index, chunk.text, round(start_s, 4), round(duration_s, 4), spoken.seed
                )
                self._spoken.append(done)
                self.live.chunk_done()
                self._blueprint.destination.check()
                yield Piece(self._write(wav, pcm), done, self.total_chunks)
            self.live.step("concatenating", "Joining the chunks")
            rest = self._write(wav, joiner.finish())
            rest = self._finish(wav, rest)
        yield Piece(rest, None, self.total_chunks)

    def _write(self, wav: WavWriter | None, pcm: Pcm) -> Pcm:
        """Write to the file; what can be played now: nothing while effects are still to come."""
        if wav:
            wav.write(pcm)
        if not self._blueprint.effects:
            return pcm
        self._unprocessed.append(pcm)
        return pcm[:0]

    @contextlib.contextmanager
    def _file(self) -> Iterator[WavWriter | None]:
        path = self._blueprint.record.audio_path
        if not self._blueprint.destination.keeps or path is None:
            yield None
            return
        with self._files.writer(path, self.sample_rate) as wav:
            yield wav

    def _process_chunk(self, spoken: ChunkAudio) -> NDArray[np.float32]:
        samples = trim_silence(spoken.samples, self.sample_rate)
        samples = stretch(samples, self.sample_rate, self._blueprint.speed)
        return normalize_loudness(samples) if self._blueprint.normalize else samples

    def _finish(self, wav: WavWriter | None, rest: Pcm) -> Pcm:
        """Save files, then the record, then the status, so that each refers to existing data.

        Returns:
            The last samples to play: `rest`, or with effects the whole audio.
        """
        self.live.step("finalizing", "Saving the take")
        effects = self._blueprint.effects
        audio = self._processed() if effects else rest
        last = self._spoken[-1]
        frames = wav.frames if wav else round((last.start_s + last.duration_s) * self.sample_rate)
        record = self._completed_record(frames)
        if wav is None:
            self._record = self._blueprint.destination.complete(record, None)
        else:
            row = version_row(
                record.document(), label=self._blueprint.destination.label, is_default=not effects
            )
            chunks = wav_chunks(described(record.document(), row))
            record = replace(record, size_bytes=record.size_bytes + len(chunks))
            wav.commit(chunks)
            self._record = self._save(record, audio if effects else None)
        self.live.finish(
            generation_id=self.id if wav else None,
            audio_seconds=self._record["duration"],
            elapsed_seconds=record.elapsed_s,
        )
        return audio

    def _processed(self) -> Pcm:
        self.live.step("finalizing", "Applying effects")
        clean = to_float(np.concatenate(self._unprocessed))
        return to_pcm16(apply_chain(clean, self.sample_rate, self._blueprint.effects))

    def _save(self, record: Generation, audio: Pcm | None) -> dict[str, Any]:
        """Record the take with its processed version, if any; on errors delete both files."""
        path = str(record.audio_path)
        with self._files.kept(path):
            if audio is None:
                return self._blueprint.destination.complete(record, None)
            source = version_row(record.document())
            effects = self._blueprint.effects
            row = processed(source, self._files, effects, len(audio), self.sample_rate)
            chunks = wav_chunks(described(record.document(), row))
            row["size_bytes"] += len(chunks)
            with self._files.writer(row["audio_path"], self.sample_rate) as wav:
                wav.write(audio)
                wav.commit(chunks)
            with self._files.kept(row["audio_path"]):
                return self._blueprint.destination.complete(record, row)

    def _completed_record(self, frames: int) -> Generation:
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

    def _fail(self, error: VoicelabError) -> None:
        if self._record is not None:
            return  # closed after the last piece: the take is complete
        self._blueprint.job.cancel()
        if isinstance(error, Cancelled):  # the client may have left because the app ends
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
