"""Checks of the samples an engine returns, and messages for the errors of its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voicelab.errors import SpeechFailed

__all__ = ["NOT_FINITE", "finite_samples", "is_out_of_memory", "failure_message"]

SCARCE = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")

NOT_FINITE = "the model's probabilities are not finite numbers."


def finite_samples(wave: Any) -> NDArray[np.float32]:
    """A tensor (n,) as float32 (n,); raises SpeechFailed when it is empty or not finite."""
    audio: NDArray[np.float32] = wave.to(torch.float32).cpu().numpy()
    if not audio.size:
        raise SpeechFailed("it came out empty.")
    if not np.isfinite(audio).all():
        raise SpeechFailed("the samples are not finite numbers.")
    return audio


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine or its GPU has no memory left; illegal memory accesses do not count."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in SCARCE)


def failure_message(error: Exception) -> str:
    """A sentence for users in place of upstream's own message."""
    if is_out_of_memory(error):
        return "there is not enough memory."
    if "probability tensor" in str(error):
        return NOT_FINITE
    return f"the model failed ({type(error).__name__})."
