"""How far upstream's own sound moves, here and now, where nothing but roundings differ.

The phase of a voiced sound adds up the pitch of all samples before, so the last bit of a pitch is
heard the more the longer a chunk is; which bits it has depends on the processor, on the library of
the products and on the number of threads. Hence no constant tells two sounds apart that are equal
to the rounding: upstream is compared with itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from voicelab.engines.chatterbox.suppression import suppressed_progress

__all__ = ["drawing", "largest_difference", "longest", "tolerance"]

FACTOR = 2
"""Ours and upstream's may have been rounded to either side of the same value."""
THREADS = (1, 2)
ROUNDINGS = 2
"""Other roundings of the pitch that are tried."""


def tolerance(say: Callable[[], Sequence[Any]], s3gen: Any) -> float:
    """What two sounds that are equal to the rounding may differ by, in samples of full scale 1.

    Args:
        say: speaks with upstream's classes; the same sounds at each call.
        s3gen: upstream's, which `say` uses.
    """
    first, *others = [_with_threads(count, say) for count in THREADS]
    for seed in range(ROUNDINGS):
        with _pitch_rounded_otherwise(s3gen, seed):
            others.append(_with_threads(THREADS[0], say))
    return FACTOR * max(largest_difference(first, other) for other in others)


@contextlib.contextmanager
def longest(s3gen: Any) -> Iterator[Callable[[], list[Tensor]]]:
    """What makes the longest sound again that upstream makes in the block, for `tolerance`.

    From the same speech tokens, which do not depend on roundings; to draw them takes most of the
    time. Shorter sounds differ by less.
    """
    inference, asked = s3gen.inference, {}

    def recorded(*given: Any, **named: Any) -> Any:
        state, made = _generator(s3gen.device).get_rng_state(), inference(*given, **named)
        asked[made[0].shape[-1]] = (state, given, named)
        return made

    def again() -> list[Tensor]:
        state, given, named = asked[max(asked)]
        with drawing(state, s3gen.device), torch.inference_mode(), suppressed_progress():
            return [inference(*given, **named)[0]]

    with mock.patch.object(s3gen, "inference", recorded):
        yield again


@contextlib.contextmanager
def drawing(state: Tensor, device: torch.device) -> Iterator[None]:
    """torch's one generator of the device is in this state; as it was after the block."""
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        _generator(device).set_rng_state(state)
        yield


def largest_difference(sounds: Sequence[Any], others: Sequence[Any]) -> float:
    """Of two samples at the same place."""
    pairs = zip(map(torch.as_tensor, sounds), map(torch.as_tensor, others), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)


def _generator(device: torch.device) -> Any:
    return torch.cuda if device.type == "cuda" else torch


def _with_threads(count: int, say: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return say()
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _pitch_rounded_otherwise(s3gen: Any, seed: int) -> Iterator[None]:
    """Each pitch as it is, or one unit of its last place higher or lower."""
    generator = torch.Generator().manual_seed(seed)

    def rounded(_: Any, __: Any, pitch: Tensor) -> Tensor:
        step = torch.randint(-1, 2, pitch.shape, generator=generator).to(pitch.device)
        return torch.where(step == 0, pitch, torch.nextafter(pitch, step * torch.inf))

    hook = s3gen.mel2wav.f0_predictor.register_forward_hook(rounded)
    try:
        yield
    finally:
        hook.remove()
