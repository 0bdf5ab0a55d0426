"""The engine: upstream's own generate, chunk by chunk, with its traps closed."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from voicelab.engines.base import LoadProgress, Spoken, Utterance, Voice
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.upstream import load_model, without_warnings
from voicelab.errors import BadClip, Cancelled, EngineUnavailable, SpeechFailed

__all__ = ["ChatterboxEngine"]

log = logging.getLogger(__name__)

CAP_TOKENS = 1000
SPEECH_TOKENS = 6561
STOP_TOKEN = 6562
CACHED_VOICES = 16
TURBO_CLIP_S = 5.0
LEAKED = "AlignmentStreamAnalyzer"
LEAST_CFG_WEIGHT = 1e-6
"""Upstream fails at 0, where it leaves out the second row it needs; this weighs nothing."""


class ChatterboxEngine:
    """One model, one lock; `speak` holds the lock for one utterance at a time.

    Args:
        name: a key of CHATTERBOX_INFOS.
        device: auto, cpu, cuda or mps.
        checkpoint_dir: folder with the weights; the Hugging Face cache when None.
        threads: of torch on the CPU; the physical cores when None.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str = "auto",
        checkpoint_dir: Path | None = None,
        threads: int | None = None,
    ):
        self.info = CHATTERBOX_INFOS[name]
        self.device = "cpu" if device == "auto" else device
        self._wanted_device = device
        self._checkpoint_dir = checkpoint_dir
        self._threads = threads
        self._lock = threading.Lock()
        self._model: Any = None
        self._built_in: Any = None
        self._voices: OrderedDict[str, Any] = OrderedDict()

    def versions(self) -> Mapping[str, str]:
        """Of the packages that make the sound, and the device."""
        found = {"device": self.device}
        for package in ("chatterbox-tts", "torch"):
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
        return found

    def load(self, progress: LoadProgress) -> None:
        """See `Engine.load`; 15-30 s, more when weights are fetched."""
        with self._lock:
            if self._model is None:
                model, self.device = load_model(
                    self.info.name,
                    device=self._wanted_device,
                    checkpoint_dir=self._checkpoint_dir,
                    threads=self._threads,
                    progress=progress,
                )
                # generate() overwrites model.conds with every clip: keep the model's own aside.
                self._built_in, self._model = model.conds, model
        progress(1.0, "ready")

    def prepare_voice(self, clip: Path | None) -> Voice:
        """The clip's hash; it is encoded when it first speaks."""
        if clip is None:
            return Voice()
        content = clip.read_bytes()
        if self.info.name == "chatterbox-turbo":
            _check_length(clip)
        return Voice(hashlib.sha256(content).hexdigest(), clip)

    def speak(
        self, utterances: Sequence[Utterance], cancelled: Callable[[int], bool]
    ) -> Iterator[Spoken]:
        """See `Engine.speak`; walks the batch."""
        for index, utterance in enumerate(utterances):
            try:
                with self._lock:
                    if self._model is None:
                        raise EngineUnavailable(f"{self.info.label} is not loaded.")
                    spoken = self._speak(index, utterance, cancelled)
            except Cancelled:
                continue
            yield spoken

    def close(self) -> None:
        """Free the weights."""
        with self._lock:
            self._model = self._built_in = None
            self._voices.clear()

    def _speak(self, index: int, utterance: Utterance, cancelled: Callable[[int], bool]) -> Spoken:
        import torch

        def poll(*_: Any) -> None:
            if cancelled(index):
                raise Cancelled

        # inference_mode belongs to the thread that runs the model; elsewhere memory grows.
        with torch.inference_mode(), without_warnings(), _watched(self._model, poll) as tokens:
            poll()
            self._model.conds = self._conditionals(utterance.voice)
            torch.manual_seed(utterance.seed)
            try:
                wave = self._model.generate(utterance.text, **self._arguments(utterance))
            except (Cancelled, SpeechFailed):
                raise
            except IndexError as error:
                raise SpeechFailed("it has more tokens than the model can read.") from error
            finally:
                self._model.conds = self._built_in
        audio: NDArray[np.float32] = wave.squeeze(0).to(torch.float32).cpu().numpy()
        if not audio.size or not np.isfinite(audio).all():
            raise SpeechFailed("the samples are not finite numbers.")
        return Spoken(index, audio, capped=tokens.capped)

    def _arguments(self, utterance: Utterance) -> dict[str, Any]:
        arguments: dict[str, Any] = dict(utterance.parameters)
        if "cfg_weight" in arguments:
            arguments["cfg_weight"] = max(LEAST_CFG_WEIGHT, arguments["cfg_weight"])
        if "top_k" in arguments:
            arguments["top_k"] = int(arguments["top_k"])
        if self.info.name == "chatterbox-multilingual":
            arguments["language_id"] = utterance.language
        return arguments

    def _conditionals(self, voice: Voice) -> Any:
        """A copy that generate() may write to: it sets exaggeration and embeddings in place."""
        if voice.data is None:
            if self._built_in is None:
                raise SpeechFailed("this checkpoint has no voice of its own: give a voice clip.")
            kept = self._built_in
        else:
            kept = self._encoded(voice)
        mine = copy.copy(kept)
        mine.t3 = copy.copy(kept.t3)
        mine.gen = dict(kept.gen)
        return mine

    def _encoded(self, voice: Voice) -> Any:
        if voice.key not in self._voices:
            try:
                self._model.prepare_conditionals(str(voice.data))
            except Exception as error:
                raise SpeechFailed("the voice clip cannot be encoded.") from error
            self._voices[voice.key] = self._model.conds
            if len(self._voices) > CACHED_VOICES:
                self._voices.popitem(last=False)
        self._voices.move_to_end(voice.key)
        return self._voices[voice.key]


class _Tokens:
    """What one utterance's decoding did."""

    capped = False


@contextlib.contextmanager
def _watched(model: Any, poll: Callable[..., None]) -> Iterator[_Tokens]:
    """Poll at every decoding and flow step, look at the tokens, leave no hook behind.

    Upstream's AlignmentStreamAnalyzer leaks three forward hooks a call in the Multilingual
    model; they are told by their name, since transformers has lasting hooks of its own there.
    """
    tokens = _Tokens()
    watched = (model.t3.tfmr, model.s3gen.flow.decoder.estimator)
    hooks = [module.register_forward_pre_hook(poll) for module in watched]
    name = "inference_turbo" if hasattr(model, "norm_loudness") else "inference"
    original = getattr(model.t3, name)

    def inference(*args: Any, **kwargs: Any) -> Any:
        drawn = original(*args, **kwargs)
        tokens.capped = drawn.shape[-1] >= CAP_TOKENS and int(drawn.flatten()[-1]) != STOP_TOKEN
        return _valid(drawn)

    setattr(model.t3, name, inference)
    try:
        # The page has a progress bar of its own; upstream would print one for every chunk.
        with mock.patch("chatterbox.models.t3.t3.tqdm", lambda steps, **_: steps):
            yield tokens
    finally:
        delattr(model.t3, name)
        for hook in hooks:
            hook.remove()
        for module in model.t3.tfmr.modules():
            for key, leaked in list(module._forward_hooks.items()):
                if LEAKED in getattr(leaked, "__qualname__", ""):
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


def _check_length(clip: Path) -> None:
    import soundfile

    duration_s = soundfile.info(clip).duration
    if duration_s <= TURBO_CLIP_S:
        raise BadClip(
            f"The voice clip has {duration_s:.1f} s of sound; Chatterbox Turbo needs more than "
            f"{TURBO_CLIP_S:g} s.",
            param="voice_file",
        )
