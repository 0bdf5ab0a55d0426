"""One utterance's decoding, watched: cancelled within a step, its tokens looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from voicelab.engines.chatterbox.quiet import hushed
from voicelab.errors import SpeechFailed

__all__ = ["Decoding", "watched"]

CAP_TOKENS = 1000
"""Upstream's limit (40 s); Turbo draws one token before it begins to count."""
SPEECH_TOKENS = 6561
STOP_TOKEN = 6562
LEAKED = "AlignmentStreamAnalyzer"


class Decoding:
    """What one utterance's decoding did.

    Attributes:
        capped: it came to the limit without an end.
    """

    def __init__(self) -> None:
        self.capped = False


@contextlib.contextmanager
def watched(model: Any, poll: Callable[..., None]) -> Iterator[Decoding]:
    """`poll` runs before every decoding and flow step; nothing stays behind afterwards."""
    decoding = Decoding()
    hooks = [module.register_forward_pre_hook(poll) for module in _steps(model)]
    turbo = hasattr(model, "norm_loudness")
    name = "inference_turbo" if turbo else "inference"
    original = getattr(model.t3, name)
    cap_tokens = CAP_TOKENS + turbo
    # Turbo's tokenizer cuts a longer text to its limit, so one that fills it counts as too long.
    max_text_tokens = (
        model.tokenizer.model_max_length - 1 if turbo else model.t3.hp.max_text_tokens + 2
    )

    def inference(*args: Any, text_tokens: Any, **kwargs: Any) -> Any:
        # Upstream would index out of range, after which a process cannot use its GPU any more.
        if text_tokens.shape[-1] > max_text_tokens:
            raise SpeechFailed("the text has more tokens than the model can read.")
        drawn = original(*args, text_tokens=text_tokens, **kwargs)
        decoding.capped = drawn.shape[-1] >= cap_tokens and int(drawn[0, -1]) != STOP_TOKEN
        return _valid(drawn)

    setattr(model.t3, name, inference)
    try:
        with hushed():
            yield decoding
    finally:
        delattr(model.t3, name)
        for hook in hooks:
            hook.remove()
        _remove_leaked(model.t3.tfmr)


def _steps(model: Any) -> list[Any]:
    """Modules that run once a step; the flow's estimator itself is called past its hooks."""
    estimator = model.s3gen.flow.decoder.estimator
    return [model.t3.tfmr, estimator.time_mlp, *(block[0] for block in estimator.mid_blocks)]


def _remove_leaked(transformer: Any) -> None:
    """Multilingual leaves three forward hooks a call; transformers has lasting ones beside them."""
    for module in transformer.modules():
        for key, hook in list(module._forward_hooks.items()):
            if LEAKED in getattr(hook, "__qualname__", ""):
                del module._forward_hooks[key]


def _valid(drawn: Any) -> Any:
    """Speech tokens alone, (1, n): upstream raises on a start or end token that comes twice."""
    row = drawn.flatten()
    ends = (row == STOP_TOKEN).nonzero()
    row = row[: int(ends[0])] if len(ends) else row
    row = row[row < SPEECH_TOKENS]
    if not len(row):
        raise SpeechFailed("the model ended before it began to speak.")
    return row.unsqueeze(0)
