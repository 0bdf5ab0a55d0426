from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tests.conftest import write_clip
from voicelab.audio import (
    Join,
    Joiner,
    WavWriter,
    is_silent,
    normalize_loudness,
    peaks,
    to_pcm16,
    trim_silence,
    wav_bytes,
)
from voicelab.codecs import FORMATS, decode, encode, prepare_clip, read, stretch
from voicelab.errors import BadClip, InvalidInput, StoreFull

RATE = 24_000


def tone(duration_s: float, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(np.arange(int(duration_s * RATE)) / 20)).astype(np.float32)


def joined(join: Join, *parts: np.ndarray) -> tuple[np.ndarray, Joiner]:
    joiner = Joiner(RATE, join)
    pieces = [joiner.push(part, None, False) for part in parts]
    return np.concatenate([*pieces, joiner.finish()]), joiner


def test_a_gap_is_silence_of_its_length_and_none_follows_the_last_chunk() -> None:
    pcm, joiner = joined(Join(gap_ms=100), tone(1), tone(1))
    assert len(pcm) == 2.1 * RATE
    assert not pcm[RATE : RATE + 2400].any()
    assert joiner.spans == [(0.0, 1.0), (1.1, 1.0)]


def test_a_crossfade_keeps_the_energy_and_overlaps() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (2, RATE)).astype(np.float32)
    pcm, joiner = joined(Join(gap_ms=0, crossfade_ms=200), *noise)
    assert len(pcm) == 2 * RATE - 4800
    level = np.std(pcm[RATE - 4800 : RATE].astype(float))
    assert level == pytest.approx(np.std(pcm[5000:15000].astype(float)), rel=0.1)
    assert joiner.spans[1][0] == pytest.approx(0.8)


def test_a_chunk_shorter_than_the_crossfade_is_joined_whole() -> None:
    pcm, _ = joined(Join(gap_ms=0, crossfade_ms=500), tone(1), tone(0.1), tone(1))
    assert RATE < len(pcm) < 2.1 * RATE


def test_joints_do_not_click() -> None:
    pcm, _ = joined(Join(gap_ms=50), tone(0.5), tone(0.5))
    assert np.abs(np.diff(pcm.astype(int))).max() < 2000


def test_true_silence_is_trimmed_and_a_quiet_voice_is_not() -> None:
    quiet = tone(1, level=0.003)
    padded = np.concatenate([np.zeros(RATE), quiet, np.zeros(RATE)]).astype(np.float32)
    assert len(trim_silence(padded, RATE)) == pytest.approx(RATE, abs=1000)
    assert is_silent(tone(1, 0.0005))
    assert not is_silent(quiet)
    assert not len(trim_silence(np.zeros(100, np.float32), RATE))


def test_samples_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        to_pcm16(np.array([0.0, np.nan], np.float32))


def test_loudness_is_evened_out_below_full_scale() -> None:
    levels = [float(np.std(normalize_loudness(tone(1, level)))) for level in (0.01, 0.9)]
    assert levels[0] == pytest.approx(levels[1], rel=0.01)
    spiky = np.zeros(RATE, np.float32)
    spiky[::1000] = 0.5
    assert np.abs(normalize_loudness(spiky)).max() <= 0.9


@pytest.mark.parametrize("speed", [0.25, 0.7, 1.5, 4.0])
def test_speed_changes_the_length_and_keeps_the_pitch(speed: float) -> None:
    changed = stretch(tone(2), RATE, speed)
    assert len(changed) == pytest.approx(2 * RATE / speed, rel=0.05)
    spectrum = np.abs(np.fft.rfft(changed))
    assert np.argmax(spectrum) * RATE / len(changed) == pytest.approx(
        RATE / 20 / 2 / np.pi, rel=0.03
    )


def test_peaks_follow_the_envelope() -> None:
    drawn = peaks(to_pcm16(np.concatenate([tone(1, 0.1), tone(1, 0.8)])), 10)
    assert len(drawn) == 10
    assert drawn[0] == pytest.approx(0.1, abs=0.01)
    assert drawn[9] == pytest.approx(0.8, abs=0.01)


def test_a_wav_appears_only_when_it_is_committed(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "a" / "x.wav", RATE) as wav:
        wav.write(to_pcm16(tone(1)))
        assert not (tmp_path / "a" / "x.wav").exists()
        wav.commit()
    pcm, rate = read(tmp_path / "a" / "x.wav")
    assert (len(pcm), rate) == (RATE, RATE)


def test_a_wav_given_up_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), WavWriter(tmp_path / "x.wav", RATE) as wav:
        wav.write(to_pcm16(tone(1)))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with WavWriter(tmp_path / "x.wav", RATE) as wav:
        wav.write(to_pcm16(tone(1)))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull, match="disk is full"):
            wav.commit()
    assert not list(tmp_path.iterdir())


CODECS = {"mp3": "mp3float", "flac": "flac", "opus": "opus", "ogg": "vorbis", "aac": "aac"}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pcm"])
def test_each_format_is_what_it_says(name: str) -> None:
    with av.open(io.BytesIO(encode(to_pcm16(tone(2)), RATE, name))) as container:
        stream = container.streams.audio[0]
        assert CODECS.get(name, "pcm_s16le") in (stream.codec.name, stream.codec_context.name)
        samples = sum(frame.samples for frame in container.decode(stream))
        assert samples / stream.rate == pytest.approx(2, abs=0.1)


def test_wav_and_flac_lose_nothing(tmp_path: Path) -> None:
    pcm = to_pcm16(tone(1))
    for name in ("wav", "flac"):
        (tmp_path / name).write_bytes(encode(pcm, RATE, name))
        assert (read(tmp_path / name)[0] == pcm).all()
    assert encode(pcm, RATE, "pcm") == pcm.tobytes()


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a format"):
        encode(to_pcm16(tone(0.1)), RATE, "midi")


def test_a_stereo_clip_of_another_rate_becomes_mono_24_khz(tmp_path: Path) -> None:
    stereo = np.stack([tone(4), tone(4)], axis=1)
    soundfile.write(tmp_path / "a.flac", stereo, 44_100)
    assert len(prepare_clip(tmp_path / "a.flac")) == pytest.approx(
        4 * RATE * RATE / 44_100, rel=0.05
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "audio"),
        (b"this is a text file, not audio\n" * 50, "audio"),
        (wav_bytes(np.zeros(0, np.int16), RATE), "audio"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n", "audio"),
        (os.urandom(20_000), "audio"),
    ],
)
def test_junk_is_not_a_clip(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "clip").write_bytes(content)
    with pytest.raises(BadClip, match=reason):
        prepare_clip(tmp_path / "clip")


def test_clips_are_refused_for_length_silence_and_clipping(tmp_path: Path) -> None:
    with pytest.raises(BadClip, match=r"0\.2 s of sound; 2 to 30 s"):
        prepare_clip(write_clip(tmp_path / "a.wav", 0.2))
    with pytest.raises(BadClip, match="silent"):
        prepare_clip(write_clip(tmp_path / "b.wav", 5, level=0.0001))
    with pytest.raises(BadClip, match=r"31\.\d s of sound"):
        prepare_clip(write_clip(tmp_path / "c.wav", 31.5))
    square = np.sign(tone(4)).astype(np.float32)
    soundfile.write(tmp_path / "d.wav", square, RATE)
    with pytest.raises(BadClip, match="clipped"):
        prepare_clip(tmp_path / "d.wav")


def test_a_clip_with_nan_is_refused(tmp_path: Path) -> None:
    samples = tone(3)
    samples[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(BadClip):
        decode(tmp_path / "nan.wav")
