"""Routes that make takes in the background and return the record at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body
from fastapi import Path as PathParameter
from starlette.responses import Response, StreamingResponse

from voicelab.errors import Conflict, NotFound
from voicelab.generation import Take
from voicelab.lab import VoiceLab
from voicelab.rest.json import Json
from voicelab.rest.listeners import HEARTBEAT, Listeners
from voicelab.rest.models import Message, TakeRecord
from voicelab.rest.openapi import files
from voicelab.rest.parameters import taking, with_parameters
from voicelab.rest.routing import Router
from voicelab.rest.schemas import GenerateBody, SeedBody

__all__ = ["router"]

POLL_S = 0.5
"""Seconds between two reads of the record of a take that another replica makes."""


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    routes = Router(tags=["generate"])
    listeners = Listeners(lab.status)

    def generate(body: GenerateBody) -> Response:
        """Start a take in the background and return its pending record."""
        record = lab.submit(body.request())
        return Json(record, warnings=record["warnings"])

    body = with_parameters(GenerateBody, lab.registry)
    routes.post("/generate", response_model=TakeRecord)(taking(body, generate))

    @routes.get("/generate/{id}/status", **files("text/event-stream"))
    async def generation_status(id: str) -> Response:
        """Stream the status of a take as server-sent events until it is completed or failed."""
        await to_thread.run_sync(lab.history.get, id)
        events = _events(lab, listeners, id)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    @routes.post("/generate/{id}/cancel", response_model=Message)
    def cancel_generation(id: str) -> Response:
        """Cancel a take that is being made; 409 when it has ended."""
        live = _request_id(lab, id)
        if live is None:
            elsewhere = lab.history.get(id)["status"] == "pending"
            raise Conflict(
                "Another replica makes this take: cancel it there, or delete it."
                if elsewhere
                else "This take is not being made."
            )
        lab.cancel(live)
        return Json({"message": "Generation is being cancelled.", "id": id})

    _add_remake_routes(lab, routes)
    return routes


def _add_remake_routes(lab: VoiceLab, routes: Router) -> None:
    """Add the routes that speak an existing take again, wholly or in part."""

    def start_take(take: Take, body: SeedBody | None = None) -> Response:
        warnings = (*take.warnings, *(body.warnings if body else ()))
        return Json(lab.submit(take), warnings=warnings)

    def regenerate(id: str, body: Annotated[SeedBody | None, Body()] = None) -> Response:
        """Speak a take again with a new seed, as a new version, in the background."""
        return start_take(lab.regenerate(id, body.seed if body else None), body)

    def regenerate_chunk(
        id: str,
        index: Annotated[int, PathParameter(ge=0, le=2**31)],
        body: Annotated[SeedBody | None, Body()] = None,
    ) -> Response:
        """Speak one chunk again with a new seed and keep the others, as a new version."""
        return start_take(lab.regenerate_chunk(id, index, body.seed if body else None), body)

    def retry(id: str) -> Response:
        """Speak a take again with the same text, settings and seeds, for the same sound."""
        return start_take(lab.retry(id))

    def resume(id: str) -> Response:
        """Complete a failed or interrupted take, reusing the chunks already spoken."""
        return start_take(lab.resume(id))

    for family in ("/generate", "/history"):
        for endpoint in (regenerate, retry, resume):
            path = f"{family}/{{id}}/{endpoint.__name__}"
            routes.add_api_route(path, endpoint, methods=["POST"], response_model=TakeRecord)
    routes.add_api_route(
        "/history/{id}/chunks/{index}/regenerate",
        regenerate_chunk,
        methods=["POST"],
        response_model=TakeRecord,
    )


def _request_id(lab: VoiceLab, id: str) -> str | None:
    request_id = lab.history.get(id)["request_id"]
    return request_id if lab.status.is_live(request_id) else None


async def _events(lab: VoiceLab, listeners: Listeners, id: str) -> AsyncIterator[bytes]:
    while True:
        try:
            record = await to_thread.run_sync(lab.history.get, id)
        except NotFound as error:  # deleted meanwhile: the stream is open, so say it there
            deleted = {"id": id, "status": "failed", "duration": None, "error": error.message}
            yield b"data: " + orjson.dumps(deleted) + b"\n\n"
            return
        # A finished take counts as pending while a further version of it is made.
        is_live = lab.status.is_live(record["request_id"])
        keys = ("id", "status", "duration", "error")
        event = {key: record[key] for key in keys} | ({"status": "pending"} if is_live else {})
        yield b"data: " + orjson.dumps(event) + b"\n\n"
        if event["status"] != "pending":
            return
        if not is_live:  # another replica makes it: only the record shows it
            await asyncio.sleep(POLL_S)
        async for heartbeat in _until_ended(lab, listeners, record["request_id"]):
            yield heartbeat


async def _until_ended(
    lab: VoiceLab, listeners: Listeners, request_id: str
) -> AsyncIterator[bytes]:
    """Heartbeats until a request has ended."""
    while True:
        version = lab.status.version  # read before the check, so that no later change is missed
        if not lab.status.is_live(request_id):
            return
        if not await listeners.wait(version):
            yield HEARTBEAT
