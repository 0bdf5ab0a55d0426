"""The vocoder: mel frames to samples, as upstream's HiFTGenerator, with its weights folded once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.chatterbox.layers import Convolution, folded

__all__ = ["Vocoder"]

LOUDEST = 1e2
"""Of a magnitude, upstream's limit."""


class Vocoder:
    """Always float32: its sound is cheap, and the phase of its source needs the digits.

    Args:
        upstream: HiFTGenerator; it is left as it is.
    """

    def __init__(self, upstream: Any):
        self._pitch = _Pitch(upstream.f0_predictor)
        self._source = _Source(upstream)
        self._n_fft, self._hop = (upstream.istft_params[key] for key in ("n_fft", "hop_len"))
        self._window = upstream.stft_window.to(upstream.conv_pre.bias.device)
        self._slope, self._limit = upstream.lrelu_slope, upstream.audio_limit
        self._pre, self._post = (
            Convolution.of(upstream.conv_pre),
            Convolution.of(upstream.conv_post),
        )
        kernels = upstream.num_kernels
        self._stages = [
            _Stage(up, down, source, upstream.resblocks[kernels * i : kernels * (i + 1)])
            for i, (up, down, source) in enumerate(
                zip(upstream.ups, upstream.source_downs, upstream.source_resblocks, strict=True)
            )
        ]

    def __call__(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """(time, 80) -> (samples,); the source's phases and noise are drawn from `generator`."""
        x = mel.unsqueeze(0)
        source = self._spectrum(self._source(self._pitch(x), generator))
        x = self._pre(x)
        for stage in self._stages:
            x = functional.leaky_relu(x, self._slope)
            x = stage(x, source, last=stage is self._stages[-1])
        return self._samples(self._post(functional.leaky_relu(x)))

    def _spectrum(self, source: Tensor) -> Tensor:
        """(samples,) -> (1, frames, n_fft + 2), real parts before imaginary ones."""
        spectrum = torch.stft(
            source, self._n_fft, self._hop, window=self._window, return_complex=True
        )
        return torch.cat([spectrum.real, spectrum.imag]).t().contiguous().unsqueeze(0)

    def _samples(self, x: Tensor) -> Tensor:
        logarithms, angles = x.transpose(1, 2).split(self._n_fft // 2 + 1, dim=1)
        magnitude, phase = torch.exp(logarithms).clip(max=LOUDEST), torch.sin(angles)
        spectrum = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        samples = torch.istft(spectrum, self._n_fft, self._hop, window=self._window)
        return samples.squeeze(0).clamp_(-self._limit, self._limit)


class _Pitch:
    """(1, time, 80) -> (time,) Hz.

    Computed as upstream does, to the last digit: the phase of the source adds its errors up.
    """

    def __init__(self, upstream: Any):
        self._convolutions = [
            (folded(module), module.bias.detach().clone()) for module in upstream.condnet[::2]
        ]
        self._weight = upstream.classifier.weight.detach().clone()
        self._bias = upstream.classifier.bias.detach().clone()

    def __call__(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).contiguous()
        for weight, bias in self._convolutions:
            x = functional.elu(functional.conv1d(x, weight, bias, padding=1))
        return functional.linear(x.transpose(1, 2), self._weight, self._bias).flatten().abs()


class _Source:
    """Sines of the pitch and its harmonics where there is a voice, noise elsewhere."""

    def __init__(self, upstream: Any):
        module = upstream.m_source
        sines = module.l_sin_gen
        self._upsample = upstream.f0_upsamp
        self._weight = module.l_linear.weight.detach().clone()
        self._bias = module.l_linear.bias.detach().clone()
        self._harmonics, self._sample_rate = sines.harmonic_num + 1, sines.sampling_rate
        self._amplitude, self._deviation = sines.sine_amp, sines.noise_std
        self._threshold = sines.voiced_threshold

    def __call__(self, pitch: Tensor, generator: torch.Generator) -> Tensor:
        """(time,) Hz -> (samples,)."""
        pitch = self._upsample(pitch[None, None])
        numbers = range(1, self._harmonics + 1)
        cycles = torch.cat([pitch * n / self._sample_rate for n in numbers], dim=1)
        angles = 2 * math.pi * (torch.cumsum(cycles, dim=-1) % 1)
        phases = _uniform(self._harmonics, generator, pitch)
        sines = self._amplitude * torch.sin(angles + phases)
        voiced = (pitch > self._threshold).to(pitch.dtype)
        loudness = voiced * self._deviation + (1 - voiced) * self._amplitude / 3
        noise = torch.randn(sines.shape, generator=generator, device=generator.device)
        sines = sines * voiced + loudness * noise.to(pitch)
        merged = functional.linear(sines.transpose(1, 2), self._weight, self._bias)
        return torch.tanh(merged).flatten()


def _uniform(harmonics: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Phases in -pi..pi, (1, harmonics, 1); the fundamental has none."""
    low, high = torch.tensor(-math.pi), torch.tensor(math.pi)
    drawn = torch.rand((1, harmonics, 1), generator=generator, device=generator.device)
    phases = low.to(drawn) + drawn * (high - low).to(drawn)
    phases[:, 0] = 0
    return phases.to(like)


class _Stage:
    """One upsampling: the source is mixed in, and the mean of some residual blocks taken."""

    def __init__(self, up: Any, down: Any, source: Any, blocks: Any):
        self._up_weight = folded(up).unsqueeze(2)
        self._up_bias = up.bias.detach().clone()
        self._up_stride, self._up_padding = (1, up.stride[0]), (0, up.padding[0])
        self._down, self._source = Convolution.of(down), _Residual(source)
        self._blocks = [_Residual(block) for block in blocks]

    def __call__(self, x: Tensor, source: Tensor, *, last: bool) -> Tensor:
        """(1, time, channels), (1, frames, n_fft + 2) -> (1, time * rate, channels / 2)."""
        image = x.permute(0, 2, 1).unsqueeze(2)
        image = functional.conv_transpose2d(
            image, self._up_weight, self._up_bias, self._up_stride, self._up_padding
        )
        x = image.squeeze(2).permute(0, 2, 1).contiguous()
        if last:  # upstream reflects one frame at the beginning
            x = torch.cat([x[:, 1:2], x], dim=1)
        x = x + self._source(self._down(source))
        first, *others = self._blocks
        total = first(x)
        for block in others:
            total += block(x)
        return total.div_(len(self._blocks))


class _Residual:
    """Three times: snake, dilated convolution, snake, convolution, and the input added."""

    def __init__(self, upstream: Any):
        self._steps = [
            (_Snake(before), Convolution.of(dilated), _Snake(between), Convolution.of(plain))
            for before, dilated, between, plain in zip(
                upstream.activations1,
                upstream.convs1,
                upstream.activations2,
                upstream.convs2,
                strict=True,
            )
        ]

    def __call__(self, x: Tensor) -> Tensor:
        for before, dilated, between, plain in self._steps:
            x = plain(between(dilated(before(x)))).add_(x)
        return x


class _Snake:
    """x + sin(a x)^2 / a."""

    def __init__(self, upstream: Any):
        alpha = upstream.alpha.detach()
        self._alpha = torch.exp(alpha) if upstream.alpha_logscale else alpha.clone()
        self._inverse = 1.0 / (self._alpha + upstream.no_div_by_zero)

    def __call__(self, x: Tensor) -> Tensor:
        y = (x * self._alpha).sin_()
        return torch.addcmul(x, y.mul_(y), self._inverse)
