"""Loudness by EBU R128: measurement, normalization, and a limiter of true peaks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicelab.audio.codecs import filtered
from voicelab.audio.samples import is_silent

__all__ = ["integrated_lufs", "level", "true_peak"]

Samples = NDArray[np.float32]

CEILING = 10 ** (-1.1 / 20)
"""Limit of the true peak: -1 dBTP, less 0.1 dB for meters that interpolate differently."""

GATE_LUFS = -70.0
"""R128's absolute gate; audio below it has no loudness."""

BLOCK_S = 0.4
"""Length of R128's measuring blocks; shorter audio has no loudness."""

LOOKAHEAD_S = 0.005
TOLERANCE_DB = 0.1
MAX_ROUNDS = 5
OVERSHOOT = 1.5
PHASES = 8
TAPS = 32


def level(samples: Samples, sample_rate: int, target_lufs: float) -> Samples:
    """Scale float32 (n,) to `target_lufs` with a true peak of at most -1 dBTP.

    Peaks are lowered by a look-ahead limiter whose gain changes over 10 ms: nothing is clipped
    or delayed. (ffmpeg's alimiter limits samples only, not the peaks between them.) When both
    targets cannot be met the peak has precedence, and up to five rounds compensate the loudness
    that the limiter takes. Silence is returned unchanged.
    """
    lufs = integrated_lufs(samples, sample_rate)
    if lufs is None:
        return samples
    reach = max(1, int(LOOKAHEAD_S * sample_rate))
    peaks = _peaks(samples)  # they grow with the gain, so once is enough
    gain_db, result = target_lufs - lufs, samples
    for _ in range(MAX_ROUNDS):
        gain = 10 ** (gain_db / 20)
        result = (samples * _limiter_gain(peaks, gain, reach)).astype(np.float32)
        reached = integrated_lufs(result, sample_rate)
        if reached is None or abs(target_lufs - reached) < TOLERANCE_DB:
            break
        # The limiter reduces each step, so the step is larger than the difference.
        gain_db += OVERSHOOT * (target_lufs - reached)
    # Where the gain changes, and before the first sample, a peak may be slightly too high.
    return result * np.float32(min(1.0, CEILING / max(true_peak(result), CEILING)))


def _limiter_gain(peaks: Samples, gain: float, reach: int) -> NDArray[Any]:
    """The gain per sample: `gain`, reduced around peaks that would exceed CEILING."""
    if gain * float(peaks.max()) <= CEILING:
        return np.full(1, gain, np.float32)
    allowed = np.minimum(np.float32(gain), np.float32(CEILING) / np.maximum(peaks, 1e-9))
    return _running_mean(_running_minimum(allowed, reach), reach)


def integrated_lufs(samples: Samples, sample_rate: int) -> float | None:
    """Integrated loudness of float32 (n,) in LUFS, by ffmpeg's ebur128; None for silence.

    Audio shorter than one block is repeated for the measurement.
    """
    if is_silent(samples):
        return None
    # Scaled to full scale first, so that a soft recording is not below the gate.
    peak = float(np.abs(samples).max())
    scaled = samples / np.float32(peak)
    if len(scaled) < BLOCK_S * sample_rate:
        scaled = np.tile(scaled, math.ceil(BLOCK_S * sample_rate / len(scaled)))
    lufs = _measured(scaled, sample_rate)
    return lufs + 20 * math.log10(peak) if lufs > GATE_LUFS else None


def _measured(samples: Samples, sample_rate: int) -> float:
    """The last measurement in LUFS; the filter gives one per 100 ms. -inf without any."""
    lufs = -math.inf
    for frame in filtered(samples, sample_rate, [("ebur128", "metadata=1")]):
        lufs = float(frame.metadata.get("lavfi.r128.I", lufs))
    return lufs


def true_peak(samples: Samples) -> float:
    """Largest magnitude of float32 (n,) after oversampling by eight."""
    return float(_peaks(np.pad(samples, TAPS)).max(initial=0.0))


def _peaks(samples: Samples) -> Samples:
    """Largest magnitude between each sample and the next, float32 (n,)."""
    padded = np.pad(samples, (TAPS // 2 - 1, TAPS // 2))
    peaks = np.abs(samples)
    for phase in range(1, PHASES):
        between = np.convolve(padded, _kernel(phase / PHASES), "valid")  # (n,)
        np.maximum(peaks, np.abs(between), out=peaks)
    return peaks


def _kernel(fraction: float) -> Samples:
    """A windowed sinc that interpolates at `fraction` of a sample, float32 (TAPS,)."""
    distance = np.arange(TAPS) - (TAPS // 2 - 1) - fraction
    kernel = np.sinc(distance) * np.cos(np.pi * distance / TAPS) ** 2
    return kernel[::-1].astype(np.float32)  # a convolution runs backwards


def _running_minimum(gain: NDArray[Any], reach: int) -> NDArray[Any]:
    """Running minimum over `reach` samples to either side, by windows of doubling width."""
    lowest, span, width = np.pad(gain, reach, mode="edge"), 1, 2 * reach + 1
    while span < width:
        step = min(span, width - span)
        lowest = np.minimum(lowest[:-step], lowest[step:])
        span += step
    return lowest


def _running_mean(gain: NDArray[Any], reach: int) -> NDArray[np.float64]:
    """Running mean over `reach` samples to either side, never above that minimum."""
    width = 2 * reach + 1
    total = np.cumsum(np.pad(gain, (reach + 1, reach), mode="edge"), dtype=np.float64)
    return (total[width:] - total[:-width]) / width
