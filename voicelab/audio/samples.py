"""Samples: trimming, joining, levels, and the WAV file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from voicelab.errors import StoreFull, storage_error

__all__ = [
    "Join",
    "Joiner",
    "WavWriter",
    "half_written",
    "is_silent",
    "normalize_loudness",
    "peaks",
    "sync_folder",
    "to_float",
    "to_pcm16",
    "trim_silence",
    "wav_bytes",
    "wav_header",
    "write_whole",
]

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]

SILENCE = 0.001
"""Peak of true silence, -60 dBFS: below what any voice, however quiet, is recorded at."""

HEADER_BYTES = 44
EDGE_FADE_S = 0.005
PADDING_S = 0.02


@dataclass(frozen=True)
class Join:
    """How chunks follow each other.

    Attributes:
        gap_ms: silence between two sentences.
        crossfade_ms: equal-power crossfade, used when `gap_ms` is 0.
        paragraph_gap_ms: silence at a blank line.
    """

    gap_ms: int = 120
    crossfade_ms: int = 0
    paragraph_gap_ms: int = 600

    def silence_ms(self, pause_ms: int | None, paragraph_end: bool) -> int:
        """Silence after a chunk: what the text asks for, else the paragraph's, else the gap."""
        if pause_ms is not None:
            return pause_ms
        return max(self.paragraph_gap_ms, self.gap_ms) if paragraph_end else self.gap_ms


class Joiner:
    """Joins chunks as they come; what it hands out, put together, is the file.

    Args:
        sample_rate: in Hz.
        join: gaps or crossfade.
        lead_ms: silence before the first chunk.
    """

    def __init__(self, sample_rate: int, join: Join, lead_ms: int = 0):
        self.sample_rate = sample_rate
        self.spans: list[tuple[float, float]] = []
        """(start_s, duration_s) of each chunk pushed so far."""
        self._join = join
        self._pending = np.zeros(self._count(lead_ms), np.float32)
        self._sent = 0
        self._overlap = 0
        self._trailing = 0

    def push(self, samples: Samples, pause_ms: int | None, paragraph_end: bool) -> Pcm:
        """Take the next chunk, float32 (n,); give what can be sent, int16 (m,).

        `pause_ms` and `paragraph_end` say what follows the chunk.
        """
        overlap = min(self._overlap, len(samples), len(self._pending))
        silence = self._count(self._join.silence_ms(pause_ms, paragraph_end))
        self._overlap = 0 if silence else self._count(self._join.crossfade_ms)
        # Only an edge that really is crossfaded keeps its level; next to silence it would click.
        samples = self._faded(samples, start=not overlap, end=not self._overlap)
        start = self._sent + len(self._pending) - overlap
        self.spans.append((start / self.sample_rate, len(samples) / self.sample_rate))
        if overlap:
            angle = np.linspace(0, np.pi / 2, overlap, dtype=np.float32)
            tail = self._pending[-overlap:] * np.cos(angle) + samples[:overlap] * np.sin(angle)
            whole = np.concatenate([self._pending[:-overlap], tail, samples[overlap:]])
        else:
            whole = np.concatenate([self._pending, samples])
        hold = silence or self._overlap
        # The silence after a chunk is held too: it is dropped when nothing follows.
        whole = np.concatenate([whole, np.zeros(silence, np.float32)])
        cut = max(0, len(whole) - hold)
        self._trailing = silence if pause_ms is None else 0
        return self._send(whole[:cut], whole[cut:])

    def finish(self) -> Pcm:
        """The rest, int16 (n,), without the gap that only a further chunk would need."""
        keep = len(self._pending) - self._trailing
        rest = self._pending[: max(0, keep)]
        if self._overlap:
            rest = self._faded(rest, start=False, end=True)
        return self._send(rest, np.zeros(0, np.float32))

    def _send(self, ready: Samples, pending: Samples) -> Pcm:
        self._sent += len(ready)
        self._pending = pending
        return to_pcm16(ready)

    def _faded(self, samples: Samples, *, start: bool, end: bool) -> Samples:
        """Short raised-cosine edges, so that no joint clicks."""
        length = min(int(EDGE_FADE_S * self.sample_rate), len(samples) // 2)
        if not length:
            return samples
        samples = samples.copy()
        ramp = (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, length))).astype(np.float32)
        if start:
            samples[:length] *= ramp
        if end:
            samples[-length:] *= ramp[::-1]
        return samples

    def _count(self, duration_ms: int) -> int:
        return round(duration_ms * self.sample_rate / 1000)


def to_pcm16(samples: Samples) -> Pcm:
    """float32 (n,) in -1..1 to int16 (n,), clipped; exactly what int16 / 32768 came from.

    Raises:
        ValueError: a sample is not a finite number.
    """
    if not np.isfinite(samples).all():
        raise ValueError("audio has samples that are not finite numbers")
    return np.clip(np.round(samples * np.float32(32768)), -32768, 32767).astype(np.int16)


def to_float(pcm: Pcm) -> Samples:
    """int16 (n,) to float32 (n,) in -1..1; `to_pcm16` gives it back exactly."""
    return pcm.astype(np.float32) / np.float32(32768)


def is_silent(samples: Samples) -> bool:
    """Whether float32 (n,) is nothing to hear: not above -60 dBFS, or not finite numbers."""
    return not len(samples) or not SILENCE < float(np.abs(samples).max()) < np.inf


def trim_silence(samples: Samples, sample_rate: int) -> Samples:
    """Without the true silence at both edges (below -60 dBFS), 20 ms of it kept.

    Never cuts inside; silence alone gives an empty array.
    """
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    if not len(loud):
        return samples[:0]
    padding = int(PADDING_S * sample_rate)
    return samples[max(0, int(loud[0]) - padding) : int(loud[-1]) + 1 + padding]


def normalize_loudness(
    samples: Samples, target_dbfs: float = -20.0, peak_dbfs: float = -1.0
) -> Samples:
    """One chunk at an RMS of `target_dbfs`, its peak at most `peak_dbfs`.

    By chunk rather than by take, so that a stream and its file are the same samples.
    """
    if is_silent(samples):
        return samples
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    peak = float(np.abs(samples).max())
    gain = min(10 ** (target_dbfs / 20) / rms, 10 ** (peak_dbfs / 20) / peak)
    return (samples * np.float32(gain)).astype(np.float32)


def peaks(pcm: Pcm, buckets: int = 240) -> list[float]:
    """Largest magnitude in each of `buckets` equal parts, 0..1, for drawing a waveform."""
    if not len(pcm):
        return [0.0] * buckets
    edges = np.linspace(0, len(pcm), buckets, endpoint=False).astype(int)
    high = np.maximum.reduceat(pcm, edges).astype(int)
    low = np.minimum.reduceat(pcm, edges).astype(int)
    return (np.maximum(np.abs(high), np.abs(low)) / 32768).round(3).tolist()


def wav_header(sample_rate: int, data_bytes: int | None, chunk_bytes: int = 0) -> bytes:
    """The 44 bytes before 16-bit mono PCM.

    Args:
        sample_rate: in Hz.
        data_bytes: of the samples; None for a stream whose length is not known.
        chunk_bytes: of the chunks behind the samples.
    """
    size = 0xFFFFFFFF if data_bytes is None else data_bytes
    riff = size if data_bytes is None else size + 36 + chunk_bytes
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1),
        *(sample_rate, sample_rate * 2, 2, 16, b"data", size),
    )


def wav_bytes(pcm: Pcm, sample_rate: int) -> bytes:
    """A whole 16-bit mono WAV file of int16 (n,)."""
    return wav_header(sample_rate, pcm.nbytes) + pcm.tobytes()


def half_written(path: Path) -> Path:
    """A name beside a file, to write it under until it is whole: nobody else has the same."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """A file that appears only when it is whole.

    Raises:
        StoreFull, StorageError, and what `parts` raises: nothing is left.
    """
    temporary = half_written(path)
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
        temporary.replace(path)
    except OSError as error:
        raise storage_error(error) from error
    finally:
        temporary.unlink(missing_ok=True)


class WavWriter:
    """A 16-bit mono WAV that appears under its name only when it is whole.

    Leave the `with` block without `commit` and nothing is left on the disk.

    Args:
        path: where the file will stand; its folder is made.
        sample_rate: in Hz.
        publish: called by `commit` when the file stands there; it removes the file if it fails.
        make_room: asked when the disk is full; how many bytes it freed.

    Raises:
        StoreFull, StorageError: from every method that writes.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        publish: Callable[[], None] = lambda: None,
        make_room: Callable[[], int] = lambda: 0,
    ):
        self.path = path
        self.sample_rate = sample_rate
        self.frames = 0
        self._publish, self._make_room = publish, make_room
        # Two requests, of two machines even, may keep the same clip: each has a file of its own.
        self._temporary = half_written(path)
        self._file: FileIO | None = None

    def __enter__(self) -> WavWriter:
        try:
            self.path.parent.mkdir(
                exist_ok=True
            )  # not what is above: that may have been taken away
            self._file = self._temporary.open("wb", buffering=0)
            self._put(self._file, wav_header(self.sample_rate, 0), 0)
        except OSError as error:
            self.discard()
            raise storage_error(error) from error
        return self

    def write(self, pcm: Pcm) -> None:
        """Append int16 (n,)."""
        assert self._file is not None, "write outside the with block"
        try:
            self._put(self._file, pcm.tobytes(), HEADER_BYTES + 2 * self.frames)
        except OSError as error:
            self.discard()
            raise storage_error(error) from error
        self.frames += len(pcm)

    def _put(self, file: FileIO, content: bytes, offset: int) -> None:
        view = memoryview(content)
        while view:
            file.seek(offset)
            try:
                written = file.write(view)
            except OSError as error:
                if isinstance(storage_error(error), StoreFull) and self._make_room():
                    continue
                raise
            view, offset = view[written:], offset + written

    def commit(self, chunks: bytes = b"") -> None:
        """Complete the header, flush to the disk, and give the file its name.

        Args:
            chunks: what stands behind the samples, from `metadata.wav_chunks`.
        """
        assert self._file is not None, "commit outside the with block"
        try:
            self._put(self._file, chunks, HEADER_BYTES + 2 * self.frames)
            header = wav_header(self.sample_rate, self.frames * 2, len(chunks))
            self._put(self._file, header, 0)
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            self.discard()
            raise storage_error(error) from error
        self._file = None
        self._publish()

    def discard(self) -> None:
        """Drop what was written."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk fails again at the last flush
                self._file.close()
            self._file = None
        with contextlib.suppress(OSError):  # the error that led here is the one to report
            self._temporary.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self.discard()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: a rename is lasting only after it."""
    if os.name == "nt":  # folders cannot be opened there; NTFS journals the rename
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
