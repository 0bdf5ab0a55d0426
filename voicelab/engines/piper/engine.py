"""The engine of one Piper voice, computed by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicelab.engines.base import (
    EngineInfo,
    LoadProgress,
    More,
    Spoken,
    Utterance,
    Voice,
    nothing_more,
    own_voice,
)
from voicelab.engines.piper.phonemes import phoneme_ids
from voicelab.engines.piper.voice_files import VoiceFile
from voicelab.errors import EngineUnavailable, SpeechFailed

__all__ = ["PiperEngine"]

INPUTS = {"input", "input_lengths", "scales"}
NOISE = 0.0
"""Of the waveform and of the durations: without it the same text gives the same samples."""

PACKAGES = ("onnxruntime", "espeakng-loader")


class PiperEngine:
    """See the module. The seed changes nothing.

    Args:
        info: its declaration.
        voice: the file that is read by `load`.
        threads: of the CPU; onnxruntime's own choice when None.
    """

    device = "cpu"

    def __init__(self, info: EngineInfo, voice: VoiceFile, threads: int | None = None):
        self.info = info
        self._voice = voice
        self._threads = threads
        self._session: Any = None
        self._versions = {"voice": voice.model.stem}

    def versions(self) -> Mapping[str, str]:
        """Of the voice's file, of onnxruntime and of eSpeak NG."""
        return self._versions

    def load(self, progress: LoadProgress) -> None:
        """Under a second; the file is read and checked.

        Raises:
            EngineUnavailable: onnxruntime is not installed, or the file is no Piper voice.
        """
        if self._session is not None:
            return
        progress(0.0, f"Loading {self._voice.model.stem}")
        self._session = self._open()
        self._versions |= {name: version(name) for name in PACKAGES}
        progress(1.0, "ready")

    def _open(self) -> Any:
        try:
            import onnxruntime  # of the extra piper
        except ImportError as error:
            raise EngineUnavailable(
                "onnxruntime is not installed: install the extra 'piper'."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or 0
        options.log_severity_level = 4  # what is wrong is in the exception
        name = self._voice.model.name
        try:
            session = onnxruntime.InferenceSession(
                str(self._voice.model), options, providers=["CPUExecutionProvider"]
            )
        except MemoryError as error:
            raise EngineUnavailable(f"There is not enough memory for {name}.") from error
        except Exception as error:  # onnxruntime has a class for each kind of fault
            raise EngineUnavailable(f"{name} is no ONNX model that can be read.") from error
        inputs = {each.name for each in session.get_inputs()}
        speakers = {"sid"} if self._voice.config.num_speakers > 1 else set()
        if inputs != INPUTS | speakers:
            raise EngineUnavailable(f"{name} is no Piper voice: it takes {', '.join(inputs)[:80]}.")
        return session

    def prepare_voice(self, clip: Path | None) -> Voice:
        """Only the file's own voice."""
        return own_voice("Piper", clip)

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: More = nothing_more,
    ) -> Iterator[Spoken]:
        """See `Engine.speak`; walks the batch, so that no sentence changes another."""
        for index, utterance in enumerate(utterances):
            if cancelled(index):
                continue
            try:
                audio = self._audio(utterance)
            except SpeechFailed as error:
                yield Spoken(index, failure=error)
                continue
            if not cancelled(index):
                yield Spoken(index, audio)

    def _audio(self, utterance: Utterance) -> NDArray[np.float32]:
        ids = phoneme_ids(utterance.text, self._voice)
        if not ids:
            raise SpeechFailed("there are no phonemes for this text.")
        values = utterance.parameters
        scale = self._voice.config.inference.length_scale * values["length_scale"]
        given: dict[str, NDArray[Any]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([NOISE, scale, NOISE], np.float32),
        }
        if "speaker" in values:
            given["sid"] = np.array([round(values["speaker"])], np.int64)
        try:
            (audio,) = self._session.run(None, given)
        except Exception as error:  # as above: a class for each kind of fault
            raise SpeechFailed("the model cannot compute it.") from error
        samples = np.asarray(audio, np.float32).reshape(-1)
        if not np.isfinite(samples).all():
            raise SpeechFailed("the model gave samples that are not finite numbers.")
        return np.clip(samples, -1.0, 1.0)

    def close(self) -> None:
        """Free the model; `load` may follow."""
        self._session = None
