from __future__ import annotations

import errno
import io
import os
import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from tests.conftest import write_clip
from tests.threads import at_once
from voicelab.audio.codecs import decode, prepare_clip, read, stretch
from voicelab.audio.encoding import FORMATS, encode, encoded
from voicelab.audio.samples import (
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
from voicelab.errors import BadClip, InvalidInput, StorageError, StoreFull

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


@pytest.mark.parametrize(("pause_ms", "paragraph_end"), [(500, False), (None, True)])
def test_silence_after_a_chunk_does_not_click_where_others_are_crossfaded(
    pause_ms: int | None, paragraph_end: bool
) -> None:
    joiner = Joiner(RATE, Join(gap_ms=0, crossfade_ms=50))
    first = joiner.push(tone(0.5)[:-10], pause_ms, paragraph_end)
    pcm = np.concatenate([first, joiner.push(tone(0.5)[:-10], None, False), joiner.finish()])
    assert np.abs(np.diff(pcm.astype(int))).max() < 2000
    assert abs(int(pcm[-1])) < 50


def test_pcm_survives_a_way_through_floats() -> None:
    pcm = np.arange(-32768, 32768).astype(np.int16)
    assert (to_pcm16(pcm.astype(np.float32) / np.float32(32768)) == pcm).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers_count_as_silence(value: float) -> None:
    assert is_silent(np.array([0.5, value], np.float32))


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


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
@pytest.mark.parametrize("speed", [0.25, 0.7, 1.5, 4.0])
@pytest.mark.parametrize("samples", [1, 500, 30_001])
def test_speed_swallows_no_end(samples: int, speed: float, rate: int) -> None:
    assert len(stretch(tone(2)[:samples], rate, speed)) == round(samples / speed)


def test_peaks_follow_the_envelope() -> None:
    drawn = peaks(to_pcm16(np.concatenate([tone(1, 0.1), tone(1, 0.8)])), 10)
    assert len(drawn) == 10
    assert drawn[0] == pytest.approx(0.1, abs=0.01)
    assert drawn[9] == pytest.approx(0.8, abs=0.01)


def test_two_who_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    pcm = np.arange(1000, dtype=np.int16)
    with WavWriter(tmp_path / "x.wav", RATE) as one, WavWriter(tmp_path / "x.wav", RATE) as other:
        one.write(pcm)
        other.write(pcm)
        one.commit()
        assert np.array_equal(read(tmp_path / "x.wav")[0], pcm)
        other.commit()
    assert np.array_equal(read(tmp_path / "x.wav")[0], pcm)
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


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


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), WavWriter(tmp_path / "file" / "x.wav", RATE):
        pass


def test_two_threads_may_write_the_same_file(tmp_path: Path) -> None:
    both_open = threading.Barrier(2, timeout=10)

    def write() -> None:
        with WavWriter(tmp_path / "x.wav", RATE) as wav:
            wav.write(to_pcm16(tone(1)))
            both_open.wait()
            wav.commit()

    assert at_once(write, write) == [None, None]
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]
    assert len(read(tmp_path / "x.wav")[0]) == RATE


def test_a_broken_or_missing_take_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"junk")
    for name in ("x.wav", "missing.wav"):
        with pytest.raises(StorageError, match="cannot be read"):
            read(tmp_path / name)


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
        pytest.param(random.Random(1).randbytes(20_000), "audio", id="noise"),
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


def test_a_clip_with_a_title_in_latin_1_is_taken(tmp_path: Path) -> None:
    wav = wav_bytes(to_pcm16(tone(4)), RATE)
    title = b"INFOINAM" + struct.pack("<I", 6) + b"caf\xe9\0\0"
    wav = wav[:36] + b"LIST" + struct.pack("<I", len(title)) + title + wav[36:]
    (tmp_path / "a.wav").write_bytes(wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:])
    assert len(prepare_clip(tmp_path / "a.wav")) == 4 * RATE


def test_a_clip_that_claims_1_hz_is_refused_before_it_is_resampled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(3), 1)
    with pytest.raises(BadClip, match="sample rate of 1 Hz"):
        prepare_clip(tmp_path / "a.wav")


def test_a_playlist_cannot_name_another_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", tone(4), RATE)
    (tmp_path / "concat").write_text("ffconcat version 1.0\nfile secret.wav\n")
    (tmp_path / "hls").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nsecret.wav\n#EXT-X-ENDLIST\n"
    )
    for name in ("concat", "hls"):
        with pytest.raises(BadClip):
            decode(tmp_path / name)


@pytest.mark.parametrize("name", ["webm", "m4a"])
def test_what_browsers_and_phones_record_is_taken(tmp_path: Path, name: str) -> None:
    codec, container = {"webm": ("libopus", "webm"), "m4a": ("aac", "ipod")}[name]
    with av.open(str(tmp_path / "clip"), "w", format=container) as sink:
        stream: Any = sink.add_stream(codec, rate=48_000)
        stream.layout = "mono"
        sound = to_pcm16(tone(3)).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
        frame.sample_rate = 24_000
        resampler = av.AudioResampler(stream.format.name, "mono", 48_000)
        for resampled in [*resampler.resample(frame), *resampler.resample(None)]:
            sink.mux(stream.encode(resampled))
        sink.mux(stream.encode(None))
    assert len(prepare_clip(tmp_path / "clip")) == pytest.approx(3 * RATE, rel=0.05)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pcm"])
def test_a_cut_or_scrambled_file_is_a_clip_or_a_refusal(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(1)
    whole = encode(to_pcm16(tone(3)), RATE, name)
    for _ in range(8):
        broken = bytearray(whole[: int(random.integers(1, len(whole)))])
        for position in random.integers(0, len(broken), 20):
            broken[position] = int(random.integers(0, 256))
        (tmp_path / "clip").write_bytes(broken)
        try:
            assert len(prepare_clip(tmp_path / "clip"))
        except BadClip as refusal:
            assert refusal.message.endswith(".")


@pytest.mark.parametrize("name", [*FORMATS, "m4b"])
def test_a_format_is_sent_while_it_is_encoded_and_ends_when_nobody_reads(name: str) -> None:
    taken, closed = [], []

    def blocks() -> Iterator[np.ndarray]:
        try:
            for number in range(100):
                taken.append(number)
                yield to_pcm16(tone(1))
        finally:
            closed.append(len(taken))

    parts = encoded(blocks(), RATE, name)
    assert taken == []
    size = 0
    while size < 5000:
        size += len(next(parts))
    assert len(taken) < 20
    parts.close()
    del parts
    assert closed == [len(taken)]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 48_000])
@pytest.mark.parametrize("name", ["mp3", "aac", "opus", "m4b"])
def test_every_rate_of_an_engine_can_be_encoded(name: str, rate: int) -> None:
    samples = np.sin(np.arange(3 * rate) * 2 * np.pi * 440 / rate).astype(np.float32) / 3
    content = b"".join(encoded([to_pcm16(samples)], rate, name))
    with av.open(io.BytesIO(content)) as container:
        heard = np.concatenate([f.to_ndarray().ravel() for f in container.decode(audio=0)])
        codec_rate = container.streams.audio[0].rate
    assert len(heard) / codec_rate == pytest.approx(3, abs=0.15)
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * codec_rate / len(heard) == pytest.approx(440, abs=2)
