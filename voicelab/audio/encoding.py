"""Audio files that come out while their samples still go in: formats, bit rates, chapters."""

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

__all__ = ["BOOK", "FORMATS", "Chapter", "Format", "encode", "encoded"]

Pcm = NDArray[np.int16]

AAC_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MP3_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

HELD_BYTES = 4096
"""What a muxer may hold back: about half a second of speech."""


@dataclass(frozen=True)
class Format:
    """A format audio can be had in.

    Attributes:
        content_type, suffix: of its files.
        codec, container: ffmpeg's names; None where libsndfile or we write it.
        rates: of the format in Hz, a take of another is resampled to the last; none for any.
        bit_rate: in bits a second; None is the codec's own.
        codec_options, options: of codec and container.
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
        """The rate of the file in Hz: the sound's own where the format has it."""
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

BOOK = Format(
    *("audio/mp4", ".m4b", "aac", "ipod", AAC_RATES),
    # Fragments: the table of a plain MP4 is known only when everything is encoded.
    options={"movflags": "empty_moov+delay_moov+default_base_moof", "frag_duration": "5000000"},
)
"""An audio book: AAC in MP4, with chapters."""


@dataclass(frozen=True)
class Chapter:
    """A named stretch of a file, in seconds."""

    start_s: float
    end_s: float
    title: str


def encode(pcm: Pcm, sample_rate: int, name: str) -> bytes:
    """int16 (n,) at `sample_rate` Hz as a whole file; raises as `encoded`."""
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
    """A file of mono sound, as it is encoded: bytes come out at each block.

    Nothing is read from `blocks` before the first `next`. Close the iterator to end the encoder.

    Args:
        blocks: int16 (n,) each, of any length.
        sample_rate: of the blocks, in Hz.
        name: of FORMATS, or m4b.
        frames: how many samples come, where it is known: WAV and FLAC then tell it.
        chapters, title: for mp3 and m4b.

    Raises:
        InvalidInput: no such format.
    """
    form = BOOK if name == "m4b" else FORMATS.get(name)
    if form is None:
        known = ", ".join(FORMATS)
        raise InvalidInput(
            f"'{name[:20]}' is not a format; there are {known}.", param="response_format"
        )
    if form.codec is not None:
        return _ffmpeg(blocks, sample_rate, form, chapters, title)
    if name in ("flac", "ogg"):
        return _sndfile(blocks, sample_rate, name, frames)
    return _plain(blocks, sample_rate, name, frames)


class _Sink:
    """A file that can only be written on: what came since it was last asked."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = self._end = 0

    def write(self, content: Any) -> int:
        """Append; what libsndfile writes over in the end has been sent already."""
        part = bytes(content)
        if self._place == self._end:
            self._parts.append(part)
            self._end += len(part)
        self._place += len(part)
        return len(part)

    def taken(self) -> bytes:
        """What came since the last call."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content


class _SeekableSink(_Sink):
    """As libsndfile wants it."""

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, self._end)[whence]
        return self._place

    def tell(self) -> int:
        return self._place


def _plain(
    blocks: Iterable[Pcm], sample_rate: int, name: str, frames: int | None
) -> Iterator[bytes]:
    if name == "wav":
        yield wav_header(sample_rate, None if frames is None else 2 * frames)
    for block in _at_rate(_short(blocks, sample_rate), sample_rate, FORMATS[name]):
        yield block.tobytes()


def _at_rate(blocks: Iterable[Pcm], sample_rate: int, form: Format) -> Iterator[Pcm]:
    """The blocks at the format's rate, none of them empty."""
    rate = form.rate(sample_rate)
    if rate == sample_rate:
        yield from filter(len, blocks)
        return
    import av  # start-up time: 50 ms

    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    placed = _placed(blocks)
    frames = (_frame(block, sample_rate, position) for position, block in placed)
    for frame in itertools.chain(frames, [None]):
        for ready in resampler.resample(frame):
            yield ready.to_ndarray()[0]


def _short(blocks: Iterable[Pcm], sample_rate: int) -> Iterator[Pcm]:
    """In seconds: a client hears each soon, and libsndfile's Vorbis overflows on long ones."""
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
        for block in _short(blocks, sample_rate):
            file.write(block)
            if content := sink.taken():
                yield _counted(content, frames) if name == "flac" else content
                frames = None
    yield _counted(sink.taken(), frames) if name == "flac" else sink.taken()


def _counted(head: bytes, frames: int | None) -> bytes:
    """The first bytes of a FLAC with its number of samples (RFC 9639, 8.2: 36 bits)."""
    if frames is None or head[:4] != b"fLaC":
        return head
    count = int.from_bytes(head[18:26]) >> 36 << 36 | frames
    return head[:18] + count.to_bytes(8) + head[26:]


def _ffmpeg(
    blocks: Iterable[Pcm], sample_rate: int, form: Format, chapters: Sequence[Chapter], title: str
) -> Iterator[bytes]:
    sink = _Sink()
    with _muxer(sink, sample_rate, form, chapters, title) as mux:
        for position, block in _placed(_short(blocks, sample_rate)):
            mux(_frame(block, sample_rate, position))
            if content := sink.taken():
                yield content
    yield sink.taken()


@contextlib.contextmanager
def _muxer(
    sink: _Sink, sample_rate: int, form: Format, chapters: Sequence[Chapter], title: str
) -> Iterator[Callable[[Any], None]]:
    """Encodes frame by frame; the file is complete when the block is left."""
    import av  # start-up time: 50 ms

    options = {"flush_packets": "1", **form.options}
    target: Any = sink
    with av.open(
        target, "w", format=form.container, options=options, buffer_size=HELD_BYTES
    ) as container:
        if title:
            container.metadata["title"] = title
        container.set_chapters([_chapter(number, each) for number, each in enumerate(chapters)])
        rate = form.rate(sample_rate)
        stream: Any = container.add_stream(str(form.codec), rate, dict(form.codec_options))
        stream.layout = "mono"
        if form.bit_rate:
            stream.bit_rate = form.bit_rate
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)

        def mux(frame: Any) -> None:
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))

        yield mux
        mux(None)
        container.mux(stream.encode(None))


def _placed(blocks: Iterable[Pcm]) -> Iterator[tuple[int, Pcm]]:
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
