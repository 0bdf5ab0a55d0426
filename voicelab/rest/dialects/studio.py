"""Routes of the voice studio that its page needs in addition to the common ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, File, UploadFile
from pydantic import Field
from starlette.responses import Response

from voicelab.errors import BadClip, InvalidInput, NotFound
from voicelab.lab import VoiceLab
from voicelab.library import Filters, import_audio
from voicelab.rest.json import Json
from voicelab.rest.models import (
    ActiveTasks,
    GenerationSettings,
    ModelStates,
    PresetVoices,
    Profile,
    Sample,
    TakeRecord,
)
from voicelab.rest.openapi import files
from voicelab.rest.routing import resource
from voicelab.rest.schemas import Body
from voicelab.rest.streams import AudioFile
from voicelab.rest.uploads import clip_file

__all__ = ["router"]

DEFAULT_VOICE = "default"
"""The studio's id of the voice that an engine speaks with when it is given no clip."""

HOW_TO_CHANGE: Mapping[str, str] = MappingProxyType(
    {
        "max_chunk_chars": "it is set when the server is started, or by each request",
        "crossfade_ms": "it is set when the server is started, or by each request",
        "normalize_audio": "each request says so with normalize",
        "autoplay_on_generate": "nothing is played by the server, and a page plays what it likes",
    }
)
"""Why a setting cannot be changed here, and what can be done."""


class EffectsBody(Body):
    """PUT /profiles/{id}/effects: effects of new takes; null for none."""

    effects_chain: list[dict[str, Any]] | None = Field(max_length=20)


class SampleBody(Body):
    """PUT /profiles/samples/{sid}: the transcript of the clip."""

    reference_text: str = Field(min_length=1, max_length=2000)


class SettingsBody(Body):
    """PUT /settings/generation, with the studio's ranges."""

    max_chunk_chars: int | None = Field(None, ge=100, le=5000)
    crossfade_ms: int | None = Field(None, ge=0, le=500)
    normalize_audio: bool | None = None
    autoplay_on_generate: bool | None = None


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    return resource("studio", lab, _profiles, _takes, _state)


def _profiles(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/profiles/presets/{engine}", response_model=PresetVoices)
    def preset_voices(engine: str) -> Response:
        """List the voices that an engine has without a clip: one each."""
        try:
            info = lab.registry.info(engine)
        except InvalidInput as error:
            raise NotFound(error.message, param="engine") from error
        own = {"voice_id": DEFAULT_VOICE, "name": info.label, "gender": ""}
        voice = own | {"language": next(iter(info.languages))}
        return Json({"engine": engine, "voices": [voice]})

    @routes.put("/profiles/{id}/effects", response_model=Profile)
    def set_profile_effects(id: str, body: EffectsBody) -> Response:
        """Set the effects of a profile's new takes, or none."""
        profile = lab.library.profiles.update(id, {"effects_chain": body.effects_chain})
        return Json(profile, warnings=body.warnings)

    @routes.put("/profiles/samples/{sid}", response_model=Sample)
    def describe_sample(sid: str, body: SampleBody) -> Response:
        """Set the transcript of a clip."""
        sample = lab.library.profiles.describe_sample(sid, body.reference_text)
        return Json(sample, warnings=body.warnings)

    @routes.get("/samples/{sid}", **files("audio/wav"))
    def sample_audio(sid: str) -> Response:
        """Return the audio of a clip: WAV, 24 kHz, mono."""
        path = lab.library.files.path(lab.library.profiles.sample(sid)["audio_path"])
        headers = {"X-Content-Type-Options": "nosniff"}
        return AudioFile(path, media_type="audio/wav", headers=headers)


def _takes(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.post("/generate/import", response_model=TakeRecord)
    def import_sound(
        file: Annotated[UploadFile, File(description="audio of at most ten minutes")],
    ) -> Response:
        """Import an audio file as a take, for stories."""
        lab.library.files.check_free()
        with clip_file(file) as path:
            if path is None:
                raise BadClip("There is no file in the request.", param="file")
            id = import_audio(
                path,
                file.filename or "",
                store=lab.library.store,
                files=lab.library.files,
                profiles=lab.library.profiles,
                check_quota=lab.library.storage.check_quota,
            )
        return Json(lab.history.get(id))


def _state(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/models/status", response_model=ModelStates)
    def model_status() -> Response:
        """List the engines: which are installed, and which are loaded."""
        return Json({"models": [_model(lab, name) for name in lab.registry.names]})

    @routes.get("/tasks/active", response_model=ActiveTasks)
    def active_tasks() -> Response:
        """List the takes that wait or are being made."""
        live = {snapshot["request_id"]: snapshot for snapshot in lab.status.live()}
        pending = lab.history.each(Filters(status="pending"))
        tasks = [
            _task(take, live[take["request_id"]]) for take in pending if take["request_id"] in live
        ]
        return Json({"downloads": [], "generations": tasks})

    @routes.get("/settings/generation", response_model=GenerationSettings)
    async def generation_settings() -> Response:
        """Return the default settings of takes, which are set when the server starts."""
        return Json(_generation_settings(lab))

    @routes.put("/settings/generation", response_model=GenerationSettings)
    async def set_generation_settings(body: SettingsBody) -> Response:
        """Accept new settings without applying them; warnings name those that differ."""
        settings = _generation_settings(lab)
        return Json(
            settings, warnings=(*body.warnings, *_unchanged_warnings(settings, body.values()))
        )


def _generation_settings(lab: VoiceLab) -> dict[str, Any]:
    return {
        "max_chunk_chars": lab.settings.max_chunk_chars,
        "crossfade_ms": lab.settings.crossfade_ms,
        "normalize_audio": False,
        "autoplay_on_generate": True,
    }


def _unchanged_warnings(settings: Mapping[str, Any], requested: Mapping[str, Any]) -> Iterator[str]:
    """A warning for each setting that was requested to change."""
    for name, value in requested.items():
        if value not in (None, settings[name]):
            shown = orjson.dumps(settings[name]).decode()
            yield f"{name} stays {shown}: {HOW_TO_CHANGE[name]}."


def _model(lab: VoiceLab, name: str) -> dict[str, Any]:
    presence, state = lab.registry.presence(name), lab.registry.state(name)
    return {
        "model_name": name,
        "display_name": lab.registry.info(name).label,
        "hf_repo_id": None,
        "downloaded": presence.installed and presence.weights,
        "downloading": state.state == "initializing",
        "size_mb": None,
        "loaded": state.state == "ready",
    }


def _task(take: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    started = datetime.fromtimestamp(live["start_time"], UTC)
    return {
        "task_id": take["id"],
        "profile_id": take["profile_id"],
        "text_preview": live["text_preview"],
        "started_at": started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
