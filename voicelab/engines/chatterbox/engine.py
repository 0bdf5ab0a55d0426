"""The engine: one of upstream's models, spoken with by our loops or by its own."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import soundfile

from voicelab.engines.base import (
    EngineInfo,
    LoadProgress,
    More,
    Spoken,
    Utterance,
    Voice,
    nothing_more,
)
from voicelab.engines.chatterbox.checkpoints import MULTILINGUAL_V2, candidates
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS, V2_INFO, Mode
from voicelab.errors import BadClip, EngineUnavailable, VoicelabError

if TYPE_CHECKING:
    from voicelab.engines.chatterbox.fallback import UpstreamSpeech
    from voicelab.engines.chatterbox.pipeline import Pipeline

__all__ = ["ChatterboxEngine"]

log = logging.getLogger(__name__)

NEEDS_LONG_CLIP = ("chatterbox-turbo", "chatterbox-nano")
LONG_CLIP_S = 5.0


class ChatterboxEngine:
    """One model. Several may be made; one computes at a time in the whole process.

    Args:
        name: a key of CHATTERBOX_INFOS.
        device: auto, cpu, cuda or mps.
        checkpoint_dir: folder with the weights; the Hugging Face cache when None.
        threads: of torch on the CPU; the physical cores when None.
        mode: exact, fast or draft; see README.md beside this file.
        kernel: of the matrix products; "auto" is what the self-test finds best, "upstream" is
            upstream's own generate.
        multilingual: version of Multilingual's weights: v3, v2 or auto; see `candidates`.
    """

    # Two torch models on the same cores are slower than one after the other, and upstream's own
    # generate draws from torch's one generator.
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        name: str,
        *,
        device: str = "auto",
        checkpoint_dir: Path | None = None,
        threads: int | None = None,
        mode: Mode = "exact",
        kernel: str = "auto",
        multilingual: str = "auto",
    ):
        self.info: EngineInfo = CHATTERBOX_INFOS[name]
        self.device = "cpu" if device == "auto" else device
        self._wanted_device = device
        self._checkpoint_dir = checkpoint_dir
        self._threads = threads
        self._mode: Mode = mode
        self._wanted_kernel = kernel
        self._version = multilingual
        self._kernel: str | None = None
        self._weights = ""
        self._speech: Pipeline | UpstreamSpeech | None = None

    def versions(self) -> Mapping[str, str]:
        """Of the packages that make the sound, and the mode; once loaded, device and kernel."""
        found: dict[str, str] = {"mode": self._mode}
        if self._kernel is not None:
            found |= {"device": self.device, "kernel": self._kernel, "weights": self._weights}
            if self._kernel == "upstream":
                found["mode"] = "exact"
        return found | _packages()

    def load(self, progress: LoadProgress) -> None:
        """See `Engine.load`; 10-30 s, more when weights are fetched."""
        with self._lock:
            if self._speech is None:
                try:
                    self._load(progress)
                except Exception as error:
                    raise _load_failure(error) from None
                finally:
                    _release_memory()
        progress(1.0, "ready")

    def _load(self, progress: LoadProgress) -> None:
        """The best checkpoint that can be loaded."""
        names = candidates(self.info.name, self._version, self._checkpoint_dir)
        for name in names:
            try:
                self._load_checkpoint(name, progress)
                return
            except EngineUnavailable as error:
                if name == names[-1]:
                    raise
                log.warning("%s is not used: %s", name, error)

    def _load_checkpoint(self, name: str, progress: LoadProgress) -> None:
        # Of the extra chatterbox.
        from voicelab.engines.chatterbox.assembly import build_speaker

        info = V2_INFO if name == MULTILINGUAL_V2 else CHATTERBOX_INFOS[self.info.name]
        self._speech, self.device = build_speaker(
            info,
            name,
            device=self._wanted_device,
            checkpoint_dir=self._checkpoint_dir,
            threads=self._threads,
            mode=self._mode,
            kernel=self._wanted_kernel,
            lock=self._lock,
            progress=progress,
        )
        self._kernel = self._speech.kernel
        self._weights = self._speech.model.t3.weights
        self.info = replace(info, batch_size=self._speech.batch_size)

    def prepare_voice(self, clip: Path | None) -> Voice:
        """The clip's hash; it is encoded when it first speaks."""
        if clip is None:
            return Voice()
        from voicelab.engines.chatterbox.voices import hashed  # of the extra chatterbox

        try:
            key = hashed(clip)
        except OSError as error:
            raise BadClip("The voice clip cannot be read.", param="voice_file") from error
        if self.info.name in NEEDS_LONG_CLIP:
            _check_duration(clip, self.info.label)
        return Voice(key, clip)

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: More = nothing_more,
    ) -> Iterator[Spoken]:
        """See `Engine.speak`."""
        speech = self._speech
        if speech is None:
            raise EngineUnavailable(f"{self.info.label} is not loaded.")
        return speech.speak(utterances, cancelled, more)

    def close(self) -> None:
        """Free the weights, once the step being computed is done."""
        with self._lock:
            if self._speech is None:
                return
            self._speech = None
            _release_memory()
            if self.device == "cuda":
                import torch  # of the extra chatterbox

                torch.cuda.empty_cache()


def _release_memory() -> None:
    """Freed memory to the system: glibc keeps what was given in pieces, half a gigabyte here."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _load_failure(error: Exception) -> Exception:
    """What `load` raises; it holds nothing of the model that was being built."""
    _forget_frames(error)
    if isinstance(error, VoicelabError):
        return error
    log.warning("a model cannot be loaded", exc_info=error)
    if isinstance(error, ImportError):
        return EngineUnavailable(f"chatterbox-tts is not installed or incomplete ({error.name}).")
    from voicelab.engines.chatterbox.waveform import (  # of the extra chatterbox
        is_out_of_memory,
    )

    if is_out_of_memory(error):
        return EngineUnavailable("there is not enough memory for its weights.")
    return EngineUnavailable(f"it cannot be prepared ({type(error).__name__}).")


def _forget_frames(error: BaseException | None) -> None:
    """Empty the frames of an error and of what led to it: they hold tensors by the gigabyte."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _check_duration(clip: Path, label: str) -> None:
    try:
        duration_s = soundfile.info(clip).duration
    except soundfile.SoundFileError as error:
        raise BadClip("The voice clip is not a WAV file.", param="voice_file") from error
    if duration_s <= LONG_CLIP_S:
        raise BadClip(
            f"The voice clip has {duration_s:.1f} s of sound; {label} needs more than "
            f"{LONG_CLIP_S:g} s.",
            param="voice_file",
        )


@functools.cache
def _packages() -> dict[str, str]:
    """Versions of what makes the sound; asked for at each chunk, so the metadata are read once."""
    found: dict[str, str] = {}
    for package in ("chatterbox-tts", "torch", "transformers"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
