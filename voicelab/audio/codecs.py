"""Decoding of voice clips and of stored files; change of speed and of sample rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from voicelab.audio.samples import is_silent, trim_silence
from voicelab.errors import BadClip, StorageError

__all__ = [
    "CLIP_RATE",
    "MAX_CLIP_S",
    "blocks",
    "decode",
    "filtered",
    "prepare_clip",
    "read",
    "resampled",
    "stretch",
]

CLIP_RATE = 24_000
"""Sample rate of stored reference clips, in Hz; it is Chatterbox's rate."""

MIN_CLIP_S, MAX_CLIP_S = 2, 30

MAX_DECODED_S = 600

RATES = range(4_000, 384_001)
"""Sample rates a clip may have, in Hz. A file that claims 1 Hz decodes to gigabytes."""

CONTAINERS = "wav,w64,aiff,au,caf,mp3,aac,flac,ogg,mov,mp4,m4a,3gp,matroska,webm,amr,asf,ape,wv"
"""ffmpeg's demuxers that read one file and nothing else; playlists and scripts open others."""

CLIPPED_SHARE = 0.1

BLOCK = 1 << 17
"""Samples per block of a stored file, about five seconds."""

UNREADABLE = "The audio file of this take cannot be read."


def _frames(pcm: NDArray[Any], sample_rate: int, sample_format: str = "s16") -> Iterator[Any]:
    import av  # start-up time: 50 ms

    for start in range(0, len(pcm), sample_rate):
        block = np.ascontiguousarray(pcm[start : start + sample_rate]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format=sample_format, layout="mono")
        frame.sample_rate = sample_rate
        frame.pts = start
        yield frame


def _resampled(frames: Iterator[Any], sample_format: str, rate: int) -> Iterator[Any]:
    import av  # start-up time: 50 ms

    resampler = av.AudioResampler(format=sample_format, layout="mono", rate=rate)
    for frame in frames:
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def stretch(samples: NDArray[np.float32], sample_rate: int, speed: float) -> NDArray[np.float32]:
    """Change the speed of float32 (n,) by a factor of 0.25-4 at constant pitch (ffmpeg's atempo).

    The result has round(n / speed) samples.
    """
    if speed == 1.0 or not len(samples):
        return samples
    # atempo has the best quality within 0.5..2, so larger changes are made in two equal steps.
    steps = 1 if 0.5 <= speed <= 2 else 2
    # It drops samples that do not fill its last window, so silence is appended.
    padded = np.concatenate([samples, np.zeros(sample_rate // 2, np.float32)])
    filters = [("atempo", str(speed ** (1 / steps)))] * steps
    frames = filtered(padded, sample_rate, filters)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])[
        : round(len(samples) / speed)
    ]


def resampled(
    blocks: Iterable[NDArray[np.float32]], sample_rate: int, target_rate: int
) -> Iterator[NDArray[np.float32]]:
    """Resample blocks of float32 (n,) from `sample_rate` to `target_rate` Hz, block by block."""
    import av  # start-up time: 50 ms

    resampler = av.AudioResampler(format="fltp", layout="mono", rate=target_rate)
    for block in blocks:
        for frame in _frames(block, sample_rate, "fltp"):
            # The blocks are consecutive; time stamps are not needed.
            frame.pts = None
            for converted in resampler.resample(frame):
                yield converted.to_ndarray()[0]
    for converted in resampler.resample(None):
        yield converted.to_ndarray()[0]


def filtered(
    samples: NDArray[np.float32], sample_rate: int, filters: Sequence[tuple[str, str]]
) -> Iterator[Any]:
    """Run float32 (n,) through ffmpeg filters, each (name, arguments); yields mono float frames."""
    import av.filter  # start-up time: 50 ms

    graph = av.filter.Graph()
    nodes = [graph.add_abuffer(sample_rate=sample_rate, format="fltp", layout="mono")]
    nodes += [graph.add(name, arguments) for name, arguments in filters]
    nodes.append(graph.add("aformat", "sample_fmts=fltp:channel_layouts=mono"))
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    for frame in (*_frames(samples, sample_rate, "fltp"), None):
        graph.push(frame)
        while True:
            try:
                yield graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break


def decode(path: Path, sample_rate: int | None = None) -> tuple[NDArray[np.float32], int]:
    """Decode an audio file of any format of CONTAINERS to mono float32 (n,) and its rate in Hz.

    Args:
        path: the file; the format is detected from its content, not from its name.
        sample_rate: rate to resample to, in Hz; None for the file's rate.

    Raises:
        BadClip: not audio, damaged, longer than ten minutes, a sample rate outside RATES, or
            samples that are not finite.
    """
    import av  # start-up time: 50 ms

    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        # Titles in Latin-1 are common and of no interest; they must not refuse the audio.
        with av.open(str(path), options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise BadClip("The file has no audio in it.", param="voice_file")
            stream = container.streams.audio[0]
            if stream.rate not in RATES:
                raise BadClip(
                    f"The audio claims a sample rate of {stream.rate} Hz; "
                    f"{RATES[0]} to {RATES[-1]} Hz can be used.",
                    param="voice_file",
                )
            rate = sample_rate or stream.rate
            samples = _collect(_resampled(container.decode(stream), "fltp", rate), rate)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise BadClip("The file is not audio that can be decoded.", param="voice_file") from error
    if not len(samples):
        raise BadClip("The file has no audio in it.", param="voice_file")
    if not np.isfinite(samples).all():
        raise BadClip("The audio has samples that are not finite numbers.", param="voice_file")
    return samples, rate


def _collect(frames: Iterator[Any], rate: int) -> NDArray[np.float32]:
    blocks: list[NDArray[np.float32]] = []
    count = 0
    for frame in frames:
        blocks.append(frame.to_ndarray()[0])
        count += len(blocks[-1])
        if count > MAX_DECODED_S * rate:
            raise BadClip("The audio is longer than ten minutes.", param="voice_file")
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def prepare_clip(path: Path) -> NDArray[np.float32]:
    """Decode a reference clip of 2-30 s to mono float32 (n,) at 24 kHz, edge silence trimmed.

    Raises:
        BadClip: undecodable, shorter or longer than allowed, silent, or more than 10 % clipped.
    """
    samples, _ = decode(path, CLIP_RATE)
    if is_silent(samples):
        raise BadClip("The voice clip is silent.", param="voice_file")
    samples = trim_silence(samples, CLIP_RATE)
    duration_s = len(samples) / CLIP_RATE
    if not MIN_CLIP_S <= duration_s <= MAX_CLIP_S:
        raise BadClip(
            f"The voice clip has {duration_s:.1f} s of sound; "
            f"{MIN_CLIP_S} to {MAX_CLIP_S} s are needed.",
            param="voice_file",
        )
    if float(np.mean(np.abs(samples) >= 0.999)) > CLIPPED_SHARE:
        raise BadClip("The voice clip is clipped beyond use: record it softer.", param="voice_file")
    return samples


def read(path: Path) -> tuple[NDArray[np.int16], int]:
    """Read a stored mono WAV or FLAC file: int16 (n,) and its rate in Hz.

    Raises:
        StorageError: it is missing or damaged.
    """
    pcm: NDArray[Any]
    try:
        pcm, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise StorageError(UNREADABLE) from error
    return np.ascontiguousarray(pcm[:, 0]), rate


def blocks(path: Path) -> tuple[Iterator[NDArray[np.int16]], int, int]:
    """Read a stored mono WAV or FLAC file in blocks.

    Returns:
        Blocks of int16 (n,), their rate in Hz, and the total number of samples. The file is
        open until the last block is read or the iterator is closed.

    Raises:
        StorageError: it is missing or damaged; also from the iterator.
    """
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise StorageError(UNREADABLE) from error
    return _blocks(file), file.samplerate, file.frames


def _blocks(file: Any) -> Iterator[NDArray[np.int16]]:
    try:
        with file:
            for block in file.blocks(BLOCK, dtype="int16", always_2d=True):
                yield np.ascontiguousarray(block[:, 0])
    except (soundfile.SoundFileError, OSError) as error:
        raise StorageError(UNREADABLE) from error
