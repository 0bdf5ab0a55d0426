"""Routes for the versions of a take, effects and presets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from voicelab.audio import EFFECTS, wav_bytes
from voicelab.lab import VoiceLab
from voicelab.rest.json import Json
from voicelab.rest.models import Effects, Message, Preset, Version
from voicelab.rest.openapi import files
from voicelab.rest.routing import resource
from voicelab.rest.schemas import PlainBody
from voicelab.rest.security.exposure import owner_only

__all__ = ["router"]

Chain = Annotated[
    list[dict[str, Any]],
    Field(max_length=20, description="[{type, enabled, params}], applied in order"),
]


class ApplyBody(PlainBody):
    """POST /generations/{id}/versions/apply-effects."""

    effects_chain: Chain
    source_version_id: str | None = Field(
        None, max_length=100, description="what to process; the clean take if null"
    )
    label: str | None = Field(None, min_length=1, max_length=200)
    set_as_default: bool = True


class PreviewBody(PlainBody):
    """POST /effects/preview/{id}."""

    effects_chain: Chain
    source_version_id: str | None = Field(None, max_length=100)


class PresetBody(PlainBody):
    """POST and PUT /effects/presets."""

    name: str = Field(min_length=1, max_length=100)
    description: str = Field("", max_length=500)
    effects_chain: Chain


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    return resource("versions", lab, _versions, _effects, _presets)


def _versions(routes: APIRouter, lab: VoiceLab) -> None:
    owner = owner_only(lab.settings)

    @routes.get("/generations/{id}/versions", response_model=list[Version])
    def list_versions(id: str) -> Response:
        """List the versions of a take, oldest first."""
        return Json(lab.history.get(id)["versions"])

    @routes.post("/generations/{id}/versions/apply-effects", response_model=Version)
    def apply_effects(id: str, body: ApplyBody) -> Response:
        """Apply effects to a take and keep the result as a new version."""
        version = lab.library.versions.apply(
            id,
            body.effects_chain,
            source_version_id=body.source_version_id,
            label=body.label,
            set_as_default=body.set_as_default,
        )
        return Json(version)

    @routes.put("/generations/{id}/versions/{vid}/set-default", response_model=Version)
    def set_default_version(id: str, vid: str) -> Response:
        """Make a version the default one of its take."""
        return Json(lab.library.versions.set_default(id, vid))

    @routes.delete("/generations/{id}/versions/{vid}", response_model=Message, dependencies=owner)
    def delete_version(id: str, vid: str) -> Response:
        """Delete a version; if it was the default, the oldest one becomes the default."""
        lab.library.versions.delete(id, vid)
        return Json({"message": "Version deleted successfully"})


def _effects(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/effects/available", response_model=Effects)
    async def available_effects() -> Response:
        """List the types of effects with their parameters, ranges and defaults."""
        return Json({"effects": [asdict(effect) for effect in EFFECTS.values()]})

    @routes.post("/effects/preview/{id}", **files("audio/wav"))
    def preview_effects(id: str, body: PreviewBody) -> Response:
        """Apply effects to a take and return the WAV without keeping it."""
        pcm, rate = lab.library.versions.preview(id, body.effects_chain, body.source_version_id)
        return Response(wav_bytes(pcm, rate), media_type="audio/wav")


def _presets(routes: APIRouter, lab: VoiceLab) -> None:
    owner = owner_only(lab.settings)

    @routes.get("/effects/presets", response_model=list[Preset])
    def list_presets() -> Response:
        """List the effect presets, the built-in ones first."""
        return Json(lab.library.presets.list())

    @routes.post("/effects/presets", response_model=Preset)
    def create_preset(body: PresetBody) -> Response:
        """Create an effect preset."""
        return Json(lab.library.presets.create(**body.model_dump()))

    @routes.put("/effects/presets/{pid}", response_model=Preset)
    def update_preset(pid: str, body: PresetBody) -> Response:
        """Change an effect preset; built-in ones are read-only."""
        return Json(lab.library.presets.update(pid, **body.model_dump()))

    @routes.delete("/effects/presets/{pid}", response_model=Message, dependencies=owner)
    def delete_preset(pid: str) -> Response:
        """Delete an effect preset; built-in ones are read-only."""
        lab.library.presets.delete(pid)
        return Json({"message": "Preset deleted successfully"})
