"""Effects on a finished take: the catalogue, validation of chains, and processing."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicelab.audio.codecs import stretch
from voicelab.audio.loudness import level
from voicelab.audio.samples import SILENCE
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

Samples = NDArray[np.float32]
Chain = list[dict[str, Any]]

MAX_EFFECTS = 20
"""Limit of effects in one chain."""

TAIL_FLOOR = 1e-5
"""Level that tails decay to, -100 dBFS: below `SILENCE` even after the largest gain, 40 dB."""

MAX_TAIL_S = 30.0
"""Limit of the tail of one effect; a delay of 2 s with feedback 0.95 would take 8 minutes."""

MAX_SAMPLE = 1e6
"""Samples are clipped to +-120 dBFS, so that no sum of effects overflows to inf or NaN."""

LABEL_LENGTH = 60


@dataclass(frozen=True)
class EffectParameter:
    """A numeric parameter of an effect: its name in JSON, its range in `unit`, its default."""

    name: str
    label: str
    default: float
    minimum: float
    maximum: float
    step: float
    unit: str = ""


@dataclass(frozen=True)
class EffectType:
    """A type of effect; `type` is its name in JSON."""

    type: str
    label: str
    description: str
    parameters: tuple[EffectParameter, ...]


def _effect(kind: str, label: str, description: str, *rows: tuple[Any, ...]) -> EffectType:
    return EffectType(kind, label, description, tuple(EffectParameter(*row) for row in rows))


_ALL = (
    _effect(
        *("chorus", "Chorus", "A wavering copy beside the voice; with feedback, metallic."),
        ("rate_hz", "Rate", 1.0, 0.01, 20.0, 0.01, "Hz"),
        ("depth", "Depth", 0.5, 0.0, 1.0, 0.01),
        ("feedback", "Feedback", 0.0, 0.0, 0.95, 0.01),
        ("centre_delay_ms", "Centre delay", 7.0, 0.5, 50.0, 0.1, "ms"),
        ("mix", "Mix", 0.5, 0.0, 1.0, 0.01),
    ),
    _effect(
        *("reverb", "Reverb", "The sound of a room."),
        ("room_size", "Room size", 0.5, 0.0, 1.0, 0.01),
        ("damping", "Damping", 0.5, 0.0, 1.0, 0.01),
        ("wet_level", "Wet level", 0.33, 0.0, 1.0, 0.01),
        ("dry_level", "Dry level", 0.4, 0.0, 1.0, 0.01),
        ("width", "Width", 1.0, 0.0, 1.0, 0.01),
    ),
    _effect(
        *("delay", "Delay", "Echoes, each softer than the one before."),
        ("delay_seconds", "Delay", 0.3, 0.01, 2.0, 0.01, "s"),
        ("feedback", "Feedback", 0.3, 0.0, 0.95, 0.01),
        ("mix", "Mix", 0.3, 0.0, 1.0, 0.01),
    ),
    _effect(
        *("compressor", "Compressor", "Loud passages lowered towards the soft ones."),
        ("threshold_db", "Threshold", -20.0, -60.0, 0.0, 0.5, "dB"),
        ("ratio", "Ratio", 4.0, 1.0, 20.0, 0.1),
        ("attack_ms", "Attack", 10.0, 0.1, 100.0, 0.1, "ms"),
        ("release_ms", "Release", 100.0, 10.0, 1000.0, 1.0, "ms"),
    ),
    _effect("gain", "Gain", "Louder or softer.", ("gain_db", "Gain", 0.0, -40.0, 40.0, 0.5, "dB")),
    _effect(
        *("highpass", "High-pass", "Takes away what lies below the cutoff, 6 dB an octave."),
        ("cutoff_frequency_hz", "Cutoff", 80.0, 20.0, 8000.0, 1.0, "Hz"),
    ),
    _effect(
        *("lowpass", "Low-pass", "Takes away what lies above the cutoff, 6 dB an octave."),
        ("cutoff_frequency_hz", "Cutoff", 8000.0, 200.0, 20000.0, 1.0, "Hz"),
    ),
    _effect(
        *("pitch_shift", "Pitch shift", "Higher or deeper, the duration kept."),
        ("semitones", "Pitch", 0.0, -12.0, 12.0, 0.1, "semitones"),
    ),
    _effect(
        "speed", "Speed", "Faster or slower, the pitch kept.", ("rate", "Rate", 1.0, 0.5, 2.0, 0.01)
    ),
    _effect(
        *("loudness", "Loudness", "Brought to a loudness by EBU R128, peaks under -1 dBTP."),
        ("target_lufs", "Target", -23.0, -40.0, -5.0, 0.5, "LUFS"),
    ),
)
EFFECTS: Mapping[str, EffectType] = MappingProxyType({effect.type: effect for effect in _ALL})


@dataclass(frozen=True)
class Preset:
    """A built-in chain; `steps` is (type, the parameters that differ from the defaults)."""

    name: str
    description: str
    steps: tuple[tuple[str, Mapping[str, float]], ...]

    @property
    def chain(self) -> Chain:
        """The chain as `check_chain` returns it; a new list at each call."""
        return check_chain([{"type": kind, "params": dict(params)} for kind, params in self.steps])


def _preset(name: str, description: str, **steps: dict[str, float]) -> Preset:
    frozen = tuple((kind, MappingProxyType(params)) for kind, params in steps.items())
    return Preset(name, description, frozen)


_BUILT_IN = (
    _preset(
        "Robotic", "A metallic machine.", chorus={"rate_hz": 0.2, "depth": 1.0, "feedback": 0.35}
    ),
    _preset(
        *("Radio", "A small loudspeaker far away."),
        highpass={"cutoff_frequency_hz": 300.0},
        lowpass={"cutoff_frequency_hz": 3500.0},
        compressor={"threshold_db": -30.0, "ratio": 6.0, "attack_ms": 5.0},
        loudness={"target_lufs": -20.0},
    ),
    _preset(
        *("Echo Chamber", "A large hall that answers."),
        delay={"delay_seconds": 0.25, "mix": 0.2},
        reverb={"room_size": 0.85, "damping": 0.3, "wet_level": 0.3},
    ),
    _preset(
        *("Deep Voice", "Three semitones deeper and softer on top."),
        pitch_shift={"semitones": -3.0},
        lowpass={"cutoff_frequency_hz": 6000.0},
    ),
    _preset(
        *("Podcast", "Rumble away, levels evened out, -16 LUFS."),
        highpass={},
        compressor={"ratio": 3.0},
        loudness={"target_lufs": -16.0},
    ),
)
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _BUILT_IN})


def check_chain(chain: Any) -> Chain:
    """Validate a chain of a client, and complete it: `type`, `enabled`, all `params` per effect.

    Args:
        chain: a list of {"type", "enabled" (True), "params" ({})}; None is an empty one.

    Raises:
        InvalidInput: the message has the position (from 1), the parameter and its range.
    """
    if chain is None:
        return []
    if not isinstance(chain, list):
        raise _invalid("The effects chain is not a list of effects.")
    if len(chain) > MAX_EFFECTS:
        raise _invalid(f"The chain has {len(chain)} effects; up to {MAX_EFFECTS} are allowed.")
    return [_check_effect(position, item) for position, item in enumerate(chain, start=1)]


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, param="effects_chain")


def _shortened(value: Any) -> str:
    """The value as Python writes it, shortened."""
    try:
        text = reprlib.repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a very long number"
    return text if len(text) <= 40 else f"{text[:39]}…"


def _check_effect(position: int, item: Any) -> dict[str, Any]:
    where = f"Effect {position}"
    if not isinstance(item, Mapping):
        raise _invalid(f"{where} is {_shortened(item)}, not an object.")
    for key in item:
        if key not in ("type", "enabled", "params"):
            raise _invalid(
                f"{where} has no key {_shortened(key)}; there are type, enabled, params."
            )
    kind, enabled, params = item.get("type"), item.get("enabled", True), item.get("params", {})
    if not isinstance(kind, str) or kind not in EFFECTS:
        reason = f"type {_shortened(kind)} is not known" if "type" in item else "type is missing"
        raise _invalid(f"{where}: {reason}; there are {', '.join(EFFECTS)}.")
    where = f"{where} ({kind})"
    if not isinstance(enabled, bool):
        raise _invalid(f"{where}: enabled is {_shortened(enabled)}; true or false is allowed.")
    if not isinstance(params, Mapping):
        raise _invalid(f"{where}: params is {_shortened(params)}, not an object.")
    return {"type": kind, "enabled": enabled, "params": _check_parameters(where, kind, params)}


def _check_parameters(where: str, kind: str, params: Mapping[Any, Any]) -> dict[str, float]:
    known = {parameter.name: parameter for parameter in EFFECTS[kind].parameters}
    for name in params:
        if name not in known:
            names = ", ".join(known)
            raise _invalid(f"{where} has no parameter {_shortened(name)}; there are {names}.")
    return {name: _check_number(where, p, params.get(name, p.default)) for name, p in known.items()}


def _check_number(where: str, parameter: EffectParameter, value: Any) -> float:
    allowed = f"{parameter.minimum:g} to {parameter.maximum:g} {parameter.unit}".rstrip()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and parameter.minimum <= value <= parameter.maximum:  # NaN is not
        return float(value)
    reason = f"{parameter.name} is {_shortened(value)}" + ("" if number else ", not a number")
    raise _invalid(f"{where}: {reason}; {allowed} is allowed.")


def describe(chain: Sequence[Mapping[str, Any]]) -> str:
    """Label of a checked chain, at most 60 characters; "clean" when no effect is enabled."""
    labels = [EFFECTS[effect["type"]].label for effect in chain if effect["enabled"]]
    for shown in range(len(labels), 0, -1):
        rest = f" and {len(labels) - shown} more" if shown < len(labels) else ""
        text = ", ".join(labels[:shown]) + rest
        if len(text) <= LABEL_LENGTH:
            return text
    return "clean"


def apply_chain(samples: Samples, sample_rate: int, chain: Sequence[Mapping[str, Any]]) -> Samples:
    """Process float32 (n,) at `sample_rate` Hz with a checked chain, in order: float32 (m,).

    Tails of reverb, delay and chorus follow the end until they fall below -60 dBFS, so m may
    exceed n; only `speed` makes it less. Samples may exceed 1. The same input gives the same
    output. Disabled effects are skipped; without any other the samples are returned unchanged.
    """
    effects = [effect for effect in chain if effect["enabled"]]
    if not effects or not len(samples):
        return samples
    samples = _clipped(samples)
    shortest = len(samples)
    for effect in effects:
        kind, params = effect["type"], effect["params"]
        if kind == "speed":
            shortest = round(shortest / params["rate"])
        samples = _trimmed(
            _clipped(_apply(samples, sample_rate, kind, params)), shortest, TAIL_FLOOR
        )
    return _trimmed(samples, shortest, SILENCE)


def _clipped(samples: Samples) -> Samples:
    finite = np.nan_to_num(samples, nan=0.0, posinf=MAX_SAMPLE, neginf=-MAX_SAMPLE)
    return np.clip(finite, -MAX_SAMPLE, MAX_SAMPLE).astype(np.float32)


def _trimmed(samples: Samples, shortest: int, level: float) -> Samples:
    """Cut off the end that stays at or below `level`; at least `shortest` samples remain."""
    loud = np.flatnonzero(np.abs(samples[shortest:]) > level)
    return samples[: shortest + (int(loud[-1]) + 1 if len(loud) else 0)]


def _apply(samples: Samples, sample_rate: int, kind: str, params: Mapping[str, float]) -> Samples:
    if kind == "speed":
        return stretch(samples, sample_rate, params["rate"])
    if kind == "pitch_shift":
        return _pitch_shifted(samples, sample_rate, params["semitones"])
    if kind == "loudness":
        return level(samples, sample_rate, params["target_lufs"])
    tail = int(min(_tail_s(kind, params), MAX_TAIL_S) * sample_rate)
    padded = np.concatenate([samples, np.zeros(tail, np.float32)])
    output = _plugin(kind, sample_rate, params).process(padded, sample_rate, reset=True)
    # A tail that reached MAX_TAIL_S is faded out; of any other this touches the inaudible end.
    output[len(output) - tail // 4 :] *= np.linspace(1, 0, tail // 4, dtype=np.float32)
    return output


def _plugin(kind: str, sample_rate: int, params: Mapping[str, float]) -> Any:
    import pedalboard  # start-up time: 10 ms, and only effects need it

    if kind == "delay":
        # pedalboard rounds down, in float32: half a sample more avoids losing one.
        delay_s = (round(params["delay_seconds"] * sample_rate) + 0.5) / sample_rate
        params = {**params, "delay_seconds": delay_s}
    if kind in ("highpass", "lowpass"):
        # From half the sample rate on, its filters are unstable and give inf.
        params = {"cutoff_frequency_hz": min(params["cutoff_frequency_hz"], 0.49 * sample_rate)}
        return getattr(pedalboard, f"{kind.capitalize()}Filter")(**params)
    return getattr(pedalboard, kind.capitalize())(**params)


def _tail_s(kind: str, params: Mapping[str, float]) -> float:
    """Length of an effect's tail until it is below -100 dB, in seconds; 0 without a tail."""
    if kind == "reverb":  # Freeverb: its longest comb, 37 ms, at the feedback of the room size
        return 0.2 + 0.037 * _repeat_count(0.7 + 0.28 * params["room_size"])
    if kind == "delay":
        return 0.1 + params["delay_seconds"] * (1 + _repeat_count(params["feedback"]))
    if kind == "chorus":  # the copy wavers by up to 20 ms
        longest_s = params["centre_delay_ms"] / 1000 + 0.02 * params["depth"]
        return longest_s * (1 + _repeat_count(params["feedback"]))
    return 0.0


def _repeat_count(feedback: float) -> float:
    return math.log(TAIL_FLOOR) / math.log(feedback) if feedback > 0 else 0.0


def _pitch_shifted(samples: Samples, sample_rate: int, semitones: float) -> Samples:
    """Shift the pitch with Rubber Band, offline; formants move too, as with PitchShift.

    pedalboard's PitchShift works in blocks, and is two semitones off for a tone of 220 Hz.
    """
    if semitones == 0:
        return samples
    import pedalboard  # start-up time: 10 ms, and only effects need it

    # It returns fewer samples than it is given when these are under a hundred.
    padded = np.concatenate([samples, np.zeros(sample_rate // 10, np.float32)])
    shifted = pedalboard.time_stretch(
        padded.reshape(1, -1), sample_rate, 1.0, semitones, preserve_formants=False
    )
    return shifted[0, : len(samples)]
