"""Chains of effects: what there is, what is allowed, and the sound of it.

A chain is a list of {"type", "enabled", "params"}, applied in order. The effects are
pedalboard's, except speed (ffmpeg's atempo) and loudness (EBU R128 by ffmpeg).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import is_silent
from voicelab.codecs import limit_peaks, measure_loudness, stretch
from voicelab.errors import InvalidInput

__all__ = [
    "EFFECTS",
    "PRESETS",
    "EffectParameter",
    "EffectType",
    "Preset",
    "apply_chain",
    "check_chain",
    "describe",
]

MAX_EFFECTS = 20
MAX_TAIL_S = 15.0
TAIL_LEVEL = 0.001
"""-60 dBFS: where a tail ends."""

PEAK_DBTP = -1.0

Samples = NDArray[np.float32]
Chain = list[dict[str, Any]]


@dataclass(frozen=True)
class EffectParameter:
    """One number of an effect, with its range and unit."""

    name: str
    label: str
    default: float
    minimum: float
    maximum: float
    step: float
    unit: str = ""


@dataclass(frozen=True)
class EffectType:
    """An effect and its parameters, in the order of the page."""

    type: str
    label: str
    description: str
    parameters: tuple[EffectParameter, ...]


@dataclass(frozen=True)
class Preset:
    """A chain under a name."""

    name: str
    description: str
    chain: tuple[Mapping[str, Any], ...]


def _effect(
    type: str, label: str, description: str, *parameters: tuple[Any, ...]
) -> tuple[str, EffectType]:
    return type, EffectType(
        type, label, description, tuple(EffectParameter(*each) for each in parameters)
    )


EFFECTS: Mapping[str, EffectType] = MappingProxyType(
    dict(
        (
            _effect(
                "chorus",
                "Chorus",
                "Slightly detuned copies: wide, or robotic with feedback.",
                ("rate_hz", "Rate", 1, 0.01, 20, 0.01, "Hz"),
                ("depth", "Depth", 0.5, 0, 1, 0.01),
                ("feedback", "Feedback", 0, 0, 0.95, 0.01),
                ("centre_delay_ms", "Delay", 7, 0.5, 50, 0.1, "ms"),
                ("mix", "Mix", 0.5, 0, 1, 0.01),
            ),
            _effect(
                "reverb",
                "Reverb",
                "A room around the voice.",
                ("room_size", "Room", 0.5, 0, 1, 0.01),
                ("damping", "Damping", 0.5, 0, 1, 0.01),
                ("wet_level", "Wet", 0.33, 0, 1, 0.01),
                ("dry_level", "Dry", 0.4, 0, 1, 0.01),
                ("width", "Width", 1, 0, 1, 0.01),
            ),
            _effect(
                "delay",
                "Delay",
                "Echoes that die away.",
                ("delay_seconds", "Time", 0.3, 0.01, 2, 0.01, "s"),
                ("feedback", "Feedback", 0.3, 0, 0.95, 0.01),
                ("mix", "Mix", 0.3, 0, 1, 0.01),
            ),
            _effect(
                "compressor",
                "Compressor",
                "Loud passages softer, so that all is closer together.",
                ("threshold_db", "Threshold", -20, -60, 0, 0.5, "dB"),
                ("ratio", "Ratio", 4, 1, 20, 0.1),
                ("attack_ms", "Attack", 10, 0.1, 100, 0.1, "ms"),
                ("release_ms", "Release", 100, 10, 1000, 1, "ms"),
            ),
            _effect(
                "gain",
                "Gain",
                "Louder or softer.",
                ("gain_db", "Gain", 0, -40, 40, 0.5, "dB"),
            ),
            _effect(
                "highpass",
                "High-pass",
                "Takes away what is lower.",
                ("cutoff_frequency_hz", "Cutoff", 80, 20, 8000, 1, "Hz"),
            ),
            _effect(
                "lowpass",
                "Low-pass",
                "Takes away what is higher.",
                ("cutoff_frequency_hz", "Cutoff", 8000, 200, 20000, 1, "Hz"),
            ),
            _effect(
                "pitch_shift",
                "Pitch",
                "Higher or lower at the same pace.",
                ("semitones", "Shift", 0, -12, 12, 0.1, "semitones"),
            ),
            _effect(
                "speed",
                "Speed",
                "Faster or slower at the same pitch.",
                ("rate", "Rate", 1, 0.5, 2, 0.01),
            ),
            _effect(
                "loudness",
                "Loudness",
                "To a loudness by EBU R128, its true peak below -1 dBTP.",
                ("target_lufs", "Target", -23, -40, -5, 0.5, "LUFS"),
            ),
        )
    )
)


def _step(type: str, **params: float) -> Mapping[str, Any]:
    return {"type": type, "enabled": True, "params": params}


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "Robotic",
                "A voice from a machine.",
                (_step("chorus", rate_hz=0.2, depth=1, feedback=0.35, centre_delay_ms=7, mix=0.5),),
            ),
            Preset(
                "Radio",
                "Over a small loudspeaker.",
                (
                    _step("highpass", cutoff_frequency_hz=300),
                    _step("lowpass", cutoff_frequency_hz=3400),
                    _step("compressor", threshold_db=-15, ratio=6, attack_ms=5, release_ms=50),
                    _step("gain", gain_db=6),
                ),
            ),
            Preset(
                "Echo Chamber",
                "A large empty hall.",
                (
                    _step("reverb", room_size=0.85, damping=0.3, wet_level=0.45, dry_level=0.55),
                    _step("delay", delay_seconds=0.25, feedback=0.3, mix=0.2),
                ),
            ),
            Preset(
                "Deep Voice",
                "Three semitones lower.",
                (
                    _step("pitch_shift", semitones=-3),
                    _step("lowpass", cutoff_frequency_hz=6000),
                ),
            ),
            Preset(
                "Podcast",
                "Clean, even, at -16 LUFS.",
                (
                    _step("highpass", cutoff_frequency_hz=80),
                    _step("compressor", threshold_db=-22, ratio=3, attack_ms=8, release_ms=120),
                    _step("loudness", target_lufs=-16),
                ),
            ),
        )
    }
)


def check_chain(chain: Any) -> Chain:
    """A chain with every parameter filled in; None gives an empty one.

    Raises:
        InvalidInput: an unknown type or parameter, or a value out of range; the message names
            the position from 1, the parameter and the range. Nothing is passed over silently.
    """
    if chain is None:
        return []
    if not isinstance(chain, list | tuple):
        raise _wrong("It is a list of effects.")
    if len(chain) > MAX_EFFECTS:
        raise _wrong(f"It has {len(chain)} effects; {MAX_EFFECTS} are allowed.")
    return [_checked(position, effect) for position, effect in enumerate(chain, 1)]


def describe(chain: Chain) -> str:
    """The effects' names as a short label, at most 60 characters."""
    names = ", ".join(EFFECTS[effect["type"]].label for effect in chain if effect["enabled"])
    return (names if len(names) <= 60 else names[:57] + "...") or "clean"


def apply_chain(samples: Samples, sample_rate: int, chain: Chain) -> Samples:
    """float32 (n,) at `sample_rate` Hz through a chain of `check_chain`.

    Tails of reverb, delay and chorus are kept: the result may be longer.
    """
    for effect in chain:
        if effect["enabled"] and len(samples):
            samples = _applied(samples, sample_rate, effect["type"], effect["params"])
    return samples


def _checked(position: int, effect: Any) -> dict[str, Any]:
    if not isinstance(effect, Mapping) or not isinstance(effect.get("type"), str):
        raise _wrong(f"Effect {position} is not an object with a type.")
    kind = EFFECTS.get(effect["type"])
    if kind is None:
        raise _wrong(
            f"Effect {position}: there is no '{effect['type'][:40]}'; there are "
            f"{', '.join(EFFECTS)}."
        )
    if unknown := set(effect) - {"type", "enabled", "params"}:
        raise _wrong(f"Effect {position} ({kind.type}) has no '{str(min(unknown, key=str))[:40]}'.")
    enabled = effect.get("enabled", True)
    if not isinstance(enabled, bool):
        raise _wrong(f"Effect {position} ({kind.type}): enabled is true or false.")
    params = effect.get("params")
    params = {} if params is None else params
    if not isinstance(params, Mapping):
        raise _wrong(f"Effect {position} ({kind.type}): params is an object.")
    values = _values(f"Effect {position} ({kind.type})", kind, params)
    return {"type": kind.type, "enabled": enabled, "params": values}


def _values(where: str, kind: EffectType, given: Mapping[Any, Any]) -> dict[str, float]:
    known = {parameter.name: parameter for parameter in kind.parameters}
    for name in given:
        if name not in known:
            raise _wrong(f"{where} has no '{str(name)[:40]}'; it has {', '.join(known)}.")
    values = {}
    for name, parameter in known.items():
        value = given.get(name, parameter.default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not parameter.minimum <= value <= parameter.maximum:
            raise _wrong(
                f"{where}: {name} is {str(value)[:40]}; {parameter.minimum:g} to "
                f"{parameter.maximum:g} is allowed."
            )
        values[name] = float(value)
    return values


def _wrong(message: str) -> InvalidInput:
    return InvalidInput(message, param="effects_chain")


def _applied(samples: Samples, rate: int, kind: str, params: Mapping[str, float]) -> Samples:
    if kind == "speed":
        return stretch(samples, rate, params["rate"])
    if kind == "loudness":
        return _at_loudness(samples, rate, params["target_lufs"])
    if kind == "pitch_shift" and params["semitones"] == 0:
        return samples
    tail_s = TAILS_S[kind](params) if kind in TAILS_S else 0.0
    padded = np.concatenate([samples, np.zeros(int(tail_s * rate), np.float32)])
    done = _plugin(kind, params, rate)(padded, rate).astype(np.float32, copy=False)
    return _without_silent_end(done, len(samples)) if tail_s else done[: len(samples)]


def _plugin(kind: str, params: Mapping[str, float], rate: int) -> Callable[[Samples, int], Any]:
    import pedalboard

    types: dict[str, Any] = {
        "chorus": pedalboard.Chorus,
        "reverb": pedalboard.Reverb,
        "delay": pedalboard.Delay,
        "compressor": pedalboard.Compressor,
        "gain": pedalboard.Gain,
        "highpass": pedalboard.HighpassFilter,
        "lowpass": pedalboard.LowpassFilter,
        "pitch_shift": pedalboard.PitchShift,
    }
    values = dict(params)
    if "cutoff_frequency_hz" in values:
        # At half the rate and above there is nothing to cut, and the filter is not stable.
        values["cutoff_frequency_hz"] = min(values["cutoff_frequency_hz"], 0.49 * rate)
    return types[kind](**values)


def _delay_tail_s(params: Mapping[str, float]) -> float:
    """Until an echo is 60 dB below the first."""
    feedback = params["feedback"]
    echoes = 1 if feedback < 0.01 else 1 + math.log(TAIL_LEVEL) / math.log(feedback)
    return min(MAX_TAIL_S, params["delay_seconds"] * math.ceil(echoes))


TAILS_S: Mapping[str, Callable[[Mapping[str, float]], float]] = MappingProxyType(
    {
        "reverb": lambda params: 1.0 + 9.0 * params["room_size"],
        "delay": _delay_tail_s,
        "chorus": lambda params: 0.2 + 2 * params["feedback"],
    }
)


def _without_silent_end(samples: Samples, least: int) -> Samples:
    loud = np.flatnonzero(np.abs(samples) > TAIL_LEVEL)
    return samples[: max(least, int(loud[-1]) + 1 if len(loud) else 0)]


def _at_loudness(samples: Samples, rate: int, target_lufs: float) -> Samples:
    if is_silent(samples):
        return samples
    # Limiting takes some loudness away, so it is measured and made up for twice.
    limited = samples
    for _ in range(3):
        found = measure_loudness(limited, rate)
        if found is None or abs(target_lufs - found) < 0.1:
            break
        gain = np.float32(10 ** ((target_lufs - found) / 20))
        limited = limit_peaks((limited * gain).astype(np.float32), rate, PEAK_DBTP)
    return limited
