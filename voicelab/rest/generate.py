"""POST /generate: a pending record at once, the take in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from voicelab.errors import Conflict
from voicelab.lab import VoiceLab
from voicelab.rest.json import Json
from voicelab.rest.schemas import GenerateBody

__all__ = ["router"]

POLL_S = 0.5


def router(lab: VoiceLab) -> APIRouter:
    """The routes over a lab."""
    routes = APIRouter(tags=["generate"])

    @routes.post("/generate", response_model=None)
    def generate(body: GenerateBody) -> Response:
        """Start a take; its pending record."""
        return Json(lab.submit(body.request()))

    @routes.get("/generate/{id}/status", response_model=None)
    async def generation_status(id: str, request: Request) -> Response:
        """Server-sent events with the record's status until it is completed or failed."""
        lab.history.get(id)
        return StreamingResponse(_events(lab, id, request), media_type="text/event-stream")

    @routes.post("/generate/{id}/cancel", response_model=None)
    def cancel_generation(id: str) -> Response:
        """Stop a take that is being made; 409 when it is finished."""
        live = _request_id(lab, id)
        if live is None:
            lab.history.get(id)
            raise Conflict("This take is not being made.")
        lab.cancel(live)
        return Json({"message": "Generation is being cancelled.", "id": id})

    return routes


def _request_id(lab: VoiceLab, id: str) -> str | None:
    record = lab.history.get(id)
    return record["request_id"] if record["status"] == "pending" else None


async def _events(lab: VoiceLab, id: str, request: Request) -> AsyncIterator[bytes]:
    while not await request.is_disconnected():
        version = lab.status.version
        record = lab.history.get(id)
        keys = ("id", "status", "duration", "error")
        yield b"data: " + orjson.dumps({key: record[key] for key in keys}) + b"\n\n"
        if record["status"] != "pending":
            return
        while lab.status.version == version and not await request.is_disconnected():
            await to_thread.run_sync(lab.status.wait, version, POLL_S, abandon_on_cancel=True)
