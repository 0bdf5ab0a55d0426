"""Upstream's own `generate`, one sentence at a time: used when the self-test fails."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from voicelab.engines.base import Spoken, Utterance
from voicelab.engines.chatterbox.rules import kept_samples, without_unwanted_check
from voicelab.engines.chatterbox.sentence import CAP_TOKENS, STOP_TOKEN
from voicelab.engines.chatterbox.suppression import patched, suppressed_progress
from voicelab.engines.chatterbox.tokens import check_length, valid_speech_tokens
from voicelab.engines.chatterbox.voices import Voices, own_copy
from voicelab.engines.chatterbox.waveform import failure_message, finite_samples
from voicelab.errors import Cancelled, SpeechFailed

__all__ = ["UpstreamSpeech"]

log = logging.getLogger(__name__)

LEAKED = "AlignmentStreamAnalyzer"
NO_CFG_WEIGHT = 1e-300
"""Upstream fails at 0, where it leaves out the row it still reads; this is over 0, and 0 in
float32."""


class UpstreamSpeech:
    """Speaks with upstream's unmodified model.

    Args:
        model: upstream's.
        voices: of it.
        lock: of the process: upstream draws from torch's one generator, and every engine
            beside this one would disturb it.
    """

    kernel = "upstream"
    batch_size = 1

    def __init__(self, model: Any, voices: Voices, lock: threading.Lock):
        self.model = model
        self._voices = voices
        self._lock = lock

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: Callable[[int], Sequence[Utterance]],
    ) -> Iterator[Spoken]:
        """See `Engine.speak`; walks the batch."""
        index = 0
        while index < len(utterances):
            try:
                with self._lock:
                    spoken = self._speak(index, utterances[index], cancelled)
            except Cancelled:
                pass
            except SpeechFailed as error:
                yield Spoken(index, failure=error)
            else:
                yield spoken
            index += 1
            if index == len(utterances):
                utterances = [*utterances, *more(1)]

    def _speak(self, index: int, utterance: Utterance, cancelled: Callable[[int], bool]) -> Spoken:
        def poll(*_: Any) -> None:
            if cancelled(index):
                raise Cancelled

        poll()
        # inference_mode belongs to the thread that runs the model; elsewhere memory grows.
        with torch.inference_mode(), polled(self.model, poll):
            try:
                self.model.conds = own_copy(self._voices.get(utterance.voice))
                torch.manual_seed(utterance.seed)
                wave = self.model.generate(utterance.text, **self._arguments(utterance))
            except _CutOff:
                return Spoken(index, capped=True)
            except (Cancelled, SpeechFailed):
                raise
            except Exception as error:
                log.warning("upstream failed on %d characters", len(utterance.text), exc_info=True)
                raise SpeechFailed(failure_message(error)) from error
            finally:
                self.model.conds = self._voices.own
        return Spoken(index, finite_samples(wave.squeeze(0)))

    def _arguments(self, utterance: Utterance) -> dict[str, Any]:
        arguments: dict[str, Any] = dict(utterance.parameters)
        if "cfg_weight" in arguments:
            arguments["cfg_weight"] = max(NO_CFG_WEIGHT, arguments["cfg_weight"])
        if "top_k" in arguments:
            arguments["top_k"] = int(arguments["top_k"])
        if self.model.t3.hp.is_multilingual:
            arguments["language_id"] = utterance.language
        return arguments


class _CutOff(Exception):
    """Decoding reached the limit of tokens without a stop token."""


@contextlib.contextmanager
def polled(model: Any, poll: Callable[..., None]) -> Iterator[None]:
    """`poll` runs before every decoding and flow step; all hooks are removed at the end."""
    hooks = [module.register_forward_pre_hook(poll) for module in _steps(model)]
    turbo = model.t3.is_gpt
    name = "inference_turbo" if turbo else "inference"
    original = getattr(model.t3, name)
    cap_tokens = CAP_TOKENS + turbo

    def inference(*args: Any, text_tokens: Any, **kwargs: Any) -> Any:
        # Upstream would index out of range, after which a process cannot use its GPU any more.
        check_length(model, text_tokens.shape[-1])
        drawn = original(*args, text_tokens=text_tokens, **kwargs)
        if drawn.shape[-1] >= cap_tokens and int(drawn[0, -1]) != STOP_TOKEN:
            raise _CutOff
        return valid_speech_tokens(drawn.flatten()).unsqueeze(0)

    try:
        with (
            patched(model.t3, name, inference),
            _last_token_dropped(model),
            without_unwanted_check(model.t3),
            suppressed_progress(),
        ):
            yield
    finally:
        for hook in hooks:
            hook.remove()
        _remove_leaked(model.t3.tfmr)


@contextlib.contextmanager
def _last_token_dropped(model: Any) -> Iterator[None]:
    """Where the checkpoint's rules say so; a newer upstream drops it itself, and no other then."""
    if not model.t3.rules.drops_last_token:
        yield
        return
    original = model.s3gen.inference

    def inference(*args: Any, speech_tokens: Any, **kwargs: Any) -> Any:
        wave, *rest = original(*args, speech_tokens=speech_tokens, **kwargs)
        return wave[..., : kept_samples(speech_tokens.shape[-1])], *rest

    with patched(model.s3gen, "inference", inference):
        yield


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
