"""Routes of the Chatterbox TTS API other than status and speech."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from voicelab.lab import VoiceLab
from voicelab.rest.dialects.chatterbox import long_text, memory, voices
from voicelab.rest.routing import Router

__all__ = ["router"]


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab, each under /v1 as well."""
    routes = Router(tags=["chatterbox"])

    def add(method: str, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        for each in (path, f"/v1{path}"):
            routes.add_api_route(
                each,
                endpoint,
                methods=[method],
                include_in_schema=each == path,
                **options,
            )

    memory.add_routes(lab, add)
    voices.add_routes(lab, add)
    long_text.add_routes(lab, add)
    return routes
