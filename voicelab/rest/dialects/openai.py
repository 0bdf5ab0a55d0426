"""OpenAI's list of models, and the conversion of its speech body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from voicelab.errors import NoText, NotFound
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest.json import Json
from voicelab.rest.reports import Model, Models
from voicelab.rest.routing import Router
from voicelab.rest.schemas import SpeechBody

__all__ = ["engine_of", "generation_request", "router"]

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        **{"a": "en-us", "b": "en-gb", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja"},
        **{"p": "pt-br", "z": "zh"},
    }
)
"""Kokoro's letters, as Kokoro-FastAPI's clients send them in `lang_code`."""


def generation_request(
    lab: VoiceLab, body: SpeechBody, clip: Path | None = None
) -> GenerationRequest:
    """The GenerationRequest of a speech body.

    Args:
        lab: whose engines and profiles are used.
        body: of POST /v1/audio/speech.
        clip: the voice clip that was uploaded with it, if any.

    Raises:
        NoText: the input is empty, and the body names a model, as OpenAI's clients do.
        UnknownVoice: only with a `volume_multiplier`; else `VoiceLab.stream` raises it.
    """
    # Clients of OpenAI always send a model and expect 400; other clients expect 422.
    if body.model and not body.input.strip():
        raise NoText("The input is empty.", param="input")
    request = body.request(clip)
    engine, warnings = engine_of(lab, body.model)
    if body.engine:
        engine, warnings = body.engine, ()
    code = (body.lang_code or "").strip().lower()
    return replace(
        request,
        engine=engine,
        warnings=(*request.warnings, *warnings),
        language=request.language or LANGUAGES.get(code, code) or None,
        effects_chain=_with_gain(lab, request, body.volume_multiplier),
    )


def engine_of(lab: VoiceLab, model: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The engine that a model name means, and a warning when it means none."""
    if not model:
        return None, ()
    name = model.strip().casefold().replace("_", "-")
    if name in lab.registry.names:
        return name, ()
    return None, (f"There is no engine '{model[:60]}': model is ignored.",)


def _with_gain(lab: VoiceLab, request: GenerationRequest, factor: float) -> Any:
    """The effects of the request with a gain at their end."""
    if factor == 1.0:
        return request.effects_chain
    chain = request.effects_chain
    if chain is None:
        chain = lab.library.profiles.resolve(request.voice)["effects_chain"] or ()
    gain_db = round(20 * math.log10(factor), 6)
    return [*chain, {"type": "gain", "params": {"gain_db": gain_db}}]


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    routes = Router(tags=["openai"])

    async def models() -> Response:
        """List the engines as models: `data` for OpenAI's clients, `models` for Open WebUI."""
        items = [_model(lab, name) for name in lab.registry.names]
        return Json({"object": "list", "data": items, "models": items})

    async def model(id: str) -> Response:
        """Return an engine as a model."""
        engine, _ = engine_of(lab, id)
        if engine is None:
            known = ", ".join(lab.registry.names)
            raise NotFound(f"There is no model '{id[:60]}'; there are {known}.", param="model")
        return Json(_model(lab, engine))

    for path in ("/v1/models", "/models", "/v1/audio/models", "/audio/models"):
        shown = path == "/v1/models"
        routes.add_api_route(path, models, include_in_schema=shown, response_model=Models)
    for path in ("/v1/models/{id}", "/models/{id}"):
        shown = path.startswith("/v1/")
        routes.add_api_route(path, model, include_in_schema=shown, response_model=Model)
    return routes


def _model(lab: VoiceLab, name: str) -> dict[str, Any]:
    label = lab.registry.info(name).label
    return {"id": name, "object": "model", "created": 0, "owned_by": "voicelab", "name": label}
