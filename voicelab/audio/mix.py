"""Clips on a time line, mixed sample by sample into blocks, and their captions.

Nothing is held whole: a clip's file is open while it sounds, and is read a second at a time.
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
"""Format -> content type of what a story can be had as."""

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Clip:
    """A part of a mono file at a place in time.

    Attributes:
        path: WAV or FLAC, any rate.
        start_ms: where it begins in the story.
        trim_start_ms: left out at its beginning.
        trim_end_ms: left out at its end.
        volume: 0-2; 0 is silence.
        fade_in_ms: linear, from the first sample heard.
        fade_out_ms: linear, to the last sample heard.
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
    """A line of captions, in seconds."""

    start_s: float
    end_s: float
    text: str


def mix_frames(clips: Iterable[Clip], sample_rate: int) -> int:
    """How many samples the mix of clips has at `sample_rate` Hz."""
    return max((_Sounding(clip, sample_rate).end for clip in clips), default=0)


def mix(clips: Sequence[Clip], sample_rate: int) -> Iterator[Pcm]:
    """The sum of clips as blocks of a second, int16 (n,) at `sample_rate` Hz.

    A click at a clip's first sample stands at round(start_ms * sample_rate / 1000). What adds
    up to more than full scale is clipped: anything gentler would change what is not too loud.

    Raises:
        StorageError: a clip's file is gone or broken.
    """
    waiting = sorted((_Sounding(clip, sample_rate) for clip in clips), key=lambda s: s.start)
    end = max((sound.end for sound in waiting), default=0)
    heard: list[_Sounding] = []
    with contextlib.ExitStack() as stack:
        for begin in range(0, end, sample_rate):
            block = np.zeros(min(sample_rate, end - begin), np.float32)
            while waiting and waiting[0].start < begin + len(block):
                heard.append(stack.enter_context(contextlib.closing(waiting.pop(0))))
            for sound in heard:
                sound.add_to(block, begin)
            heard = [sound for sound in heard if sound.end > begin + len(block)]
            yield to_pcm16(block)


def captions(cues: Iterable[Cue], kind: str) -> str:
    """Cues as SubRip ("srt") or WebVTT ("vtt")."""
    mark = "," if kind == "srt" else "."
    parts = [] if kind == "srt" else ["WEBVTT\n"]
    for number, cue in enumerate(cues, 1):
        # An arrow or an empty line would end the cue.
        text = " ".join(cue.text.replace("-->", "->").split())
        if kind == "vtt":
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        times = f"{_clock(cue.start_s, mark)} --> {_clock(cue.end_s, mark)}"
        parts.append(f"{number}\n{times}\n{text}\n")
    return "\n".join(parts)


class _Sounding:
    """A clip while it is mixed; `start` and `end` are samples of the mix."""

    def __init__(self, clip: Clip, sample_rate: int):
        self._clip = clip
        self._rate = sample_rate
        self._samples: Iterator[Samples] | None = None
        self._left = np.zeros(0, np.float32)
        first, last, rate = _span(clip)
        self.start = round(clip.start_ms * sample_rate / 1000)
        self._length = round(max(0, last - first) * sample_rate / rate)
        self.end = self.start + self._length

    def add_to(self, block: Samples, begin: int) -> None:
        """Add what sounds in the block that begins at sample `begin`; called in order."""
        first, last = max(self.start, begin), min(self.end, begin + len(block))
        if last <= first:
            return
        samples = self._read(last - first)
        place = first - begin
        block[place : place + len(samples)] += samples * self._gain(
            first - self.start, len(samples)
        )

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._samples, Iterator) and hasattr(self._samples, "close"):
            self._samples.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _read(self, count: int) -> Samples:
        if self._samples is None:
            self._samples = _samples(self._clip, self._rate)
        pieces, have = [self._left], len(self._left)
        while have < count:
            piece = next(self._samples, None)
            if piece is None:  # the resampler gave one sample less than reckoned
                break
            pieces.append(piece)
            have += len(piece)
        whole = np.concatenate(pieces)
        self._left = whole[count:]
        return whole[:count]

    def _gain(self, offset: int, count: int) -> Samples:
        positions = np.arange(offset, offset + count, dtype=np.float32)
        gain = np.full(count, self._clip.volume, np.float32)
        if fade := round(self._clip.fade_in_ms * self._rate / 1000):
            gain *= np.minimum(1, positions / fade)
        if fade := round(self._clip.fade_out_ms * self._rate / 1000):
            gain *= np.clip((self._length - 1 - positions) / fade, 0, 1)
        return gain


def _span(clip: Clip) -> tuple[int, int, int]:
    """First and last frame of the file that is heard, and its rate."""
    try:
        info = soundfile.info(clip.path)
    except (soundfile.SoundFileError, OSError) as error:
        raise StorageError("The audio file of a clip cannot be read.") from error
    first = round(clip.trim_start_ms * info.samplerate / 1000)
    last = info.frames - round(clip.trim_end_ms * info.samplerate / 1000)
    return first, last, info.samplerate


def _samples(clip: Clip, sample_rate: int) -> Iterator[Samples]:
    """What is heard of a file, float32 (n,) at `sample_rate` Hz, piece by piece."""
    first, last, rate = _span(clip)
    try:
        with soundfile.SoundFile(clip.path) as file:
            file.seek(first)
            blocks = file.blocks(rate, frames=last - first, dtype="float32", always_2d=True)
            mono = (np.ascontiguousarray(block[:, 0], np.float32) for block in blocks)
            yield from mono if rate == sample_rate else resampled(mono, rate, sample_rate)
    except (soundfile.SoundFileError, OSError) as error:
        raise StorageError("The audio file of a clip cannot be read.") from error


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
