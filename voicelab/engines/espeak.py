"""eSpeak NG, shipped inside a wheel: real speech with nothing downloaded; the embedded default."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

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
    own_voice,
)
from voicelab.engines.espeak_library import SAMPLE_RATE, EspeakLibrary

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

VOICES = {"zh": "cmn"}
"""Language -> name of the library's voice, where it is another."""

INFO = EngineInfo(
    name="espeak",
    label="eSpeak NG",
    sample_rate=SAMPLE_RATE,
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
        with EspeakLibrary():
            progress(1.0, "ready")

    def prepare_voice(self, clip: Path | None) -> Voice:
        """Only its own voice."""
        return own_voice("eSpeak NG", clip)

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: More = nothing_more,
    ) -> Iterator[Spoken]:
        """See `Engine.speak`; walks the batch."""
        for index, utterance in enumerate(utterances):
            with EspeakLibrary() as library:
                library.choose_voice(VOICES.get(utterance.language, utterance.language))
                pcm = library.speak(
                    utterance.text, utterance.parameters, functools.partial(cancelled, index)
                )
            if pcm is not None:
                yield Spoken(index, pcm.astype(np.float32) / np.float32(32768))

    def close(self) -> None:
        """Nothing is kept between utterances."""


PLUGIN = Plugin((INFO,), lambda name, settings: EspeakEngine())
