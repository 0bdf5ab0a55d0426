"""POST /v1/audio/speech: sound as it is made, in any format, or server-sent events."""

from __future__ import annotations

import base64
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
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
from starlette.responses import Response

from voicelab.encoding import FORMATS, encoded
from voicelab.errors import InvalidInput, VoicelabError
from voicelab.lab import VoiceLab
from voicelab.rest.desk import Desk
from voicelab.rest.errors import envelope
from voicelab.rest.openapi import SPOKEN, STREAMED
from voicelab.rest.schemas import SpeechBody
from voicelab.rest.streams import AudioFile, MadeResponse
from voicelab.rest.uploads import clip_file
from voicelab.rest.warnings import warning_header
from voicelab.take import Take

__all__ = ["Answers", "router"]

WHOLE_WITHIN_S = 0.25
"""A take that is finished so soon after its first sound is one body with its length."""

WHOLE_BYTES = 16 << 20
"""The longest such body, in bytes of 16-bit samples: six minutes."""

Pcm = NDArray[np.int16]


def router(lab: VoiceLab) -> APIRouter:
    """The routes over a lab."""
    routes = APIRouter(tags=["speech"])
    desk = Desk(lab.settings)
    answers = Answers(lab, desk)

    async def answer(take: Take, body: SpeechBody, request: Request) -> Response:
        if body.stream_format == "sse":
            return answers.events(take)
        return await answers.sound(take, body.response_format, request)

    async def speech(body: SpeechBody, request: Request) -> Response:
        """Speak a text: sound as it is made, or events with stream_format=sse."""
        take = await desk.run(lambda: lab.stream(body.request()))
        return await answer(take, body, request)

    async def speech_stream(body: SpeechBody) -> Response:
        """Speak a text: a WAV that begins before the take is finished."""
        _check_streamable(body)
        request = replace(body.request(), listening=True)
        take = await desk.run(lambda: lab.stream(request))
        return answers.live(take, body.response_format)

    async def speech_upload(request: Request) -> Response:
        """Speak like a voice clip: multipart with voice_file, or JSON."""
        async with _form(request) as (body, clip):
            take = await desk.run(lambda: lab.stream(body.request(clip)))
            return await answer(take, body, request)

    async def stream_upload(request: Request) -> Response:
        """Speak like a voice clip: a WAV that begins before the take is finished."""
        async with _form(request) as (body, clip):
            _check_streamable(body)
            wanted = replace(body.request(clip), listening=True)
            take = await desk.run(lambda: lab.stream(wanted))
            return answers.live(take, body.response_format)

    multipart = {"requestBody": {"required": True, "content": _upload_schema()}}
    for path in ("/v1/audio/speech", "/audio/speech", "/tts"):
        shown = path.startswith("/v1/")
        routes.add_api_route(path, speech, methods=["POST"], include_in_schema=shown, **SPOKEN)
    for path in ("/v1/audio/speech/stream", "/audio/speech/stream", "/tts/stream"):
        shown = path.startswith("/v1/")
        routes.add_api_route(
            path, speech_stream, methods=["POST"], include_in_schema=shown, **STREAMED
        )
    for name, endpoint, told in (
        ("upload", speech_upload, SPOKEN),
        ("stream/upload", stream_upload, STREAMED),
    ):
        for family in ("/v1/audio/speech", "/audio/speech", "/tts"):
            shown = family.startswith("/v1/")
            routes.add_api_route(
                f"{family}/{name}",
                endpoint,
                methods=["POST"],
                include_in_schema=shown,
                openapi_extra=multipart,
                **told,
            )
    return routes


class Answers:
    """Takes as answers, for every dialect that speaks.

    Args:
        lab: whose takes.
        desk: in whose threads they are made.
    """

    def __init__(self, lab: VoiceLab, desk: Desk):
        self._lab = lab
        self._desk = desk

    async def sound(self, take: Take, kind: str, request: Request) -> Response:
        """The sound of a take in a format of `voicelab.encoding`, each part as soon as it is made.

        What is there at once (see WHOLE_WITHIN_S) is one body with its length and its real-time
        factor. An error before the first byte has its status; a later one cuts the answer off.
        A client that hangs up stops the take.

        Args:
            take: from `VoiceLab.stream`, not yet iterated over; it is closed here.
            kind: the format.
            request: of the client.

        Raises:
            As the iteration over a `Take`, while nothing was sent.
        """
        try:
            early, whole = await self._desk.wait(request, lambda: _early(take), take.cancel)
            if whole:
                return await self._desk.run(lambda: self._finished(take, early, kind))
        except BaseException:
            with CancelScope(shield=True):
                await to_thread.run_sync(take.close)
            raise
        return self.live(take, kind, early)

    def live(self, take: Take, kind: str, early: Sequence[Pcm] = ()) -> Response:
        """The sound of a take from its first sample on, whose length is not known.

        Args:
            take, kind: as for `sound`.
            early: int16 (n,) each; what was taken from it already.
        """
        heard = itertools.chain(early, (piece.pcm for piece in take))
        parts = encoded(heard, take.sample_rate, kind)
        form = FORMATS[kind].content_type
        return MadeResponse(self._desk, parts, form, _headers(take), take.close)

    def events(self, take: Take, kind: str = "pcm") -> Response:
        """A take as server-sent events, in OpenAI's shape; a failure is an event, too.

        Args:
            take: as for `sound`.
            kind: the format of what the `speech.audio.delta` events hold, one after the other.
        """
        events = _sse(take, kind)
        return MadeResponse(self._desk, events, "text/event-stream", _headers(take), take.close)

    def _finished(self, take: Take, pieces: Sequence[Pcm], kind: str) -> Response:
        record = take.record
        headers = _headers(take) | {"X-Real-Time-Factor": str(record["real_time_factor"])}
        form = FORMATS[kind].content_type
        if kind == "wav" and take.kept:
            path = self._lab.files.path(record["audio_path"])
            return AudioFile(path, media_type=form, headers=headers)
        frames = sum(map(len, pieces))
        content = b"".join(encoded(pieces, take.sample_rate, kind, frames=frames))
        return Response(content, media_type=form, headers=headers)


def _headers(take: Take) -> dict[str, str]:
    ids = {"X-Generation-Id": take.id, "X-Request-Id": take.request_id}
    return ids | warning_header(take.warnings)


def _early(take: Take) -> tuple[list[Pcm], bool]:
    """What is heard of a take at once, int16 (n,) each; and whether that is all of it."""
    pieces: list[Pcm] = []
    held = 0
    end = float("inf")
    while held < WHOLE_BYTES and take.wait(end - time.monotonic()):
        piece = next(take, None)
        if piece is None:
            return pieces, True
        pieces.append(piece.pcm)
        held += piece.pcm.nbytes
        if held and end == float("inf"):
            end = time.monotonic() + WHOLE_WITHIN_S
    return pieces, False


def _check_streamable(body: SpeechBody) -> None:
    if body.response_format not in ("wav", "pcm"):
        raise InvalidInput(
            f"A stream is wav or pcm, not {body.response_format}.", param="response_format"
        )


def _sse(take: Take, kind: str) -> Iterator[bytes]:
    info = {"sample_rate": take.sample_rate, "channels": 1, "bits_per_sample": 16}
    yield _event("speech.audio.info", **info)
    try:
        for part in encoded((piece.pcm for piece in take), take.sample_rate, kind):
            yield _event("speech.audio.delta", audio=base64.b64encode(part).decode())
        record = take.record
    except VoicelabError as error:
        yield _event("error", **envelope(error))
        return
    text_length = len(record["text"])
    # No tokens are counted here; characters and 40 ms frames are the nearest there is.
    frames = round(25 * record["duration"])
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
