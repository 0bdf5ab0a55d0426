"""Takes in the background: made, made again, resumed; a record at once."""

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
"""Between two looks at the record of a take that another replica makes."""


def router(lab: VoiceLab) -> APIRouter:
    """The routes over a lab."""
    routes = Router(tags=["generate"])
    listeners = Listeners(lab.status)

    def generate(body: GenerateBody) -> Response:
        """Start a take; its pending record."""
        record = lab.submit(body.request())
        return Json(record, warnings=record["warnings"])

    body = with_parameters(GenerateBody, lab.registry)
    routes.post("/generate", response_model=TakeRecord)(taking(body, generate))

    @routes.get("/generate/{id}/status", **files("text/event-stream"))
    async def generation_status(id: str) -> Response:
        """Server-sent events with the record's status until it is completed or failed."""
        await to_thread.run_sync(lab.history.get, id)
        events = _events(lab, listeners, id)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    @routes.post("/generate/{id}/cancel", response_model=Message)
    def cancel_generation(id: str) -> Response:
        """Stop a take that is being made; 409 when it is finished."""
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

    _again(lab, routes)
    return routes


def _again(lab: VoiceLab, routes: Router) -> None:
    """Routes that speak a take once more, or its rest."""

    def again(take: Take, body: SeedBody | None = None) -> Response:
        warnings = (*take.warnings, *(body.warnings if body else ()))
        return Json(lab.submit(take), warnings=warnings)

    def regenerate(id: str, body: Annotated[SeedBody | None, Body()] = None) -> Response:
        """The same text and settings with a new seed, as a new version, in the background."""
        return again(lab.regenerate(id, body.seed if body else None), body)

    def regenerate_chunk(
        id: str,
        index: Annotated[int, PathParameter(ge=0, le=2**31)],
        body: Annotated[SeedBody | None, Body()] = None,
    ) -> Response:
        """One sentence with a new seed, the others as they are, as a new version."""
        return again(lab.regenerate_chunk(id, index, body.seed if body else None), body)

    def retry(id: str) -> Response:
        """The same text, settings and seeds spoken again: the same sound."""
        return again(lab.retry(id))

    def resume(id: str) -> Response:
        """A failed or interrupted take, made whole from the chunks there are."""
        return again(lab.resume(id))

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
            gone = {"id": id, "status": "failed", "duration": None, "error": error.message}
            yield b"data: " + orjson.dumps(gone) + b"\n\n"
            return
        # A finished take of which a further version is being made is on its way, too.
        made = lab.status.is_live(record["request_id"])
        keys = ("id", "status", "duration", "error")
        event = {key: record[key] for key in keys} | ({"status": "pending"} if made else {})
        yield b"data: " + orjson.dumps(event) + b"\n\n"
        if event["status"] != "pending":
            return
        if not made:  # another replica makes it: only the record tells of it
            await asyncio.sleep(POLL_S)
        async for beat in _until_ended(lab, listeners, record["request_id"]):
            yield beat


async def _until_ended(
    lab: VoiceLab, listeners: Listeners, request_id: str
) -> AsyncIterator[bytes]:
    """Heartbeats while a request is running."""
    while True:
        version = lab.status.version  # before the question: a change after it is not missed
        if not lab.status.is_live(request_id):
            return
        if not await listeners.wait(version):
            yield HEARTBEAT
