"""Mixing: sample by sample, in little memory, into files that are whole."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from voicelab.audio.encoding import Chapter, encoded
from voicelab.audio.mix import Clip, Cue, captions, mix, mix_frames
from voicelab.audio.samples import write_whole
from voicelab.errors import StorageError

RATE = 24_000


def wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, samples.astype(np.int16), rate, subtype="PCM_16")
    return path


def mixed(*clips: Clip, rate: int = RATE) -> np.ndarray:
    blocks = list(mix(clips, rate))
    assert all(len(block) <= rate for block in blocks)
    whole = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    assert len(whole) == mix_frames(clips, rate)
    return whole


@pytest.fixture
def noise(tmp_path: Path) -> tuple[Path, np.ndarray]:
    samples = np.random.default_rng(1).integers(-9000, 9000, 3 * RATE + 777)
    return wav(tmp_path / "noise.wav", samples), samples


@pytest.mark.parametrize("start_ms", [0, 1, 999, 1000, 1001, 123_457])
def test_a_click_lands_on_its_sample(tmp_path: Path, start_ms: int) -> None:
    click = np.zeros(500)
    click[0] = 20_000
    out = mixed(Clip(wav(tmp_path / "c.wav", click), start_ms=start_ms))
    assert np.flatnonzero(out).tolist() == [round(start_ms * RATE / 1000)]


def test_a_clip_is_given_back_exactly(noise) -> None:
    path, samples = noise
    assert np.array_equal(mixed(Clip(path)), samples)
    trimmed = mixed(Clip(path, trim_start_ms=250, trim_end_ms=500))
    assert np.array_equal(trimmed, samples[6000:-12_000])


def test_clips_add_up_and_full_scale_is_the_end(noise) -> None:
    path, samples = noise
    both = mixed(Clip(path), Clip(path, start_ms=1000))
    assert np.array_equal(both[:RATE], samples[:RATE])
    assert np.array_equal(both[RATE : 2 * RATE], samples[RATE : 2 * RATE] + samples[:RATE])
    loud = mixed(*[Clip(path, volume=2.0)] * 3)
    assert loud.max() == 32_767 and loud.min() == -32_768


def test_volume_zero_is_silence_and_half_is_half(noise) -> None:
    path, samples = noise
    assert not mixed(Clip(path, volume=0.0)).any()
    assert np.abs(mixed(Clip(path, volume=0.5)) - samples / 2).max() <= 0.5


def test_fades_are_linear_and_end_in_silence(tmp_path: Path) -> None:
    flat = wav(tmp_path / "flat.wav", np.full(2 * RATE, 10_000))
    out = mixed(Clip(flat, fade_in_ms=500, fade_out_ms=1000))
    assert out[0] == 0 and out[-1] == 0
    assert out[6000] == pytest.approx(5000, abs=2) and out[12_000] == 10_000
    assert out[2 * RATE - 1 - 12_000] == pytest.approx(5000, abs=2)


def test_another_rate_keeps_pitch_and_length(tmp_path: Path) -> None:
    moments = np.arange(2 * 22_050) / 22_050
    path = wav(tmp_path / "t.wav", 9000 * np.sin(2 * np.pi * 441 * moments), 22_050)
    out = mixed(Clip(path, start_ms=500))
    assert len(out) == 2 * RATE + RATE // 2
    sound = out[RATE // 2 + 2000 : -2000].astype(float)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert spectrum.argmax() * RATE / len(sound) == pytest.approx(441, abs=1)


def test_two_halves_sound_like_the_whole(noise) -> None:
    path, samples = noise
    cut_ms = 1234
    halves = mixed(
        Clip(path, trim_end_ms=round(len(samples) / RATE * 1000) - cut_ms),
        Clip(path, start_ms=cut_ms, trim_start_ms=cut_ms),
    )
    assert np.count_nonzero(halves[: len(samples)] != samples) <= RATE // 1000


def test_nothing_and_what_is_trimmed_away_is_empty(noise) -> None:
    path, _ = noise
    assert len(mixed()) == 0
    assert not mixed(Clip(path, trim_start_ms=2000, trim_end_ms=2000)).any()


def test_a_file_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    for path in (tmp_path / "none.wav", broken):
        with pytest.raises(StorageError, match="cannot be read"):
            list(mix([Clip(path)], RATE))


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4b"])
def test_every_format_is_really_that_format(tmp_path: Path, noise, kind: str) -> None:
    path, samples = noise
    target = tmp_path / f"story.{kind}"
    chapters = [Chapter(0, 1.5, "One – é"), Chapter(1.5, 3.0, "Two")]
    blocks, frames = mix([Clip(path)], RATE), mix_frames([Clip(path)], RATE)
    marks = {"chapters": chapters, "title": "A story"}
    write_whole(target, encoded(blocks, RATE, kind, frames=frames, **marks))
    heads = {"wav": b"RIFF", "flac": b"fLaC", "mp3": b"ID3", "m4b": b"\x00\x00\x00"}
    assert target.read_bytes().startswith(heads[kind])
    with av.open(str(target)) as container:
        frames = sum(frame.samples for frame in container.decode(audio=0))
        rate = container.streams.audio[0].rate
        assert frames / rate == pytest.approx(len(samples) / RATE, abs=0.08)
        if kind in ("mp3", "m4b"):
            assert container.metadata["title"] == "A story"
            found = [chapter["metadata"]["title"] for chapter in container.chapters()]
            assert found == ["One – é", "Two"]
    if kind in ("wav", "flac"):
        assert np.array_equal(soundfile.read(target, dtype="int16")[0], samples)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4b"])
def test_a_mix_that_fails_leaves_no_file(tmp_path: Path, kind: str) -> None:
    def blocks():
        yield np.ones(RATE, np.int16)
        raise StorageError("broken")

    with pytest.raises(StorageError, match="broken"):
        write_whole(tmp_path / "story", encoded(blocks(), RATE, kind))
    assert list(tmp_path.iterdir()) == []


def test_captions() -> None:
    cues = [Cue(0, 1.5, "One."), Cue(3661.0015, 3662, "a --> b\n\n<i>&")]
    assert captions(cues, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n01:01:01,002 --> 01:01:02,000\na -> b <i>&\n"
    )
    assert captions(cues, "vtt") == (
        "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.500\nOne.\n\n"
        "2\n01:01:01.002 --> 01:01:02.000\na -&gt; b &lt;i&gt;&amp;\n"
    )
