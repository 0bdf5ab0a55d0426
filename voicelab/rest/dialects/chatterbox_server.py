"""The Chatterbox TTS Server's /tts and lists of voices, as used by SillyTavern."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from pydantic import Field
from starlette.responses import Response

from voicelab.engines import CHATTERBOX_INFOS
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import schemas
from voicelab.rest.background import Background
from voicelab.rest.dialects.chatterbox.models import PredefinedVoice
from voicelab.rest.dialects.openai import generation_request
from voicelab.rest.json import Json
from voicelab.rest.openapi import SPEECH_RESPONSE
from voicelab.rest.parameters import with_parameters
from voicelab.rest.routing import Router
from voicelab.rest.schemas import SpeechBody
from voicelab.rest.speech import Answers, validated

__all__ = ["router"]

MAX_CHUNK_CHARS = 1000
"""Longest chunk in characters, used for texts that should not be split."""


class TtsBody(schemas.Body):
    """POST /tts of the Chatterbox TTS Server, with that server's ranges."""

    text: str
    voice_mode: Literal["predefined", "clone"] = "predefined"
    predefined_voice_id: str | None = Field(None, max_length=200)
    reference_audio_filename: str | None = Field(None, max_length=200)
    output_format: Literal["wav", "opus", "mp3"] = "wav"
    split_text: bool = True
    chunk_size: int = Field(120, ge=50, le=500)
    temperature: float | None = Field(None, ge=0, le=1.5)
    exaggeration: float | None = Field(None, ge=0, le=3)
    cfg_weight: float | None = Field(None, ge=0, le=1)
    seed: schemas.Seed = None
    speed_factor: float = Field(1.0, ge=0.25, le=4)
    language: str | None = Field(None, max_length=20)

    def request(self) -> GenerationRequest:
        """The body as a GenerationRequest; values out of its ranges are limited, with a warning."""
        warnings = list(self.warnings)

        def limit(name: str, value: float, low: float, high: float) -> float:
            limited = min(max(value, low), high)
            if limited != value:
                warnings.append(f"{name} is {value:g}; {limited:g} is the nearest there is.")
            return limited

        parameters = {
            each.name: limit(each.name, value, each.minimum, each.maximum)
            for each in CHATTERBOX_INFOS["chatterbox"].parameters
            if (value := getattr(self, each.name, None)) is not None
        }
        size = int(limit("chunk_size", self.chunk_size, 100, MAX_CHUNK_CHARS))
        if not self.split_text:
            size = MAX_CHUNK_CHARS
            if len(self.text) > size:
                warnings.append(f"split_text is false; over {size} characters it is split.")
        return GenerationRequest(
            text=self.text,
            voice=self._voice(),
            language=self.language,
            seed=self.seed or None,  # 0 draws one there
            speed=self.speed_factor,
            max_chunk_chars=size,
            parameters=parameters,
            source="rest",
            warnings=tuple(warnings),
        )

    def _voice(self) -> str | None:
        cloned = self.voice_mode == "clone"
        return self.reference_audio_filename if cloned else self.predefined_voice_id


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    routes = Router(tags=["chatterbox"])
    background = Background(lab.settings)
    answers = Answers(lab, background)
    model = with_parameters(SpeechBody, lab.registry)

    @routes.post("/tts", **SPEECH_RESPONSE)
    async def tts(body: Annotated[dict[str, Any], Body()], request: Request) -> Response:
        """Speak a text: that server's body (text), or the body of /v1/audio/speech (input)."""
        if "text" not in body or "input" in body:
            speech = validated(model, body)
            take = await background.run(lambda: lab.stream(generation_request(lab, speech)))
            return await answers.speech(take, speech, request)
        given = validated(TtsBody, body)
        take = await background.run(lambda: lab.stream(_with_profile_name(lab, given.request())))
        return await answers.sound(take, given.output_format, request)

    @routes.get("/get_predefined_voices", response_model=list[PredefinedVoice])
    def get_predefined_voices() -> Response:
        """List the profiles as predefined voices."""
        profiles = lab.library.profiles.list()
        return Json(
            [
                {"display_name": each["name"], "filename": each["name"], "voice_id": each["name"]}
                | {"language": each["language"]}
                for each in profiles
            ]
        )

    @routes.get("/get_reference_files", response_model=list[str])
    def get_reference_files() -> Response:
        """List the profiles that have clips, as file names."""
        profiles = lab.library.profiles.list()
        return Json([f"{each['name']}.wav" for each in profiles if each["sample_count"]])

    return routes


def _with_profile_name(lab: VoiceLab, request: GenerationRequest) -> GenerationRequest:
    """The request with the voice's file suffix removed, unless a profile has that name."""
    name = request.voice
    if name and PurePath(name).suffix.lower() in (".wav", ".mp3"):
        known = lab.library.profiles.names().values()
        return request if name in known else replace(request, voice=PurePath(name).stem)
    return request
