"""eSpeak NG, shipped inside a wheel: real speech with nothing downloaded; the embedded default."""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from voicelab.engines.base import (
    EngineInfo,
    LoadProgress,
    More,
    Parameter,
    Plugin,
    Spoken,
    Utterance,
    Voice,
    nothing_more,
)
from voicelab.errors import BadClip, EngineUnavailable, SpeechFailed

__all__ = ["INFO", "PLUGIN", "EspeakEngine"]

LANGUAGES = {
    "en": "English",
    "en-us": "English (America)",
    "af": "Afrikaans",
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "ca": "Catalan",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "eo": "Esperanto",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ka": "Georgian",
    "ko": "Korean",
    "la": "Latin",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mk": "Macedonian",
    "ms": "Malay",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "pt-br": "Portuguese (Brazil)",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sq": "Albanian",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}

INFO = EngineInfo(
    name="espeak",
    label="eSpeak NG",
    sample_rate=22_050,
    languages=LANGUAGES,
    parameters=(
        Parameter("rate_wpm", "Rate (words per minute)", 165, 80, 450, 1, "Words per minute."),
        Parameter("pitch", "Pitch", 50, 0, 99, 1, "0 is lowest, 99 highest."),
        Parameter("pitch_range", "Intonation", 50, 0, 99, 1, "0 is monotone, 99 lively."),
    ),
    max_chunk_chars=1000,
    random=False,
    description="Formant synthesis in 50 languages: instant, small, no weights; robotic.",
)

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
RATE, PITCH, RANGE = 1, 3, 4
BUFFER_MS = 200

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@functools.cache
def _process_lock() -> threading.Lock:
    # The C library keeps its state in statics of the process, whoever uses it.
    return threading.Lock()


class _Library:
    """libespeak-ng, loaded for one utterance and unloaded after it.

    It carries flutter and wave phase over from call to call, which no function of it resets;
    fresh statics make the same text the same samples. Loading takes 2 ms.
    """

    def __enter__(self) -> _Library:
        try:
            self._dll = ctypes.CDLL(espeakng_loader.get_library_path())
            folder = str(Path(espeakng_loader.get_data_path()).parent).encode()
            rate = self._dll.espeak_Initialize(
                AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, folder, INITIALIZE_DONT_EXIT
            )
        except (OSError, RuntimeError) as error:
            raise EngineUnavailable(f"eSpeak NG cannot be loaded: {error}.") from error
        if rate != INFO.sample_rate:
            raise EngineUnavailable(f"eSpeak NG did not start (it answered {rate}).")
        return self

    def __exit__(self, *_: object) -> None:
        self._dll.espeak_Terminate()
        handle = self._dll._handle
        del self._dll
        unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # pyright: ignore
        unload(handle)

    def speak(
        self, utterance: Utterance, cancelled: Callable[[], bool]
    ) -> NDArray[np.int16] | None:
        """int16 (n,), or None when it was cancelled."""
        pieces: list[NDArray[np.int16]] = []

        def receive(wave: Any, count: int, _events: int | None) -> int:
            if wave and count > 0:
                pieces.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
            return int(cancelled())

        callback = _Callback(receive)
        self._dll.espeak_SetSynthCallback(callback)
        self._dll.espeak_ng_SetRandSeed(ctypes.c_long(1))
        if self._dll.espeak_SetVoiceByName(utterance.language.encode()):
            raise SpeechFailed(f"eSpeak NG has no voice for '{utterance.language}'.")
        for name, number in (("rate_wpm", RATE), ("pitch", PITCH), ("pitch_range", RANGE)):
            self._dll.espeak_SetParameter(number, round(utterance.parameters[name]), 0)
        content = utterance.text.encode() + b"\0"
        failed = self._dll.espeak_Synth(content, len(content), 0, 1, 0, CHARS_UTF8, None, None)
        if cancelled():
            return None
        if failed:
            raise SpeechFailed(f"eSpeak NG failed with code {failed}.")
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


class EspeakEngine:
    """See the module. The seed changes nothing."""

    info = INFO
    device = "cpu"

    def __init__(self) -> None:
        # Asked for at each chunk; the wheel's metadata are a walk over the whole path.
        self._versions = {"espeakng-loader": version("espeakng-loader")}

    def versions(self) -> Mapping[str, str]:
        """Of the wheel that carries the library."""
        return self._versions

    def load(self, progress: LoadProgress) -> None:
        """Milliseconds."""
        with _process_lock(), _Library():
            progress(1.0, "ready")

    def prepare_voice(self, clip: Path | None) -> Voice:
        """Only its own voice."""
        if clip is not None:
            raise BadClip(
                "eSpeak NG cannot imitate a voice clip; choose a Chatterbox engine for that.",
                param="voice_file",
            )
        return Voice()

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: More = nothing_more,
    ) -> Iterator[Spoken]:
        """See `Engine.speak`; walks the batch."""
        for index, utterance in enumerate(utterances):
            with _process_lock(), _Library() as library:
                pcm = library.speak(utterance, functools.partial(cancelled, index))
            if pcm is not None:
                yield Spoken(index, pcm.astype(np.float32) / np.float32(32768))

    def close(self) -> None:
        """Nothing is kept between utterances."""


PLUGIN = Plugin((INFO,), lambda name, settings: EspeakEngine())
