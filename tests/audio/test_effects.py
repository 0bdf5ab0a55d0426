from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from typing import Any

import av
import av.filter
import numpy as np
import pytest
from numpy.typing import NDArray

from voicelab.audio import effects
from voicelab.audio.effects import EFFECTS, PRESETS, apply_chain, check_chain, describe
from voicelab.audio.loudness import integrated_lufs, true_peak
from voicelab.errors import InvalidInput

RATE = 24_000
Samples = NDArray[np.float32]

CONTRACT = {
    "chorus": {
        "rate_hz": (1, 0.01, 20),
        "depth": (0.5, 0, 1),
        "feedback": (0, 0, 0.95),
        "centre_delay_ms": (7, 0.5, 50),
        "mix": (0.5, 0, 1),
    },
    "reverb": {
        "room_size": (0.5, 0, 1),
        "damping": (0.5, 0, 1),
        "wet_level": (0.33, 0, 1),
        "dry_level": (0.4, 0, 1),
        "width": (1, 0, 1),
    },
    "delay": {
        "delay_seconds": (0.3, 0.01, 2),
        "feedback": (0.3, 0, 0.95),
        "mix": (0.3, 0, 1),
    },
    "compressor": {
        "threshold_db": (-20, -60, 0),
        "ratio": (4, 1, 20),
        "attack_ms": (10, 0.1, 100),
        "release_ms": (100, 10, 1000),
    },
    "gain": {"gain_db": (0, -40, 40)},
    "highpass": {"cutoff_frequency_hz": (80, 20, 8000)},
    "lowpass": {"cutoff_frequency_hz": (8000, 200, 20000)},
    "pitch_shift": {"semitones": (0, -12, 12)},
    "speed": {"rate": (1, 0.5, 2)},
    "loudness": {"target_lufs": (-23, -40, -5)},
}


def tone(frequency_hz: float, duration_s: float = 1.0, level: float = 0.5) -> Samples:
    time_s = np.arange(int(duration_s * RATE)) / RATE
    return (level * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def speechlike(duration_s: float = 4.0, level: float = 0.3) -> Samples:
    """Harmonics in syllables with pauses, and a little noise: the crest of a voice."""
    time_s = np.arange(int(duration_s * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 130 * h * time_s) / h for h in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 1.5 * time_s), 0, None) ** 2
    noise = np.random.default_rng(3).normal(0, 0.02, len(time_s))
    return (level * (voice + noise) * syllables).astype(np.float32)


def click(duration_s: float = 1.0, level: float = 1.0) -> Samples:
    samples = np.zeros(int(duration_s * RATE), np.float32)
    samples[0] = level
    return samples


def effect(kind: str, **params: float) -> dict[str, Any]:
    return {"type": kind, "params": params}


def through(samples: Samples, *chain: dict[str, Any], rate: int = RATE) -> Samples:
    return apply_chain(samples, rate, check_chain(list(chain)))


def level_db(samples: Samples) -> float:
    return 10 * math.log10(float(np.mean(np.square(samples, dtype=np.float64))))


def pitch_hz(samples: Samples) -> float:
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 19))
    return float(np.argmax(spectrum)) * RATE / (1 << 19)


def ffmpeg_measures(samples: Samples, rate: int = RATE) -> tuple[float, float]:
    """Integrated loudness in LUFS and true peak in dBTP, as ffmpeg alone reports them."""
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_abuffer(sample_rate=rate, format="fltp", layout="mono"),
        graph.add("ebur128", "metadata=1:peak=true"),
        graph.add("abuffersink"),
    ).configure()
    whole = samples[: len(samples) // (rate // 10) * (rate // 10)].reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(whole, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    graph.push(frame)
    graph.push(None)
    found: dict[str, str] = {}
    while True:
        try:
            found = dict(graph.pull().metadata) or found  # pyright: ignore
        except (av.error.BlockingIOError, av.error.EOFError):  # pyright: ignore
            peak = float(found["lavfi.r128.true_peak"])
            return float(found["lavfi.r128.I"]), 20 * math.log10(peak)


# The table


def test_the_table_is_the_contract() -> None:
    table = {
        kind: {p.name: (p.default, p.minimum, p.maximum) for p in entry.parameters}
        for kind, entry in EFFECTS.items()
    }
    assert table == CONTRACT
    assert list(EFFECTS) == list(CONTRACT)


def test_the_table_is_complete_for_a_page_and_cannot_be_changed() -> None:
    for kind, entry in EFFECTS.items():
        assert entry.type == kind
        assert entry.label and entry.description.endswith(".")
        for parameter in entry.parameters:
            assert parameter.label
            assert 0 < parameter.step <= (parameter.maximum - parameter.minimum) / 10
    with pytest.raises(TypeError):
        EFFECTS["gain"] = EFFECTS["delay"]  # pyright: ignore[reportIndexIssue]


def test_the_public_names_are_exact() -> None:
    types = {"EffectParameter", "EffectType", "Preset"}
    functions = {"apply_chain", "check_chain", "describe"}
    assert set(effects.__all__) == {"EFFECTS", "PRESETS"} | types | functions


def test_importing_effects_does_not_import_the_libraries() -> None:
    code = "import voicelab.audio.effects, sys; print({'pedalboard', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Chains


def test_a_chain_is_made_complete() -> None:
    chain = check_chain([{"type": "delay", "params": {"mix": 1}}, {"type": "gain"}])
    assert chain == [
        {
            "type": "delay",
            "enabled": True,
            "params": {"delay_seconds": 0.3, "feedback": 0.3, "mix": 1.0},
        },
        {"type": "gain", "enabled": True, "params": {"gain_db": 0.0}},
    ]
    assert all(isinstance(value, float) for item in chain for value in item["params"].values())
    assert check_chain(chain) == chain
    assert check_chain([{"type": "gain", "enabled": False}])[0]["enabled"] is False
    assert check_chain(None) == check_chain([]) == []


def test_a_checked_chain_shares_nothing_with_what_was_given() -> None:
    given = [{"type": "gain", "enabled": True, "params": {"gain_db": 3.0}}]
    check_chain(given)[0]["params"]["gain_db"] = 9.0
    assert given[0]["params"] == {"gain_db": 3.0}


TYPES = ", ".join(CONTRACT)


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ({}, "The effects chain is not a list of effects."),
        ("reverb", "The effects chain is not a list of effects."),
        ([{"type": "gain"}] * 21, "The chain has 21 effects; up to 20 are allowed."),
        (["reverb"], "Effect 1 is 'reverb', not an object."),
        ([None], "Effect 1 is None, not an object."),
        (
            [{"type": "gain", "parameters": {}}],
            "Effect 1 has no key 'parameters'; there are type, enabled, params.",
        ),
        ([{}], f"Effect 1: type is missing; there are {TYPES}."),
        (
            [{"type": "gain"}, {"type": "flanger"}],
            f"Effect 2: type 'flanger' is not known; there are {TYPES}.",
        ),
        ([{"type": ["gain"]}], f"Effect 1: type ['gain'] is not known; there are {TYPES}."),
        ([{"type": None}], f"Effect 1: type None is not known; there are {TYPES}."),
        (
            [{"type": "gain", "enabled": 1}],
            "Effect 1 (gain): enabled is 1; true or false is allowed.",
        ),
        ([{"type": "gain", "params": [3]}], "Effect 1 (gain): params is [3], not an object."),
        ([{"type": "gain", "params": None}], "Effect 1 (gain): params is None, not an object."),
        (
            [{"type": "delay", "params": {"time": 1}}],
            "Effect 1 (delay) has no parameter 'time'; there are delay_seconds, feedback, mix.",
        ),
        (
            [effect("gain"), effect("reverb", room_size=3)],
            "Effect 2 (reverb): room_size is 3; 0 to 1 is allowed.",
        ),
        (
            [effect("highpass", cutoff_frequency_hz=19.99)],
            "Effect 1 (highpass): cutoff_frequency_hz is 19.99; 20 to 8000 Hz is allowed.",
        ),
        (
            [effect("gain", gain_db=math.nan)],
            "Effect 1 (gain): gain_db is nan; -40 to 40 dB is allowed.",
        ),
        (
            [effect("gain", gain_db=-math.inf)],
            "Effect 1 (gain): gain_db is -inf; -40 to 40 dB is allowed.",
        ),
        (
            [{"type": "gain", "params": {"gain_db": True}}],
            "Effect 1 (gain): gain_db is True, not a number; -40 to 40 dB is allowed.",
        ),
        (
            [{"type": "gain", "params": {"gain_db": "3"}}],
            "Effect 1 (gain): gain_db is '3', not a number; -40 to 40 dB is allowed.",
        ),
        (
            [{"type": "gain", "params": {"gain_db": None}}],
            "Effect 1 (gain): gain_db is None, not a number; -40 to 40 dB is allowed.",
        ),
        (
            [effect("gain", gain_db=10**5000)],
            "Effect 1 (gain): gain_db is a very long number; -40 to 40 dB is allowed.",
        ),
    ],
)
def test_a_wrong_chain_is_refused_in_words(chain: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_chain(chain)
    assert caught.value.message == message
    assert caught.value.param == "effects_chain"


def test_a_refusal_stays_short_whatever_was_given() -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    for value in ("x" * 10_000, list(range(10_000)), deep, 10**300):
        with pytest.raises(InvalidInput) as caught:
            check_chain([{"type": "gain", "params": {"gain_db": value}}])
        assert len(caught.value.message) < 140


@pytest.mark.parametrize("kind", CONTRACT)
def test_the_ends_of_each_range_are_allowed_and_what_lies_beyond_is_not(kind: str) -> None:
    for name, (_, low, high) in CONTRACT[kind].items():
        assert check_chain([effect(kind, **{name: low})])[0]["params"][name] == low
        assert check_chain([effect(kind, **{name: high})])[0]["params"][name] == high
        for value in (low - 0.001, high + 0.001):
            with pytest.raises(InvalidInput, match=rf"Effect 1 \({kind}\): {name} is "):
                check_chain([effect(kind, **{name: value})])


def test_a_label_says_what_a_chain_does() -> None:
    assert describe([]) == "clean"
    assert describe(check_chain([effect("reverb"), effect("gain")])) == "Reverb, Gain"
    off = {"type": "reverb", "enabled": False}
    assert describe(check_chain([off])) == "clean"
    assert describe(check_chain([off, effect("speed")])) == "Speed"
    assert describe(PRESETS["Radio"].chain) == "High-pass, Low-pass, Compressor, Loudness"


def test_a_label_of_a_long_chain_is_cut_between_effects() -> None:
    label = describe(check_chain([effect("pitch_shift")] * 20))
    assert label == "Pitch shift, Pitch shift, Pitch shift and 17 more"
    assert all(len(describe(check_chain([effect(k)] * 20))) <= 60 for k in CONTRACT)


def test_the_presets_are_valid_chains_that_nobody_can_change() -> None:
    assert list(PRESETS) == ["Robotic", "Radio", "Echo Chamber", "Deep Voice", "Podcast"]
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.description.endswith(".")
        assert preset.chain
        assert check_chain(preset.chain) == preset.chain
        preset.chain[0]["params"].clear()
        assert preset.chain[0]["params"]
    kinds = [item["type"] for item in PRESETS["Podcast"].chain]
    assert kinds == ["highpass", "compressor", "loudness"]
    assert PRESETS["Podcast"].chain[-1]["params"] == {"target_lufs": -16.0}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_speech_and_does_not_clip_it(name: str) -> None:
    voice = speechlike(2, level=0.2)
    result = apply_chain(voice, RATE, PRESETS[name].chain)
    assert np.isfinite(result).all()
    assert 0.05 < float(np.abs(result).max()) <= 1.0
    assert len(result) >= len(voice)
    assert not np.allclose(result[: len(voice)], voice, atol=0.01)


# What comes out, whatever goes in


def extremes(kind: str) -> list[dict[str, Any]]:
    """Defaults, all parameters at one end, at the other, and each alone at an end."""
    bounds = CONTRACT[kind]
    ends = [{name: bound[i] for name, bound in bounds.items()} for i in (1, 2)]
    alone = [{name: bound[i]} for name, bound in bounds.items() for i in (1, 2)]
    return [effect(kind, **params) for params in ({}, *ends, *alone)]


@pytest.mark.parametrize("kind", CONTRACT)
def test_every_setting_gives_finite_audio(kind: str) -> None:
    loud = np.random.default_rng(2).uniform(-1, 1, RATE // 2).astype(np.float32)
    for setting in extremes(kind):
        result = through(loud, setting)
        assert result.dtype == np.float32 and result.ndim == 1, setting
        assert np.isfinite(result).all(), setting
        assert np.abs(result).max() < 120, setting
        if kind != "speed":
            assert len(loud) <= len(result) <= len(loud) + 30 * RATE, setting


@pytest.mark.parametrize("kind", CONTRACT)
@pytest.mark.parametrize("count", [0, 1, 2, 50, 300])
def test_next_to_nothing_goes_through(kind: str, count: int) -> None:
    samples = np.full(count, 0.5, np.float32)
    for setting in extremes(kind):
        result = through(samples, setting)
        assert np.isfinite(result).all(), setting
        expected = round(count / setting["params"].get("rate", 1))
        assert expected <= len(result) < expected + 30 * RATE, setting
        assert len(result) == expected or kind in ("chorus", "reverb", "delay"), setting


@pytest.mark.parametrize("kind", CONTRACT)
def test_silence_stays_silence_of_its_length(kind: str) -> None:
    for setting in extremes(kind):
        result = through(np.zeros(RATE, np.float32), setting)
        assert len(result) == round(RATE / setting["params"].get("rate", 1))
        assert not result.any()


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_every_effect_works_at_every_sample_rate(rate: int) -> None:
    """A cutoff beyond half the rate, which the library answers with inf, is the hard case."""
    noise = np.random.default_rng(2).uniform(-0.5, 0.5, rate // 2).astype(np.float32)
    for kind in CONTRACT:
        for setting in extremes(kind)[:3]:
            result = through(noise, setting, rate=rate)
            assert np.isfinite(result).all() and np.abs(result).max() < 60, setting


@pytest.mark.parametrize("kind", CONTRACT)
def test_no_chain_however_absurd_gives_nan(kind: str) -> None:
    ends = extremes(kind)[1:3]
    loudest = [effect("gain", gain_db=40)] * 9
    for end in ends:
        result = through(tone(300, 0.1), *loudest, end, *loudest, end)
        assert np.isfinite(result).all()
    broken = np.array([np.nan, np.inf, -np.inf, 0.5] * 100, np.float32)
    assert np.isfinite(through(broken, ends[0])).all()


@pytest.mark.parametrize("kind", CONTRACT)
def test_the_same_input_gives_the_same_output(kind: str) -> None:
    voice, before = speechlike(1), speechlike(1)
    for setting in extremes(kind)[:3]:
        assert np.array_equal(through(voice, setting), through(voice, setting))
    assert np.array_equal(voice, before)


def test_an_empty_chain_and_disabled_effects_leave_the_samples_as_they_are() -> None:
    voice = speechlike(1)
    assert np.array_equal(through(voice), voice)
    off = {"type": "reverb", "enabled": False, "params": {}}
    assert np.array_equal(through(voice, off), voice)
    assert np.array_equal(
        through(voice, off, effect("gain", gain_db=3)), through(voice, effect("gain", gain_db=3))
    )


# What each effect does


@pytest.mark.parametrize("gain_db", [-40, -6, 0, 3.5, 40])
def test_gain_is_exact_and_does_not_clip(gain_db: float) -> None:
    result = through(tone(440), effect("gain", gain_db=gain_db))
    assert np.allclose(result, tone(440) * 10 ** (gain_db / 20), rtol=1e-5, atol=0)


def test_highpass_takes_the_low_tone_and_lowpass_the_high_one() -> None:
    low, high = tone(50), tone(6000)
    # First order: 6 dB an octave, 3 dB at the cutoff.
    assert level_db(through(low, effect("highpass", cutoff_frequency_hz=1600))) < level_db(low) - 28
    passed = level_db(through(high, effect("highpass", cutoff_frequency_hz=1600)))
    assert passed == pytest.approx(level_db(high), abs=1)
    assert level_db(through(high, effect("lowpass", cutoff_frequency_hz=200))) < level_db(high) - 28
    passed = level_db(through(low, effect("lowpass", cutoff_frequency_hz=1600)))
    assert passed == pytest.approx(level_db(low), abs=0.1)
    for kind in ("highpass", "lowpass"):
        corner = level_db(through(tone(1000), effect(kind, cutoff_frequency_hz=1000)))
        assert corner == pytest.approx(level_db(tone(1000)) - 3, abs=0.2)


def test_a_lowpass_beyond_half_the_sample_rate_does_next_to_nothing() -> None:
    voice = speechlike(1)
    result = through(voice, effect("lowpass", cutoff_frequency_hz=20_000))
    assert level_db(result) == pytest.approx(level_db(voice), abs=0.1)


@pytest.mark.parametrize("semitones", [-12, -5, -0.5, 0.5, 7, 12])
@pytest.mark.parametrize("frequency_hz", [110, 220, 440])
def test_pitch_shift_moves_the_pitch_and_keeps_the_duration(
    semitones: float, frequency_hz: float
) -> None:
    samples = tone(frequency_hz, 2)
    shifted = through(samples, effect("pitch_shift", semitones=semitones))
    assert len(shifted) == len(samples)
    assert pitch_hz(shifted) == pytest.approx(frequency_hz * 2 ** (semitones / 12), rel=0.002)
    assert level_db(shifted) == pytest.approx(level_db(samples), abs=1)


@pytest.mark.parametrize("semitones", [-12, 12])
def test_pitch_shift_leaves_everything_where_it_was(semitones: float) -> None:
    samples = np.zeros(2 * RATE, np.float32)
    samples[RATE : RATE + 4800] = tone(440, 0.2)
    power = np.square(through(samples, effect("pitch_shift", semitones=semitones)))
    centre = float((power * np.arange(len(power))).sum() / power.sum())
    assert centre == pytest.approx(RATE + 2400, abs=0.01 * RATE)


def test_speed_changes_the_duration_and_keeps_the_pitch() -> None:
    samples = tone(220, 2)
    for rate in (0.5, 0.8, 1.25, 2.0):
        result = through(samples, effect("speed", rate=rate))
        assert len(result) == round(2 * RATE / rate)
        assert pitch_hz(result) == pytest.approx(220, rel=0.01)


def test_an_echo_stands_where_it_should() -> None:
    for delay_s in (0.01, 0.3, 1.37, 2.0):
        result = through(click(), effect("delay", delay_seconds=delay_s, feedback=0, mix=0.3))
        assert np.flatnonzero(np.abs(result) > 1e-4).tolist() == [0, round(delay_s * RATE)]
        assert result[[0, round(delay_s * RATE)]] == pytest.approx([0.7, 0.3])


def test_echoes_go_on_after_the_end_until_they_are_inaudible() -> None:
    result = through(tone(300, 0.1), effect("delay", feedback=0.5, mix=0.5))
    step = int(0.3 * RATE)
    levels = [level_db(result[i * step : i * step + 2400]) for i in range(1, 7)]
    assert np.diff(levels) == pytest.approx([-6.02] * 5, abs=0.1)
    # 0.25 falls below 0.001 at the ninth echo; what comes then is not kept.
    assert len(result) == pytest.approx(8 * step + 2400, abs=2400)


def test_a_delay_that_hardly_decays_is_faded_out_and_not_cut() -> None:
    # Its echoes run into one another, so that a cut anywhere would be a step.
    setting = effect("delay", delay_seconds=2.0, feedback=0.95, mix=0.5)
    result = through(tone(100, 2), setting)
    assert 31 * RATE < len(result) <= 32 * RATE
    assert np.abs(result[-RATE // 50 :]).max() < 0.01
    assert level_db(result[15 * RATE : 16 * RATE]) > -25


def test_a_reverb_goes_on_after_the_end_the_longer_the_larger_the_room() -> None:
    lengths = []
    for room_size in (0.0, 0.5, 1.0):
        result = through(speechlike(1), effect("reverb", room_size=room_size, damping=0.0))
        lengths.append(len(result) / RATE)
        assert level_db(result[RATE : RATE + RATE // 4]) > -45
        assert np.abs(result[-100:]).max() < 0.002
    assert lengths[0] > 1.3 and lengths[1] > 1.8 and lengths[2] > 8
    assert lengths == sorted(lengths)


def test_a_dry_reverb_has_no_tail() -> None:
    result = through(tone(440), effect("reverb", wet_level=0, dry_level=0.5))
    assert len(result) == RATE
    assert np.allclose(result, tone(440), atol=1e-6)


def test_a_chorus_adds_a_delayed_copy_and_keeps_its_end() -> None:
    setting = effect("chorus", depth=0, centre_delay_ms=50, feedback=0.5)
    result = through(click(0.02), setting)
    assert result[0] == pytest.approx(0.5)
    assert result[1200] == pytest.approx(0.5)
    assert len(result) > 5 * 1200


def test_a_compressor_brings_loud_and_soft_together() -> None:
    loud, soft = tone(300, 1, 0.8), tone(300, 1, 0.05)
    both = np.concatenate([soft, loud])
    result = through(both, effect("compressor", threshold_db=-20, ratio=4))
    difference = level_db(loud) - level_db(soft)
    after = level_db(result[-RATE // 2 :]) - level_db(result[RATE // 4 : RATE * 3 // 4])
    # 0.8 is 18 dB over the threshold, of which a quarter is left.
    assert difference - after == pytest.approx(13.5, abs=2)
    assert level_db(result[: RATE // 2]) == pytest.approx(level_db(soft), abs=0.3)


def test_order_matters() -> None:
    chain = [effect("compressor", threshold_db=-30, ratio=10), effect("gain", gain_db=12)]
    samples = tone(300, 1)
    assert level_db(through(samples, *chain)) > level_db(through(samples, *chain[::-1])) + 8
    echo = effect("delay", delay_seconds=0.5, feedback=0, mix=0.5)
    fast = effect("speed", rate=2)
    first, last = through(tone(300, 0.2), echo, fast), through(tone(300, 0.2), fast, echo)
    assert len(first) == pytest.approx(0.35 * RATE, abs=200)
    assert len(last) == pytest.approx(0.6 * RATE, abs=200)


def test_a_tail_goes_through_the_rest_of_the_chain() -> None:
    """What decays to -60 dBFS before a gain of 40 dB is loud after it; it must not be cut."""
    chain = [effect("delay", delay_seconds=0.1, feedback=0.5), effect("gain", gain_db=40)]
    result = through(tone(300, 0.1, 0.1), *chain)
    without = through(tone(300, 0.1, 0.1), chain[0])
    assert len(result) > len(without) + 0.3 * RATE
    assert np.abs(result[-200:]).max() < 0.05
    low = through(tone(300, 0.2), effect("reverb"), effect("pitch_shift", semitones=-12))
    assert level_db(low[int(0.25 * RATE) : int(0.4 * RATE)]) > -50


def test_silence_at_the_end_of_a_take_is_its_own_and_stays() -> None:
    samples = np.concatenate([tone(300, 0.5), np.zeros(RATE, np.float32)])
    assert len(through(samples, effect("delay", delay_seconds=0.05))) == len(samples)
    assert len(through(samples, effect("speed", rate=2))) == len(samples) // 2


# Loudness


@pytest.mark.parametrize("target_lufs", [-40, -23, -16])
@pytest.mark.parametrize("level", [0.004, 0.3, 3.0])
def test_speech_reaches_the_loudness_asked_for(target_lufs: float, level: float) -> None:
    result = through(speechlike(level=level), effect("loudness", target_lufs=target_lufs))
    lufs, peak_db = ffmpeg_measures(result)
    assert lufs == pytest.approx(target_lufs, abs=0.2)
    assert peak_db <= -1.0
    assert len(result) == len(speechlike())


def test_a_target_that_needs_much_limiting_is_reached_within_one_unit() -> None:
    voice = speechlike()
    plain_db = 20 * math.log10(true_peak(voice)) - 12 - ffmpeg_measures(voice)[0]
    assert plain_db > 1, "a mere gain would break the bound"
    lufs, peak_db = ffmpeg_measures(through(voice, effect("loudness", target_lufs=-12)))
    assert lufs == pytest.approx(-12, abs=1)
    assert peak_db <= -1.0


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_loudness_is_right_at_other_rates(rate: int) -> None:
    noise = np.random.default_rng(4).normal(0, 0.02, 2 * rate).astype(np.float32)
    result = through(noise, effect("loudness", target_lufs=-18), rate=rate)
    lufs, peak_db = ffmpeg_measures(result, rate)
    assert lufs == pytest.approx(-18, abs=0.2)
    assert peak_db <= -1.0


def test_peaks_stay_under_the_bound_when_everything_is_hot() -> None:
    random = np.random.default_rng(5)
    sparse = np.where(random.random(3 * RATE) > 0.999, 1.0, 0.02) * random.choice([-1, 1], 3 * RATE)
    square = np.sign(tone(997, 3))
    between = tone(RATE / 4, 3, 0.9)  # its peaks lie between its samples
    shifted = 0.9 * np.sin(np.pi / 2 * np.arange(3 * RATE) + np.pi / 4)
    noise = random.uniform(-1, 1, 3 * RATE)
    for samples in (sparse, square, between, shifted, noise, speechlike(3, 2.0)):
        for target_lufs in (-10, -5):
            result = through(
                samples.astype(np.float32), effect("loudness", target_lufs=target_lufs)
            )
            lufs, peak_db = ffmpeg_measures(result)
            assert peak_db <= -1.0
            assert true_peak(result) <= 10 ** (-1 / 20)
            assert lufs <= target_lufs + 1


def test_a_peak_is_lowered_smoothly_and_only_around_it() -> None:
    samples = tone(200, 4, 0.1)
    samples[2 * RATE : 2 * RATE + 240] *= 9
    result = through(samples, effect("loudness", target_lufs=-14))
    lufs, peak_db = ffmpeg_measures(result)
    assert lufs == pytest.approx(-14, abs=0.3)
    assert -1.3 < peak_db <= -1.0
    gain = result[::61][1:] / samples[::61][1:]
    quiet = np.abs(samples[::61][1:]) > 0.01
    far = quiet & (np.abs(np.arange(1, len(gain) + 1) * 61 - 2 * RATE) > 0.05 * RATE)
    assert np.ptp(gain[far]) < 0.001 * np.median(gain)
    assert np.abs(np.diff(gain[quiet])).max() < 0.3 * np.median(gain)


def test_audio_under_one_block_is_brought_to_the_loudness_too() -> None:
    for duration_s in (0.02, 0.1, 0.3, 0.39, 0.41):
        result = through(tone(440, duration_s), effect("loudness", target_lufs=-20))
        assert len(result) == int(duration_s * RATE)
        repeated = np.tile(result, math.ceil(3 / duration_s))
        assert ffmpeg_measures(repeated)[0] == pytest.approx(-20, abs=1)


def test_what_has_no_loudness_is_left_alone() -> None:
    for samples in (np.zeros(RATE, np.float32), tone(300, 1, 0.0009)):
        result = through(samples, effect("loudness", target_lufs=-5))
        assert np.array_equal(result, samples)
        assert integrated_lufs(samples[:0], RATE) is None


def test_ten_minutes_need_a_few_copies_of_themselves_in_memory() -> None:
    samples = np.tile(speechlike(6, 0.2), 100)
    chain = check_chain([effect("highpass"), effect("delay"), effect("loudness")])
    tracemalloc.start()
    try:
        result = apply_chain(samples, RATE, chain)
        _, used_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result) >= len(samples)
    assert integrated_lufs(result, RATE) == pytest.approx(-23, abs=0.1)
    assert used_bytes < 10 * samples.nbytes
