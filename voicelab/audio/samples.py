"""Trimming, joining and levels of samples, and atomic writing of WAV files."""

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
"""Peak of silence, -60 dBFS: below the level of any recorded voice."""

HEADER_BYTES = 44
EDGE_FADE_S = 0.005
PADDING_S = 0.02


@dataclass(frozen=True)
class Join:
    """How chunks follow each other.

    Attributes:
        gap_ms: silence between two sentences, in ms.
        crossfade_ms: length of the equal-power crossfade, used when `gap_ms` is 0.
        paragraph_gap_ms: silence at a blank line, in ms.
    """

    gap_ms: int = 120
    crossfade_ms: int = 0
    paragraph_gap_ms: int = 600

    def silence_ms(self, pause_ms: int | None, paragraph_end: bool) -> int:
        """Silence after a chunk in ms: `pause_ms`, or else the paragraph's, or else the gap."""
        if pause_ms is not None:
            return pause_ms
        return max(self.paragraph_gap_ms, self.gap_ms) if paragraph_end else self.gap_ms


class Joiner:
    """Joins chunks one by one; the blocks it returns, concatenated, are the whole audio.

    Args:
        sample_rate: in Hz.
        join: lengths of gaps and crossfade.
        lead_ms: silence before the first chunk, in ms.
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
        """Append a chunk, and return the samples that are final.

        Args:
            samples: float32 (n,).
            pause_ms: silence after the chunk that the text asks for; None for the default.
            paragraph_end: whether a paragraph ends after the chunk.

        Returns:
            int16 (m,); samples of a later crossfade or gap are held back.
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
        """The remaining samples, int16 (n,), without the gap after the last chunk."""
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
        """Apply raised-cosine fades of 5 ms at the edges, so that joints do not click."""
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
    """float32 (n,) in -1..1 to int16 (n,), clipped; the exact inverse of `to_float`.

    Raises:
        ValueError: a sample is not a finite number.
    """
    if not np.isfinite(samples).all():
        raise ValueError("audio has samples that are not finite numbers")
    return np.clip(np.round(samples * np.float32(32768)), -32768, 32767).astype(np.int16)


def to_float(pcm: Pcm) -> Samples:
    """int16 (n,) to float32 (n,) in -1..1; `to_pcm16` is its exact inverse."""
    return pcm.astype(np.float32) / np.float32(32768)


def is_silent(samples: Samples) -> bool:
    """Whether float32 (n,) is empty, not above -60 dBFS, or has samples that are not finite."""
    return not len(samples) or not SILENCE < float(np.abs(samples).max()) < np.inf


def trim_silence(samples: Samples, sample_rate: int) -> Samples:
    """float32 (n,) without the silence at both edges (below -60 dBFS), but for 20 ms.

    Silence within the audio stays; audio that is all silence gives an empty array.
    """
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    if not len(loud):
        return samples[:0]
    padding = int(PADDING_S * sample_rate)
    return samples[max(0, int(loud[0]) - padding) : int(loud[-1]) + 1 + padding]


def normalize_loudness(
    samples: Samples, target_dbfs: float = -20.0, peak_dbfs: float = -1.0
) -> Samples:
    """Scale a chunk, float32 (n,), to an RMS of `target_dbfs` with a peak of at most `peak_dbfs`.

    Each chunk is scaled by itself, so that a stream and its file have the same samples.
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
        data_bytes: size of the samples; None for a stream of unknown length.
        chunk_bytes: size of the RIFF chunks after the samples.
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
    """A unique temporary name in the folder of `path`, for writing before the rename."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file under a temporary name and rename it when it is complete.

    Raises:
        StoreFull, StorageError, and what `parts` raises: the temporary file is removed.
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
    """Writes a 16-bit mono WAV under a temporary name; `commit` gives it its own name.

    A `with` block that ends without `commit` removes the file.

    Args:
        path: name of the finished file; its folder is created, but not the parents of that.
        sample_rate: in Hz.
        publish: called by `commit` after the rename; it must remove the file when it fails.
        make_room: called when the disk is full; returns the number of bytes it freed.

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
        # Two requests, also of two machines, may store the same clip: each has its own file.
        self._temporary = half_written(path)
        self._file: FileIO | None = None

    def __enter__(self) -> WavWriter:
        try:
            # Not its parents: a missing data folder is an error.
            self.path.parent.mkdir(exist_ok=True)
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
            chunks: RIFF chunks after the samples, from `metadata.wav_chunks`.
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
        """Close and remove the temporary file."""
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
    """Flush a folder's entries to the disk, so that a rename survives a power failure."""
    if os.name == "nt":  # folders cannot be opened there; NTFS journals the rename
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
