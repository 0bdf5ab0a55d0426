"""The speech routes: audio in any format while it is made, or server-sent events."""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from anyio import CancelScope, to_thread
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from voicelab.audio import FORMATS, blocks, encoded
from voicelab.errors import InvalidInput, VoicelabError
from voicelab.generation import Take
from voicelab.lab import VoiceLab
from voicelab.rest.background import Background
from voicelab.rest.dialects.openai import generation_request
from voicelab.rest.errors import error_body
from voicelab.rest.openapi import SPEECH_RESPONSE, STREAM_RESPONSE
from voicelab.rest.parameters import taking, with_parameters
from voicelab.rest.routing import Router
from voicelab.rest.schemas import SpeechBody
from voicelab.rest.streams import AudioFile, IteratorResponse
from voicelab.rest.uploads import clip_file
from voicelab.rest.warnings import warning_header

__all__ = ["Answers", "router", "validated"]

Model = TypeVar("Model", bound=BaseModel)

WHOLE_WITHIN_S = 0.25
"""A take finished so many seconds after its first audio is sent as one body with its length."""

WHOLE_BYTES = 16 << 20
"""Largest such body, in bytes of 16-bit samples; about six minutes."""

FAMILIES = ("/v1/audio/speech", "/audio/speech", "/tts")

Pcm = NDArray[np.int16]


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    routes = Router(tags=["speech"])
    background = Background(lab.settings)
    answers = Answers(lab, background)
    model = with_parameters(SpeechBody, lab.registry)

    async def start_take(
        body: SpeechBody, clip: Path | None = None, listening: bool = False
    ) -> Take:
        def start() -> Take:
            generation = generation_request(lab, body, clip)
            return lab.stream(replace(generation, listening=listening or generation.listening))

        return await background.run(start)

    async def speech(body: SpeechBody, request: Request) -> Response:
        """Speak a text: audio while it is made, or server-sent events with stream_format=sse."""
        return await answers.speech(await start_take(body), body, request)

    async def speech_stream(body: SpeechBody) -> Response:
        """Speak a text, streamed as WAV or PCM while it is made."""
        kind = _streamable(body)
        return answers.live(await start_take(body, listening=True), kind)

    async def speech_upload(request: Request) -> Response:
        """Speak a text in the voice of an uploaded clip: multipart with voice_file, or JSON."""
        async with _form(request, model) as (body, clip):
            return await answers.speech(await start_take(body, clip), body, request)

    async def stream_upload(request: Request) -> Response:
        """Speak in the voice of an uploaded clip, streamed as WAV or PCM while it is made."""
        async with _form(request, model) as (body, clip):
            kind = _streamable(body)
            return answers.live(await start_take(body, clip, listening=True), kind)

    multipart = {"requestBody": {"required": True, "content": _upload_schema(model)}}
    for ending, endpoint, documentation in (
        ("", taking(model, speech), SPEECH_RESPONSE),
        ("/stream", taking(model, speech_stream), STREAM_RESPONSE),
        ("/upload", speech_upload, SPEECH_RESPONSE | {"openapi_extra": multipart}),
        ("/stream/upload", stream_upload, STREAM_RESPONSE | {"openapi_extra": multipart}),
    ):
        for family in FAMILIES if ending else FAMILIES[:2]:  # /tts alone is another dialect's
            shown = family == FAMILIES[0]
            routes.add_api_route(
                family + ending,
                endpoint,
                methods=["POST"],
                include_in_schema=shown,
                **documentation,
            )
    return routes


class Answers:
    """Responses with the audio of a take, for all routes that speak.

    Args:
        lab: whose takes.
        background: the threads in which they are made.
    """

    def __init__(self, lab: VoiceLab, background: Background):
        self._lab = lab
        self._background = background

    async def speech(self, take: Take, body: SpeechBody, request: Request) -> Response:
        """The response that a body asks for; the other arguments are those of `sound`."""
        if body.stream_format == "sse":
            return self.events(take, body.response_format or "pcm")
        kind = body.response_format or self._lab.settings.default_format
        if body.stream:
            return self.live(take, kind)
        return await self.sound(take, kind, request, at_once=body.stream is False)

    async def sound(
        self, take: Take, kind: str, request: Request, *, at_once: bool = False
    ) -> Response:
        """The audio of a take in one of `FORMATS`, each part sent as soon as it is made.

        A take that is finished WHOLE_WITHIN_S after its first audio is sent as one body, with its
        length and real-time factor. An error before the first byte has its own status; a later one
        cuts the response off. A client that disconnects cancels the take.

        Args:
            take: from `VoiceLab.stream`, not yet iterated over; it is closed here.
            kind: the format, a key of `FORMATS`.
            request: of the client.
            at_once: send one body, however long the take needs.

        Raises:
            As the iteration over a `Take`, while nothing was sent.
        """
        try:
            work = functools.partial(_all_pieces if at_once else _first_pieces, take)
            early, whole = await self._background.wait(request, work, take.cancel)
            if whole:
                return await self._background.run(lambda: self._whole_response(take, early, kind))
        except BaseException:
            with CancelScope(shield=True):
                await to_thread.run_sync(take.close)
            raise
        return self.live(take, kind, early)

    def live(self, take: Take, kind: str, early: Sequence[Pcm] = ()) -> Response:
        """The audio of a take from its first sample on, without a known length.

        Args:
            take, kind: as for `sound`.
            early: int16 (n,) each; pieces already taken from the iterator.
        """
        samples = itertools.chain(early, (piece.pcm for piece in take))
        parts = encoded(samples, take.sample_rate, kind)
        form = FORMATS[kind].content_type
        return IteratorResponse(self._background, parts, form, _headers(take, kind), take.close)

    def events(self, take: Take, kind: str = "pcm") -> Response:
        """A take as server-sent events in OpenAI's shape; a failure is an `error` event.

        Args:
            take: as for `sound`.
            kind: format of the audio that the `speech.audio.delta` events hold in sequence.
        """
        events = _sse(take, kind)
        return IteratorResponse(
            self._background, events, "text/event-stream", _headers(take), take.close
        )

    def _whole_response(self, take: Take, pieces: Sequence[Pcm], kind: str) -> Response:
        record = take.record
        headers = _headers(take, kind) | {"X-Real-Time-Factor": str(record["real_time_factor"])}
        form = FORMATS[kind].content_type
        sound: Iterable[Pcm] = pieces
        frames = sum(map(len, pieces))
        if take.kept:
            path = self._lab.library.files.path(record["audio_path"])
            if kind == "wav":
                return AudioFile(path, media_type=form, headers=headers)
            sound, _, frames = blocks(path)
        content = b"".join(encoded(sound, take.sample_rate, kind, frames=frames))
        return Response(content, media_type=form, headers=headers)


def _headers(take: Take, kind: str = "") -> dict[str, str]:
    headers = {"X-Generation-Id": take.id, "X-Request-Id": take.request_id}
    if kind == "pcm":
        headers["X-Sample-Rate"] = str(FORMATS[kind].rate(take.sample_rate))
    return headers | warning_header(take.warnings)


def _all_pieces(take: Take) -> tuple[list[Pcm], bool]:
    """Run a take to its end; its samples, unless its file has them, and True: all of it."""
    made = [piece.pcm if not take.kept else piece.pcm[:0] for piece in take]
    return made, True


def _first_pieces(take: Take) -> tuple[list[Pcm], bool]:
    """The first pieces of a take, int16 (n,) each, and whether these are all of it."""
    pieces: list[Pcm] = []
    size_bytes = 0
    end = float("inf")
    while size_bytes < WHOLE_BYTES and take.wait(end - time.monotonic()):
        piece = next(take, None)
        if piece is None:
            return pieces, True
        pieces.append(piece.pcm)
        size_bytes += piece.pcm.nbytes
        if size_bytes and end == float("inf"):
            end = time.monotonic() + WHOLE_WITHIN_S
    return pieces, False


def _streamable(body: SpeechBody) -> str:
    if body.stream_format == "sse":
        raise InvalidInput(
            "This route sends sound; events come from /v1/audio/speech.", param="stream_format"
        )
    kind = body.response_format or "wav"
    if kind not in ("wav", "pcm"):
        raise InvalidInput(f"A stream is wav or pcm, not {kind}.", param="response_format")
    return kind


def _sse(take: Take, kind: str) -> Iterator[bytes]:
    info: dict[str, Any] = {"sample_rate": FORMATS[kind].rate(take.sample_rate), "channels": 1}
    info |= {"bits_per_sample": 16} if kind == "pcm" else {"format": kind}
    yield _event("speech.audio.info", **info)
    try:
        for part in encoded((piece.pcm for piece in take), take.sample_rate, kind):
            yield _event("speech.audio.delta", audio=base64.b64encode(part).decode())
        record = take.record
    except VoicelabError as error:
        yield _event("error", **error_body(error))
        return
    text_length = len(record["text"])
    # Engines count no tokens: characters and frames of 40 ms stand in for them.
    frames = round(25 * record["duration"])
    usage = {"input_tokens": text_length, "output_tokens": frames}
    usage["total_tokens"] = text_length + frames
    yield _event("speech.audio.done", usage=usage, generation_id=take.id)


def _event(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"type": kind} | fields) + b"\n\n"


@contextlib.asynccontextmanager
async def _form(
    request: Request, model: type[SpeechBody]
) -> AsyncIterator[tuple[SpeechBody, Path | None]]:
    """The fields of a multipart or JSON body, and its clip as a temporary file."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            fields = await request.json()
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"The body is not JSON: {error.msg}.") from error
        yield validated(model, fields), None
        return
    async with request.form(max_files=1) as form:
        upload = form.get("voice_file")
        if isinstance(upload, str) and upload:
            raise InvalidInput("voice_file is a text; send a file.", param="voice_file")
        body = validated(model, _form_fields(form))
        with clip_file(upload if isinstance(upload, UploadFile) else None) as clip:
            yield body, clip


def _form_fields(form: FormData) -> dict[str, Any]:
    """The fields of a form, without those that are empty or "null".

    Raises:
        InvalidInput: a field occurs twice.
    """
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in fields:
            raise InvalidInput(f"{name[:40]} is sent twice.", param=name[:40])
        fields[name] = value
    fields.pop("voice_file", None)
    return {
        name: value
        for name, value in fields.items()
        if name == "input" or value not in ("", "null")
    }


def validated(model: type[Model], fields: Any) -> Model:
    """An instance of `model`; errors are raised as FastAPI raises those of a declared body."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        located = [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        raise RequestValidationError(located) from error


def _upload_schema(model: type[SpeechBody]) -> dict[str, Any]:
    properties = model.model_json_schema()["properties"]
    clip = {"type": "string", "format": "binary", "description": "2-30 s of one voice"}
    schema = {
        "type": "object",
        "properties": {**properties, "voice_file": clip},
        "required": ["input"],
    }
    return {"multipart/form-data": {"schema": schema}}
