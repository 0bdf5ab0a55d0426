"""POST /v1/audio/speech: one body, server-sent events, or a WAV as it is made."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from anyio import CancelScope, to_thread
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from voicelab.audio import wav_header
from voicelab.codecs import FORMATS, encode
from voicelab.errors import InvalidInput, VoicelabError
from voicelab.lab import VoiceLab
from voicelab.rest.desk import Desk
from voicelab.rest.errors import envelope
from voicelab.rest.schemas import SpeechBody
from voicelab.rest.uploads import clip_file
from voicelab.take import Piece, Take

__all__ = ["router"]


class TakeResponse(StreamingResponse):
    """Sends a take as it is made; whatever happens, the take is closed."""

    def __init__(self, take: Take, content: AsyncIterator[bytes], media_type: str):
        headers = _headers(take) | {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type=media_type, headers=headers)
        self._take = take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # It may write what became of the take, which the event loop must not wait for.
            with CancelScope(shield=True):
                await to_thread.run_sync(self._take.close)


def router(lab: VoiceLab) -> APIRouter:
    """The routes over a lab."""
    routes = APIRouter(tags=["speech"])
    desk = Desk(lab.settings)

    async def speech(body: SpeechBody, request: Request) -> Response:
        """Speak a text: one audio file, or events with stream_format=sse."""
        take = await desk.run(lambda: lab.stream(body.request()))
        return await _answer(desk, take, body, request)

    async def speech_stream(body: SpeechBody) -> Response:
        """Speak a text: a WAV that begins before the take is finished."""
        _check_streamable(body)
        request = replace(body.request(), listening=True)
        return _stream(desk, await desk.run(lambda: lab.stream(request)), body)

    async def speech_upload(request: Request) -> Response:
        """Speak like a voice clip: multipart with voice_file, or JSON."""
        async with _form(request) as (body, clip):
            take = await desk.run(lambda: lab.stream(body.request(clip)))
            return await _answer(desk, take, body, request)

    multipart = {"requestBody": {"required": True, "content": _upload_schema()}}
    for path in ("/v1/audio/speech", "/audio/speech", "/tts"):
        shown = path.startswith("/v1/")
        routes.add_api_route(
            path, speech, methods=["POST"], include_in_schema=shown, response_model=None
        )
    for path in ("/v1/audio/speech/stream", "/audio/speech/stream"):
        shown = path.startswith("/v1/")
        routes.add_api_route(
            path, speech_stream, methods=["POST"], include_in_schema=shown, response_model=None
        )
    for path in ("/v1/audio/speech/upload", "/audio/speech/upload"):
        shown = path.startswith("/v1/")
        routes.add_api_route(
            path,
            speech_upload,
            methods=["POST"],
            include_in_schema=shown,
            openapi_extra=multipart,
            response_model=None,
        )
    return routes


def _headers(take: Take) -> dict[str, str]:
    return {"X-Generation-Id": take.id, "X-Request-Id": take.request_id}


async def _answer(desk: Desk, take: Take, body: SpeechBody, request: Request) -> Response:
    if body.stream_format == "sse":
        return TakeResponse(take, _sse(desk, take), "text/event-stream")
    return await _whole(desk, take, body, request)


async def _whole(desk: Desk, take: Take, body: SpeechBody, request: Request) -> Response:
    """One body with its length; a client that hangs up stops the work."""
    pcm = await desk.wait(request, lambda: _drained(take), take.cancel)
    record = take.record
    content = await desk.run(lambda: encode(pcm, take.sample_rate, body.response_format))
    headers = _headers(take) | {"X-Real-Time-Factor": str(record["real_time_factor"])}
    return Response(content, media_type=FORMATS[body.response_format].content_type, headers=headers)


def _drained(take: Take) -> NDArray[np.int16]:
    with take:
        return np.concatenate([piece.pcm for piece in take])


async def _pieces(desk: Desk, take: Take) -> AsyncIterator[Piece]:
    """What the take gives; who hangs up waits no longer, and closes it."""
    while (piece := await desk.run(lambda: next(take, None), abandon=True)) is not None:
        yield piece


def _check_streamable(body: SpeechBody) -> None:
    if body.response_format not in ("wav", "pcm"):
        raise InvalidInput(
            f"A stream is wav or pcm, not {body.response_format}.", param="response_format"
        )


def _stream(desk: Desk, take: Take, body: SpeechBody) -> Response:
    async def content() -> AsyncIterator[bytes]:
        if body.response_format == "wav":
            yield wav_header(take.sample_rate, None)
        async for piece in _pieces(desk, take):
            if len(piece.pcm):
                yield piece.pcm.tobytes()

    return TakeResponse(take, content(), FORMATS[body.response_format].content_type)


async def _sse(desk: Desk, take: Take) -> AsyncIterator[bytes]:
    info = {"sample_rate": take.sample_rate, "channels": 1, "bits_per_sample": 16}
    yield _event("speech.audio.info", **info)
    samples = 0
    try:
        async for piece in _pieces(desk, take):
            if len(piece.pcm):
                samples += len(piece.pcm)
                audio = base64.b64encode(piece.pcm.tobytes()).decode()
                yield _event("speech.audio.delta", audio=audio)
    except VoicelabError as error:
        yield _event("error", **envelope(error))
        return
    text_length = len(take.record["text"])
    # No tokens are counted here; characters and 40 ms frames are the nearest there is.
    frames = round(25 * samples / take.sample_rate)
    usage = {"input_tokens": text_length, "output_tokens": frames}
    usage["total_tokens"] = text_length + frames
    yield _event("speech.audio.done", usage=usage, generation_id=take.id)


def _event(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"type": kind} | fields) + b"\n\n"


@contextlib.asynccontextmanager
async def _form(request: Request) -> AsyncIterator[tuple[SpeechBody, Path | None]]:
    """The fields of a multipart or JSON body, and its clip as a file while the block lasts."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            fields = orjson.loads(await request.body())
        except orjson.JSONDecodeError as error:
            raise InvalidInput("The body is not JSON.") from error
        yield _validated(fields), None
        return
    async with request.form(max_files=1, max_fields=100) as form:
        body = _validated({key: value for key, value in form.items() if isinstance(value, str)})
        upload = form.get("voice_file")
        with clip_file(upload if isinstance(upload, UploadFile) else None) as clip:
            yield body, clip


def _validated(fields: Any) -> SpeechBody:
    try:
        return SpeechBody.model_validate(fields)
    except ValidationError as error:
        located = [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        raise RequestValidationError(located) from error


def _upload_schema() -> dict[str, Any]:
    properties = SpeechBody.model_json_schema()["properties"]
    clip = {"type": "string", "format": "binary", "description": "2-30 s of one voice"}
    schema = {
        "type": "object",
        "properties": {**properties, "voice_file": clip},
        "required": ["input"],
    }
    return {"multipart/form-data": {"schema": schema}}
