"""A Piper voice on the disk: a .onnx file, and a .onnx.json that describes it.

The format is that of github.com/OHF-Voice/piper1-gpl, read with what the voices of
huggingface.co/rhasspy/piper-voices hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voicelab.errors import EngineUnavailable
from voicelab.text import clean_name

__all__ = ["BOS", "EOS", "PAD", "VoiceFile", "voice_files"]

PAD, BOS, EOS = "_", "^", "$"
"""Symbols of each phoneme map: between all phonemes, at the start, at the end."""

MAX_JSON_BYTES = 1 << 20
CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")

Ids = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=1, max_length=8)]


class _Audio(BaseModel):
    sample_rate: int = Field(ge=8000, le=192_000)


class _Espeak(BaseModel):
    voice: str = Field(default="", max_length=60)


class _Language(BaseModel):
    code: str = Field(default="", max_length=35)
    name_english: str = Field(default="", max_length=60)
    country_english: str = Field(default="", max_length=60)


class _Inference(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    length_scale: float = Field(default=1.0, ge=0.1, le=10)


class Config(BaseModel):
    """The fields of a voice's .onnx.json that are used; others may stand beside them."""

    audio: _Audio
    espeak: _Espeak = _Espeak()
    language: _Language = _Language()
    inference: _Inference = _Inference()
    phoneme_type: Literal["espeak", "text"] = "espeak"
    phoneme_id_map: dict[str, Ids] = Field(min_length=4, max_length=10_000)
    num_speakers: int = Field(default=1, ge=1, le=10_000)


@dataclass(frozen=True)
class VoiceFile:
    """One voice.

    Attributes:
        model: its .onnx file.
        config: what its .onnx.json holds.
    """

    model: Path
    config: Config

    @classmethod
    def read(cls, model: Path) -> VoiceFile:
        """The voice of a .onnx file, which is not opened.

        Raises:
            EngineUnavailable: there is no .onnx.json beside it, or it does not describe a voice.
        """
        path = model.with_name(f"{model.name}.json")
        try:
            if not path.is_file():  # a pipe would be waited for
                raise FileNotFoundError
            if path.stat().st_size > MAX_JSON_BYTES:
                raise EngineUnavailable(f"{path.name} is too large for a Piper voice's.")
            config = Config.model_validate_json(path.read_bytes())
        except OSError as error:
            raise EngineUnavailable(f"{model.name} has no {path.name} beside it.") from error
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))[:60]
            detail = f"{where}: {first['msg']}" if where else first["msg"]
            raise EngineUnavailable(
                f"{path.name} does not describe a Piper voice ({detail[:120]})."
            ) from error
        missing = [symbol for symbol in (PAD, BOS, EOS) if symbol not in config.phoneme_id_map]
        if missing:
            raise EngineUnavailable(f"{path.name} has no phoneme '{missing[0]}'.")
        return cls(model, config)

    @property
    def language(self) -> str:
        """BCP 47 in small letters, e.g. "en-us"; of eSpeak's voice when the file names none."""
        code = (self.config.language.code or self.config.espeak.voice).lower().replace("_", "-")
        return code if CODE.fullmatch(code) else "en"

    @property
    def language_name(self) -> str:
        """In English, e.g. "English (United States)"."""
        language = self.config.language
        name = clean_name(language.name_english, self.language)
        country = clean_name(language.country_english, "")
        return f"{name} ({country})" if country else name

    @property
    def espeak_voice(self) -> str:
        """The voice of eSpeak NG that gives its phonemes."""
        return self.config.espeak.voice or self.language


def voice_files(folder: Path) -> Iterator[Path]:
    """The .onnx files of a folder and of those in it, by name.

    Raises:
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    yield from sorted(path for path in folder.rglob("*.onnx") if path.is_file())
