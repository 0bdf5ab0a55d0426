"""What differs in speaking from one version of Multilingual to the next."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from voicelab.engines.chatterbox.checkpoints import FINETUNES, MULTILINGUAL, MULTILINGUAL_V2
from voicelab.engines.chatterbox.suppression import patched

__all__ = ["SAMPLES_PER_TOKEN", "Rules", "kept_samples", "rules", "without_unwanted_check"]

T3_MODULE = "chatterbox.models.t3.t3"
ANALYZER_MODULE = "chatterbox.models.t3.inference.alignment_stream_analyzer"
ANALYZER = "AlignmentStreamAnalyzer"
SAMPLES_PER_TOKEN = 960
"""S3GEN_SR // S3_TOKEN_RATE: a token is 40 ms."""


@dataclass(frozen=True)
class Rules:
    """How a checkpoint is spoken with.

    Attributes:
        checks_alignment: upstream's analyzer watches whether the speech follows the text.
        drops_last_token: the last token's sound is cut off; it is noise.
    """

    checks_alignment: bool = False
    drops_last_token: bool = False


def rules(checkpoint: str) -> Rules:
    """V2 speaks as in chatterbox-tts 0.1.7, as long as the package has the analyzer; V3 without."""
    if checkpoint == MULTILINGUAL_V2 and find_spec(ANALYZER_MODULE):
        return Rules(checks_alignment=True)
    return Rules(drops_last_token=checkpoint in (MULTILINGUAL, MULTILINGUAL_V2, *FINETUNES))


def kept_samples(count: int) -> int:
    """How many samples are heard of a sound of `count` tokens whose last one is dropped."""
    return max(1, count - 1) * SAMPLES_PER_TOKEN


@contextlib.contextmanager
def without_unwanted_check(t3: Any) -> Iterator[None]:
    """Upstream's loop analyzes whatever is multilingual in 0.1.7, and nothing in later ones."""
    module = importlib.import_module(T3_MODULE)
    if t3.rules.checks_alignment or not hasattr(module, ANALYZER):
        yield
        return
    with patched(module, ANALYZER, _NoAnalyzer):
        yield


class _NoAnalyzer:
    """Leaves the logits as they are."""

    def __init__(self, *_: Any, eos_idx: int, **__: Any):
        self.eos_idx = eos_idx

    def step(self, logits: Any, **_: Any) -> Any:
        return logits
