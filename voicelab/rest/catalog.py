"""Routes that list voices, engines, languages and the configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

import voicelab
from voicelab.audio import FORMATS
from voicelab.engines import Parameter, Transfer
from voicelab.errors import InvalidInput, NotFound
from voicelab.lab import VoiceLab
from voicelab.library import OPENAI_VOICES, default_voice, library_item
from voicelab.rest.json import Json
from voicelab.rest.models import Voices
from voicelab.rest.reports import Config, EngineState, Languages
from voicelab.rest.routing import Router

__all__ = ["router", "transfer_body"]

OBJECT = {"object": "voice"}


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    routes = Router(tags=["catalog"])

    def voices() -> Response:
        """List the profiles as voices, in the shapes of both documented servers."""
        profiles = [
            profile | library_item(profile, lab.library.profiles.samples(profile["id"])) | OBJECT
            for profile in lab.library.profiles.list()
        ]
        return Json(
            {
                "voices": profiles,
                "data": profiles,
                "count": len(profiles),
                "default_voice": default_voice(profiles)["name"],
                "openai_aliases": sorted(OPENAI_VOICES),
            }
        )

    async def config() -> Response:
        """Return the defaults and limits of this server."""
        return Json(_config(lab))

    async def languages() -> Response:
        """List the languages of the default engine."""
        spoken = lab.registry.info().languages
        items = [{"code": code, "name": name} for code, name in spoken.items()]
        kind = "multilingual" if len(items) > 1 else "standard"
        body = {"languages": items, "count": len(items), "engine": lab.registry.default}
        return Json(body | {"model_type": kind})

    def engines() -> Response:
        """List the engines, their parameters, and whether each can be used here."""
        return Json([_engine(lab, name) for name in lab.registry.names])

    @routes.post("/engines/{name}/load", response_model=EngineState, status_code=202)
    def load_engine(name: str) -> Response:
        """Load an engine in the background, fetching its weights when they are not here.

        How far it is stands in the answer and in GET /engines; after a failure this tries again.
        """
        try:
            known = lab.registry.info(name).name
        except InvalidInput as error:
            raise NotFound(error.message, param="name") from error
        lab.scheduler.preload(known)
        return Json(_engine(lab, known), 202)

    table = (
        ("/v1/audio/voices", ("/audio/voices", "/voices", "/v1/voices"), voices, Voices),
        ("/v1/config", (), config, Config),
        ("/languages", ("/v1/languages",), languages, Languages),
        ("/engines", (), engines, list[EngineState]),
    )
    for path, aliases, endpoint, model in table:
        for each in (path, *aliases):
            shown = each == path or each == "/voices"
            routes.add_api_route(each, endpoint, include_in_schema=shown, response_model=model)
    return routes


def _config(lab: VoiceLab) -> dict[str, Any]:
    settings = lab.settings
    info = lab.registry.info()
    return {
        "version": voicelab.__version__,
        "engine": info.name,
        "engine_reason": lab.registry.reason,
        "device": lab.registry.device(),
        "sample_rate": info.sample_rate,
        "max_text": settings.max_text,
        "max_chunk_chars": settings.max_chunk_chars,
        "gap_ms": settings.gap_ms,
        "crossfade_ms": settings.crossfade_ms,
        "response_formats": list(FORMATS),
        "defaults": {p.name: p.default for p in info.parameters},
    }


def _engine(lab: VoiceLab, name: str) -> dict[str, Any]:
    info, presence, state = (
        lab.registry.info(name),
        lab.registry.presence(name),
        lab.registry.state(name),
    )
    return {
        "name": name,
        "label": info.label,
        "description": info.description,
        "default": name == lab.registry.default,
        "installed": presence.installed,
        "weights_present": presence.weights,
        "reason": presence.reason,
        "download_mb": presence.download_mb,
        "state": state.state,
        "error": state.error,
        "transfer": transfer_body(state.transfer),
        "languages": dict(info.languages),
        "sample_rate": info.sample_rate,
        "clones_voices": info.clones_voices,
        "event_tags": sorted(info.event_tags),
        "parameters": [_parameter(parameter) for parameter in info.parameters],
        "source": lab.registry.source(name),
    }


def transfer_body(transfer: Transfer | None) -> dict[str, Any] | None:
    """How far an engine's weights are fetched; None while they are not."""
    if transfer is None:
        return None
    left = transfer.seconds_left
    return {
        "bytes_done": transfer.bytes_done,
        "bytes_total": transfer.bytes_total,
        "bytes_per_second": round(transfer.bytes_per_second),
        "seconds_left": None if left is None else round(left, 1),
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {key: value for key, value in asdict(parameter).items() if key != "accepted"}
