"""Streaming encoders of audio files: formats, bit rates, chapters."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from voicelab.audio.samples import wav_header
from voicelab.errors import InvalidInput

__all__ = ["AUDIOBOOK", "FORMATS", "Chapter", "Format", "encode", "encoded"]

Pcm = NDArray[np.int16]

AAC_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MP3_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

MUXER_BUFFER_BYTES = 4096
"""Output buffer of ffmpeg's muxer, about half a second of speech."""


@dataclass(frozen=True)
class Format:
    """An output format of audio.

    Attributes:
        content_type, suffix: of its files.
        codec, container: ffmpeg's names; None where libsndfile or this module writes the file.
        rates: sample rates in Hz that the format allows; audio of any other rate is resampled
            to the last one. Empty when every rate is allowed.
        bit_rate: in bits per second; None for the codec's default.
        codec_options, options: ffmpeg's options of codec and container.
    """

    content_type: str
    suffix: str
    codec: str | None = None
    container: str | None = None
    rates: tuple[int, ...] = ()
    bit_rate: int | None = None
    codec_options: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    def rate(self, sample_rate: int) -> int:
        """Sample rate of the file in Hz: `sample_rate` where the format allows it."""
        return self.rates[-1] if self.rates and sample_rate not in self.rates else sample_rate


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "wav": Format("audio/wav", ".wav"),
        "mp3": Format(
            *("audio/mpeg", ".mp3", "libmp3lame", "mp3", MP3_RATES, 64_000),
            # LAME's -q 7: 2.6 times as fast as its default, which 64 kbit/s of speech do not need.
            codec_options={"compression_level": "7"},
        ),
        "flac": Format("audio/flac", ".flac"),
        "opus": Format("audio/ogg; codecs=opus", ".opus", "libopus", "ogg", (48_000,)),
        "ogg": Format("audio/ogg", ".ogg"),
        "aac": Format("audio/aac", ".aac", "aac", "adts", AAC_RATES),
        "pcm": Format("audio/pcm; rate=24000; channels=1", ".pcm", rates=(24_000,)),
    }
)

AUDIOBOOK = Format(
    *("audio/mp4", ".m4b", "aac", "ipod", AAC_RATES),
    # Fragments: the table of a plain MP4 is known only when everything is encoded.
    options={"movflags": "empty_moov+delay_moov+default_base_moof", "frag_duration": "5000000"},
)
"""The m4b format of audio books: AAC in MP4, with chapters."""


@dataclass(frozen=True)
class Chapter:
    """A named section of a file; its times are in seconds."""

    start_s: float
    end_s: float
    title: str


def encode(pcm: Pcm, sample_rate: int, name: str) -> bytes:
    """Encode int16 (n,) at `sample_rate` Hz as one file of format `name`; raises as `encoded`."""
    return b"".join(encoded([pcm], sample_rate, name, frames=len(pcm)))


def encoded(
    blocks: Iterable[Pcm],
    sample_rate: int,
    name: str,
    *,
    frames: int | None = None,
    chapters: Sequence[Chapter] = (),
    title: str = "",
) -> Iterator[bytes]:
    """Encode blocks of mono audio as a file, and yield its bytes as they are converted.

    Nothing is read from `blocks` before the first `next`. Closing the iterator ends the encoder.

    Args:
        blocks: int16 (n,) each, of any n.
        sample_rate: of the blocks, in Hz.
        name: a key of FORMATS, or "m4b".
        frames: total number of samples, for the headers of WAV and FLAC; None when not known.
        chapters, title: written to mp3 and m4b; other formats ignore them.

    Raises:
        InvalidInput: `name` is not a format.
    """
    format_ = AUDIOBOOK if name == "m4b" else FORMATS.get(name)
    if format_ is None:
        known = ", ".join(FORMATS)
        raise InvalidInput(
            f"'{name[:20]}' is not a format; there are {known}.", param="response_format"
        )
    if format_.codec is not None:
        return _ffmpeg(blocks, sample_rate, format_, chapters, title)
    if name in ("flac", "ogg"):
        return _sndfile(blocks, sample_rate, name, frames)
    return _uncompressed(blocks, sample_rate, name, frames)


class _Sink:
    """A write-only file that keeps the bytes written since the last call of `drain`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = self._end = 0

    def write(self, content: Any) -> int:
        """Append; overwrites are ignored, as libsndfile's header update comes after it was sent."""
        part = bytes(content)
        if self._position == self._end:
            self._parts.append(part)
            self._end += len(part)
        self._position += len(part)
        return len(part)

    def drain(self) -> bytes:
        """Return and forget the bytes written since the last call."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content


class _SeekableSink(_Sink):
    """A sink with `seek` and `tell`, which libsndfile needs."""

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._end)[whence]
        return self._position

    def tell(self) -> int:
        return self._position


def _uncompressed(
    blocks: Iterable[Pcm], sample_rate: int, name: str, frames: int | None
) -> Iterator[bytes]:
    if name == "wav":
        yield wav_header(sample_rate, None if frames is None else 2 * frames)
    for block in _at_rate(_second_blocks(blocks, sample_rate), sample_rate, FORMATS[name]):
        yield block.tobytes()


def _at_rate(blocks: Iterable[Pcm], sample_rate: int, format_: Format) -> Iterator[Pcm]:
    """The blocks resampled to the format's sample rate; no block is empty."""
    rate = format_.rate(sample_rate)
    if rate == sample_rate:
        yield from filter(len, blocks)
        return
    import av  # start-up time: 50 ms

    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    positioned = _with_positions(blocks)
    frames = (_frame(block, sample_rate, position) for position, block in positioned)
    for frame in itertools.chain(frames, [None]):
        for converted in resampler.resample(frame):
            yield converted.to_ndarray()[0]


def _second_blocks(blocks: Iterable[Pcm], sample_rate: int) -> Iterator[Pcm]:
    """Blocks of at most one second: for low latency, and because Vorbis overflows on long ones."""
    for block in blocks:
        for start in range(0, len(block), sample_rate):
            yield block[start : start + sample_rate]


def _sndfile(
    blocks: Iterable[Pcm], sample_rate: int, name: str, frames: int | None
) -> Iterator[bytes]:
    sink: Any = _SeekableSink()
    subtype = "VORBIS" if name == "ogg" else "PCM_16"
    shape = (sample_rate, 1, subtype)
    with soundfile.SoundFile(sink, "w", *shape, format=name.upper()) as file:
        for block in _second_blocks(blocks, sample_rate):
            file.write(block)
            if content := sink.drain():
                yield _with_frame_count(content, frames) if name == "flac" else content
                frames = None
    yield _with_frame_count(sink.drain(), frames) if name == "flac" else sink.drain()


def _with_frame_count(content: bytes, frames: int | None) -> bytes:
    """Write the number of samples into a FLAC's first bytes (RFC 9639, section 8.2: 36 bits)."""
    if frames is None or content[:4] != b"fLaC":
        return content
    count = int.from_bytes(content[18:26]) >> 36 << 36 | frames
    return content[:18] + count.to_bytes(8) + content[26:]


def _ffmpeg(
    blocks: Iterable[Pcm],
    sample_rate: int,
    format_: Format,
    chapters: Sequence[Chapter],
    title: str,
) -> Iterator[bytes]:
    sink = _Sink()
    with _muxer(sink, sample_rate, format_, chapters, title) as mux:
        for position, block in _with_positions(_second_blocks(blocks, sample_rate)):
            mux(_frame(block, sample_rate, position))
            if content := sink.drain():
                yield content
    yield sink.drain()


@contextlib.contextmanager
def _muxer(
    sink: _Sink, sample_rate: int, format_: Format, chapters: Sequence[Chapter], title: str
) -> Iterator[Callable[[Any], None]]:
    """A function that encodes one frame; the file is completed at the end of the `with` block."""
    import av  # start-up time: 50 ms

    options = {"flush_packets": "1", **format_.options}
    target: Any = sink
    with av.open(
        target, "w", format=format_.container, options=options, buffer_size=MUXER_BUFFER_BYTES
    ) as container:
        if title:
            container.metadata["title"] = title
        container.set_chapters([_chapter(number, each) for number, each in enumerate(chapters)])
        rate = format_.rate(sample_rate)
        stream: Any = container.add_stream(str(format_.codec), rate, dict(format_.codec_options))
        stream.layout = "mono"
        if format_.bit_rate:
            stream.bit_rate = format_.bit_rate
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)

        def mux(frame: Any) -> None:
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))

        yield mux
        mux(None)
        container.mux(stream.encode(None))


def _with_positions(blocks: Iterable[Pcm]) -> Iterator[tuple[int, Pcm]]:
    position = 0
    for block in blocks:
        yield position, block
        position += len(block)


def _frame(block: Pcm, sample_rate: int, position: int) -> Any:
    import av  # start-up time: 50 ms

    samples = np.ascontiguousarray(block).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = sample_rate
    frame.pts = position
    return frame


def _chapter(number: int, chapter: Chapter) -> Any:
    return {
        "id": number,
        "start": round(chapter.start_s * 1000),
        "end": round(chapter.end_s * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": chapter.title},
    }
