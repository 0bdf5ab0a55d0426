"""Mixing of clips on a time line into blocks of samples, and captions in SubRip and WebVTT.

A clip's file is open only while the mix is within the clip, and is read one second at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import soundfile
from numpy.typing import NDArray

from voicelab.audio.codecs import resampled
from voicelab.audio.samples import to_pcm16
from voicelab.errors import StorageError

__all__ = ["EXPORTS", "Clip", "Cue", "captions", "mix", "mix_frames"]

EXPORTS: Mapping[str, str] = MappingProxyType(
    {
        "wav": "audio/wav",
        "flac": "audio/flac",
        "mp3": "audio/mpeg",
        "m4b": "audio/mp4",
        "srt": "application/x-subrip",
        "vtt": "text/vtt",
    }
)
"""Export format of a story -> its content type."""

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Clip:
    """A part of a mono audio file at a position on the time line.

    Attributes:
        path: WAV or FLAC, any rate.
        start_ms: position of its first sample in the story.
        trim_start_ms: length that is cut off at the beginning of the file.
        trim_end_ms: length that is cut off at the end of the file.
        volume: linear gain, 0-2; 0 is silence.
        fade_in_ms: length of the linear fade from the first sample after the trim.
        fade_out_ms: length of the linear fade to the last sample before the trim.
    """

    path: Path
    start_ms: int = 0
    trim_start_ms: int = 0
    trim_end_ms: int = 0
    volume: float = 1.0
    fade_in_ms: int = 0
    fade_out_ms: int = 0


@dataclass(frozen=True)
class Cue:
    """A line of captions; its times are in seconds from the start of the mix."""

    start_s: float
    end_s: float
    text: str


def mix_frames(clips: Iterable[Clip], sample_rate: int) -> int:
    """Number of samples of the mix of clips at `sample_rate` Hz."""
    return max((_MixedClip(clip, sample_rate).end for clip in clips), default=0)


def mix(clips: Sequence[Clip], sample_rate: int) -> Iterator[Pcm]:
    """The sum of clips as blocks of a second, int16 (n,) at `sample_rate` Hz.

    A clip's first sample is at sample round(start_ms * sample_rate / 1000) of the mix. A sum
    above full scale is clipped: a limiter would also change samples below full scale.

    Raises:
        StorageError: a clip's file is missing or damaged.
    """
    waiting = sorted((_MixedClip(clip, sample_rate) for clip in clips), key=lambda s: s.start)
    end = max((sound.end for sound in waiting), default=0)
    active: list[_MixedClip] = []
    with contextlib.ExitStack() as stack:
        for begin in range(0, end, sample_rate):
            block = np.zeros(min(sample_rate, end - begin), np.float32)
            while waiting and waiting[0].start < begin + len(block):
                active.append(stack.enter_context(contextlib.closing(waiting.pop(0))))
            for sound in active:
                sound.add_to(block, begin)
            active = [sound for sound in active if sound.end > begin + len(block)]
            yield to_pcm16(block)


def captions(cues: Iterable[Cue], kind: str) -> str:
    """Cues as a text file: SubRip for kind "srt", WebVTT for "vtt"."""
    separator = "," if kind == "srt" else "."
    parts = [] if kind == "srt" else ["WEBVTT\n"]
    for number, cue in enumerate(cues, 1):
        # An arrow or an empty line would end the cue.
        text = " ".join(cue.text.replace("-->", "->").split())
        if kind == "vtt":
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        times = f"{_clock(cue.start_s, separator)} --> {_clock(cue.end_s, separator)}"
        parts.append(f"{number}\n{times}\n{text}\n")
    return "\n".join(parts)


class _MixedClip:
    """A clip that is being mixed; its `start` and `end` are sample positions in the mix."""

    def __init__(self, clip: Clip, sample_rate: int):
        self._clip = clip
        self._rate = sample_rate
        self._samples: Iterator[Samples] | None = None
        self._buffered = np.zeros(0, np.float32)
        first, last, rate = _frame_range(clip)
        self.start = round(clip.start_ms * sample_rate / 1000)
        self._length = round(max(0, last - first) * sample_rate / rate)
        self.end = self.start + self._length

    def add_to(self, block: Samples, begin: int) -> None:
        """Add the clip's samples to a block of the mix.

        Args:
            block: float32 (n,), changed in place; blocks must come in order.
            begin: position of its first sample in the mix.
        """
        first, last = max(self.start, begin), min(self.end, begin + len(block))
        if last <= first:
            return
        samples = self._read(last - first)
        offset = first - begin
        gain = self._gain(first - self.start, len(samples))
        block[offset : offset + len(samples)] += samples * gain

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._samples, Iterator) and hasattr(self._samples, "close"):
            self._samples.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _read(self, count: int) -> Samples:
        if self._samples is None:
            self._samples = _samples(self._clip, self._rate)
        blocks_read, available = [self._buffered], len(self._buffered)
        while available < count:
            block_read = next(self._samples, None)
            if block_read is None:  # the resampler gave one sample less than computed
                break
            blocks_read.append(block_read)
            available += len(block_read)
        samples = np.concatenate(blocks_read)
        self._buffered = samples[count:]
        return samples[:count]

    def _gain(self, offset: int, count: int) -> Samples:
        positions = np.arange(offset, offset + count, dtype=np.float32)
        gain = np.full(count, self._clip.volume, np.float32)
        if fade := round(self._clip.fade_in_ms * self._rate / 1000):
            gain *= np.minimum(1, positions / fade)
        if fade := round(self._clip.fade_out_ms * self._rate / 1000):
            gain *= np.clip((self._length - 1 - positions) / fade, 0, 1)
        return gain


def _frame_range(clip: Clip) -> tuple[int, int, int]:
    """First frame and end frame of the file after the trims, and its sample rate in Hz."""
    try:
        info = soundfile.info(clip.path)
    except (soundfile.SoundFileError, OSError) as error:
        raise StorageError("The audio file of a clip cannot be read.") from error
    first = round(clip.trim_start_ms * info.samplerate / 1000)
    last = info.frames - round(clip.trim_end_ms * info.samplerate / 1000)
    return first, last, info.samplerate


def _samples(clip: Clip, sample_rate: int) -> Iterator[Samples]:
    """The trimmed samples of a clip as blocks of float32 (n,) at `sample_rate` Hz."""
    first, last, rate = _frame_range(clip)
    try:
        with soundfile.SoundFile(clip.path) as file:
            file.seek(first)
            blocks = file.blocks(rate, frames=last - first, dtype="float32", always_2d=True)
            mono = (np.ascontiguousarray(block[:, 0], np.float32) for block in blocks)
            yield from mono if rate == sample_rate else resampled(mono, rate, sample_rate)
    except (soundfile.SoundFileError, OSError) as error:
        raise StorageError("The audio file of a clip cannot be read.") from error


def _clock(seconds: float, separator: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{separator}{rest % 1000:03d}"
