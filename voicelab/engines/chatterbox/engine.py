"""The engine: upstream's own generate, chunk by chunk, with its traps closed."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voicelab.engines.base import EngineInfo, LoadProgress, Spoken, Utterance, Voice
from voicelab.engines.chatterbox.decoding import watched
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.quiet import quiet
from voicelab.engines.chatterbox.upstream import load_model
from voicelab.engines.chatterbox.voices import Conditionals, own_copy
from voicelab.errors import BadClip, Cancelled, EngineUnavailable, SpeechFailed

__all__ = ["ChatterboxEngine"]

log = logging.getLogger(__name__)

TURBO_CLIP_S = 5.0
NO_CFG_WEIGHT = 1e-300
"""Upstream fails at 0, where it leaves out the row it still reads; this is over 0, and 0 in
float32."""


class ChatterboxEngine:
    """One model; one utterance at a time in the whole process.

    Args:
        name: a key of CHATTERBOX_INFOS.
        device: auto, cpu, cuda or mps.
        checkpoint_dir: folder with the weights; the Hugging Face cache when None.
        threads: of torch on the CPU; the physical cores when None.
    """

    # Upstream draws from torch's one generator: an engine beside this one would disturb it.
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        name: str,
        *,
        device: str = "auto",
        checkpoint_dir: Path | None = None,
        threads: int | None = None,
    ):
        self.info: EngineInfo = CHATTERBOX_INFOS[name]
        self.device = "cpu" if device == "auto" else device
        self._wanted_device = device
        self._checkpoint_dir = checkpoint_dir
        self._threads = threads
        self._model: Any = None
        self._built_in: Any = None
        self._conditionals = Conditionals()

    def versions(self) -> Mapping[str, str]:
        """Of the packages that make the sound, and the device."""
        found = {"device": self.device}
        for package in ("chatterbox-tts", "torch", "transformers"):
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
        try:
            key = _hash(clip)
        except OSError as error:
            raise BadClip("The voice clip cannot be read.", param="voice_file") from error
        if self.info.name == "chatterbox-turbo":
            _check_duration(clip)
        return Voice(key, clip)

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
        """Free the weights, once the utterance being spoken is done."""
        with self._lock:
            if self._model is None:
                return
            self._model = self._built_in = None
            self._conditionals.clear()
            gc.collect()
            if self.device == "cuda":
                import torch

                torch.cuda.empty_cache()

    def _speak(self, index: int, utterance: Utterance, cancelled: Callable[[int], bool]) -> Spoken:
        import torch

        def poll(*_: Any) -> None:
            if cancelled(index):
                raise Cancelled

        poll()
        # inference_mode belongs to the thread that runs the model; elsewhere memory grows.
        with torch.inference_mode(), watched(self._model, poll) as decoding:
            try:
                self._model.conds = own_copy(self._encoded(utterance.voice))
                torch.manual_seed(utterance.seed)
                wave = self._model.generate(utterance.text, **self._arguments(utterance))
            except (Cancelled, SpeechFailed):
                raise
            except Exception as error:
                log.warning("upstream failed on %d characters", len(utterance.text), exc_info=True)
                raise SpeechFailed(_reason(error)) from error
            finally:
                self._model.conds = self._built_in
        audio: NDArray[np.float32] = wave.squeeze(0).to(torch.float32).cpu().numpy()
        if not audio.size:
            raise SpeechFailed("it came out empty.")
        if not np.isfinite(audio).all():
            raise SpeechFailed("the samples are not finite numbers.")
        return Spoken(index, audio, capped=decoding.capped)

    def _arguments(self, utterance: Utterance) -> dict[str, Any]:
        arguments: dict[str, Any] = dict(utterance.parameters)
        if "cfg_weight" in arguments:
            arguments["cfg_weight"] = max(NO_CFG_WEIGHT, arguments["cfg_weight"])
        if "top_k" in arguments:
            arguments["top_k"] = int(arguments["top_k"])
        if self.info.name == "chatterbox-multilingual":
            arguments["language_id"] = utterance.language
        return arguments

    def _encoded(self, voice: Voice) -> Any:
        if voice.data is not None:
            return self._conditionals.get(voice.key, lambda: self._encode(voice))
        if self._built_in is None:
            raise SpeechFailed("this checkpoint has no voice of its own: give a voice clip.")
        return self._built_in

    def _encode(self, voice: Voice) -> Any:
        try:
            unchanged = _hash(voice.data) == voice.key
            with quiet():
                self._model.prepare_conditionals(str(voice.data))
        except Exception as error:
            log.warning("a voice clip cannot be encoded", exc_info=True)
            raise SpeechFailed("the voice clip cannot be encoded.") from error
        if not unchanged:  # it would be kept under the hash of what it was
            raise SpeechFailed("the voice clip was changed while it waited.")
        return self._model.conds


def _reason(error: Exception) -> str:
    """A sentence; upstream's own words are for its authors."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "there is not enough memory."
    if "probability tensor" in str(error):
        return "the model's probabilities are not finite numbers."
    return f"the model failed ({type(error).__name__})."


def _hash(clip: Path) -> str:
    return hashlib.sha256(clip.read_bytes()).hexdigest()


def _check_duration(clip: Path) -> None:
    import soundfile

    try:
        duration_s = soundfile.info(clip).duration
    except soundfile.SoundFileError as error:
        raise BadClip("The voice clip is not a WAV file.", param="voice_file") from error
    if duration_s <= TURBO_CLIP_S:
        raise BadClip(
            f"The voice clip has {duration_s:.1f} s of sound; Chatterbox Turbo needs more than "
            f"{TURBO_CLIP_S:g} s.",
            param="voice_file",
        )
