"""Effects: the contract's table, what is refused, and what each does to a sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicelab.codecs import measure_loudness
from voicelab.effects import EFFECTS, PRESETS, apply_chain, check_chain, describe
from voicelab.errors import InvalidInput

RATE = 24_000

CONTRACT = """
chorus rate_hz 1 .01 20
chorus depth .5 0 1
chorus feedback 0 0 .95
chorus centre_delay_ms 7 .5 50
chorus mix .5 0 1
reverb room_size .5 0 1
reverb damping .5 0 1
reverb wet_level .33 0 1
reverb dry_level .4 0 1
reverb width 1 0 1
delay delay_seconds .3 .01 2
delay feedback .3 0 .95
delay mix .3 0 1
compressor threshold_db -20 -60 0
compressor ratio 4 1 20
compressor attack_ms 10 .1 100
compressor release_ms 100 10 1000
gain gain_db 0 -40 40
highpass cutoff_frequency_hz 80 20 8000
lowpass cutoff_frequency_hz 8000 200 20000
pitch_shift semitones 0 -12 12
speed rate 1 .5 2
loudness target_lufs -23 -40 -5
"""


def tone(hz: float, duration_s: float = 1.0, level: float = 0.3) -> np.ndarray:
    moments = np.arange(int(RATE * duration_s)) / RATE
    return (level * np.sin(2 * np.pi * hz * moments)).astype(np.float32)


def through(samples: np.ndarray, *effects: tuple[str, dict]) -> np.ndarray:
    chain = check_chain([{"type": kind, "params": params} for kind, params in effects])
    return apply_chain(samples, RATE, chain)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def frequency(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


def test_types_defaults_and_ranges_are_the_contracts() -> None:
    rows = [
        (kind, p.name, p.default, p.minimum, p.maximum)
        for kind, effect in EFFECTS.items()
        for p in effect.parameters
    ]
    expected = [line.split() for line in CONTRACT.strip().splitlines()]
    assert rows == [(kind, name, *map(float, numbers)) for kind, name, *numbers in expected]


def test_presets_are_valid_and_do_something() -> None:
    assert list(PRESETS) == ["Robotic", "Radio", "Echo Chamber", "Deep Voice", "Podcast"]
    sound = tone(300) + tone(3000)
    for preset in PRESETS.values():
        done = apply_chain(sound, RATE, check_chain(list(preset.chain)))
        assert np.isfinite(done).all() and len(done) >= len(sound)
        assert not np.array_equal(done[: len(sound)], sound)


def effect(**fields: object) -> list[object]:
    return [{"type": "gain"}, {"type": "reverb", **fields}]


@pytest.mark.parametrize(
    ("chain", "match"),
    [
        ({}, "list of effects"),
        ("gain", "list of effects"),
        ([{"type": "gain"}] * 21, "21 effects; 20"),
        ([5], "Effect 1 is not an object"),
        ([{}], "Effect 1 is not an object with a type"),
        ([{"type": 5}], "Effect 1"),
        ([{"type": "gain"}, {"type": "explode"}], "Effect 2: there is no 'explode'; there are ch"),
        (effect(room=1), r"Effect 2 \(reverb\) has no 'room'"),
        (effect(params={"room": 1}), r"Effect 2 \(reverb\) has no 'room'; it has room_size"),
        (effect(params=[1]), "params is an object"),
        (effect(params={5: 1}), "has no '5'"),
        (effect(enabled="yes"), "enabled is true or false"),
        (effect(params={"room_size": 3}), r"Effect 2 \(reverb\): room_size is 3; 0 to 1 is"),
        (effect(params={"room_size": math.nan}), "room_size is nan"),
        (effect(params={"room_size": math.inf}), "room_size is inf"),
        (effect(params={"room_size": True}), "room_size is True"),
        (effect(params={"room_size": "1"}), "room_size is 1"),
        (effect(params={"room_size": None}), "room_size is None"),
        (effect(params={"room_size": 2**80}), "room_size is 1208"),
    ],
)
def test_a_bad_chain_is_refused_with_position_parameter_and_range(chain, match) -> None:
    with pytest.raises(InvalidInput, match=match) as raised:
        check_chain(chain)
    assert raised.value.param == "effects_chain"


def test_a_chain_is_completed_and_checking_again_changes_nothing() -> None:
    chain = check_chain([{"type": "delay", "params": {"mix": 1}}])
    params = {"delay_seconds": 0.3, "feedback": 0.3, "mix": 1.0}
    assert chain == [{"type": "delay", "enabled": True, "params": params}]
    assert check_chain(chain) == chain
    assert check_chain(None) == [] and describe([]) == "clean"
    assert describe(check_chain([{"type": "gain"}, {"type": "reverb"}])) == "Gain, Reverb"


def test_an_effect_that_is_off_does_nothing() -> None:
    chain = check_chain([{"type": "gain", "enabled": False, "params": {"gain_db": 12}}])
    sound = tone(300)
    assert np.array_equal(apply_chain(sound, RATE, chain), sound)


def test_each_effect_does_what_its_name_says() -> None:
    low, high = tone(60), tone(6000)
    assert rms(through(low, ("gain", {"gain_db": 6}))) == pytest.approx(rms(low) * 1.995, rel=1e-3)
    assert rms(through(low, ("highpass", {"cutoff_frequency_hz": 1000}))) < 0.1 * rms(low)
    assert rms(through(high, ("lowpass", {"cutoff_frequency_hz": 300}))) < 0.1 * rms(high)
    loud, soft = tone(300, level=0.9), tone(300, level=0.05)
    squeezed = [rms(through(each, ("compressor", {}))) for each in (loud, soft)]
    assert squeezed[0] / squeezed[1] < 0.5 * rms(loud) / rms(soft)
    assert not np.array_equal(through(low, ("chorus", {}))[: len(low)], low)


def test_pitch_and_speed_leave_each_other_alone() -> None:
    sound = tone(300)
    higher = through(sound, ("pitch_shift", {"semitones": 12}))
    assert len(higher) == len(sound) and frequency(higher) == pytest.approx(600, rel=0.02)
    faster = through(sound, ("speed", {"rate": 2}))
    assert len(faster) == len(sound) // 2 and frequency(faster) == pytest.approx(300, rel=0.02)


def test_echoes_come_in_time_and_tails_are_kept() -> None:
    click = np.zeros(RATE // 10, np.float32)
    click[100] = 1
    echoed = through(click, ("delay", {"delay_seconds": 0.5, "feedback": 0.5, "mix": 0.5}))
    assert np.argmax(np.abs(echoed[RATE // 4 :])) + RATE // 4 == 100 + RATE // 2
    # 0.5 s apart, each half of the one before: eight of them until -60 dB.
    assert len(echoed) > 8 * RATE // 2
    hall = through(tone(300, 0.2), ("reverb", {"room_size": 0.9, "wet_level": 0.5}))
    assert len(hall) > RATE and np.abs(hall[-1]) > 0.0005
    # A tail goes through the effects behind it, too.
    quiet = through(click, ("delay", {"delay_seconds": 0.5}), ("gain", {"gain_db": -40}))
    assert np.abs(quiet[RATE // 4 :]).max() == pytest.approx(0.003, rel=0.1)


@pytest.mark.parametrize("target", [-30, -23, -16])
def test_loudness_is_reached(target: float) -> None:
    sound = tone(400, 3) * np.linspace(0.1, 1, 3 * RATE, dtype=np.float32)
    done = through(sound, ("loudness", {"target_lufs": target}))
    assert measure_loudness(done, RATE) == pytest.approx(target, abs=0.3)


def test_the_true_peak_stays_below_its_bound() -> None:
    rng = np.random.default_rng(3)
    # Rare clicks: loud peaks on a soft sound, the worst for a limiter.
    sound = tone(300, 3, 0.01)
    sound[rng.integers(0, len(sound), 40)] = 0.9
    done = through(sound, ("loudness", {"target_lufs": -10}))
    spectrum = np.fft.rfft(done)
    between = np.fft.irfft(np.pad(spectrum, (0, 7 * len(done) // 2)), 8 * len(done)) * 8
    assert 20 * np.log10(np.abs(between).max()) < -0.7
    assert len(done) == len(sound)


@pytest.mark.parametrize("kind", EFFECTS)
@pytest.mark.parametrize("which", ["minimum", "default", "maximum"])
def test_no_sound_and_no_setting_gives_what_is_not_a_number(kind: str, which: str) -> None:
    params = {p.name: getattr(p, which) for p in EFFECTS[kind].parameters}
    for sound in (tone(300, 0.3), np.zeros(2000, np.float32), tone(300)[:1], tone(300)[:0]):
        done = through(sound, (kind, params))
        assert np.isfinite(done).all() and done.dtype == np.float32
        again = through(sound, (kind, params))
        assert np.array_equal(done, again)


@given(st.lists(st.sampled_from(sorted(EFFECTS)), max_size=4))
@settings(max_examples=15, deadline=None)
def test_any_order_of_effects_gives_a_sound(kinds: list[str]) -> None:
    done = through(tone(300, 0.2), *((kind, {}) for kind in kinds))
    assert np.isfinite(done).all() and len(done) >= int(0.2 * RATE)
