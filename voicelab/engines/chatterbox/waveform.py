"""The last step to the scheduler: samples that are numbers, errors that are sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voicelab.errors import SpeechFailed

__all__ = ["NOT_FINITE", "checked", "lacks_memory", "reason"]

SCARCE = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")

NOT_FINITE = "the model's probabilities are not finite numbers."


def checked(wave: Any) -> NDArray[np.float32]:
    """float32 (n,) of a tensor (n,); raises SpeechFailed for none, and for what is no number."""
    audio: NDArray[np.float32] = wave.to(torch.float32).cpu().numpy()
    if not audio.size:
        raise SpeechFailed("it came out empty.")
    if not np.isfinite(audio).all():
        raise SpeechFailed("the samples are not finite numbers.")
    return audio


def lacks_memory(error: Exception) -> bool:
    """Of the machine or of its GPU; an illegal access to it is something else."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in SCARCE)


def reason(error: Exception) -> str:
    """A sentence; upstream's own words are for its authors."""
    if lacks_memory(error):
        return "there is not enough memory."
    if "probability tensor" in str(error):
        return NOT_FINITE
    return f"the model failed ({type(error).__name__})."
