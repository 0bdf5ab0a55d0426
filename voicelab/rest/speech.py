"""POST /v1/audio/speech: sound as it is made, in any format, or server-sent events."""

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
from voicelab.rest.dialects.openai import requested
from voicelab.rest.errors import envelope
from voicelab.rest.openapi import SPOKEN, STREAMED
from voicelab.rest.parameters import taking, with_parameters
from voicelab.rest.routing import Router
from voicelab.rest.schemas import SpeechBody
from voicelab.rest.streams import AudioFile, MadeResponse
from voicelab.rest.uploads import clip_file
from voicelab.rest.warnings import warning_header

__all__ = ["Answers", "router", "validated"]

Model = TypeVar("Model", bound=BaseModel)

WHOLE_WITHIN_S = 0.25
"""A take that is finished so soon after its first sound is one body with its length."""

WHOLE_BYTES = 16 << 20
"""The longest such body, in bytes of 16-bit samples: six minutes."""

FAMILIES = ("/v1/audio/speech", "/audio/speech", "/tts")

Pcm = NDArray[np.int16]


def router(lab: VoiceLab) -> APIRouter:
    """The routes over a lab."""
    routes = Router(tags=["speech"])
    background = Background(lab.settings)
    answers = Answers(lab, background)
    model = with_parameters(SpeechBody, lab.registry)

    async def begun(body: SpeechBody, clip: Path | None = None, listening: bool = False) -> Take:
        def begin() -> Take:
            wanted = requested(lab, body, clip)
            return lab.stream(replace(wanted, listening=listening or wanted.listening))

        return await background.run(begin)

    async def speech(body: SpeechBody, request: Request) -> Response:
        """Speak a text: sound as it is made, or events with stream_format=sse."""
        return await answers.speech(await begun(body), body, request)

    async def speech_stream(body: SpeechBody) -> Response:
        """Speak a text: a WAV that begins before the take is finished."""
        kind = _streamable(body)
        return answers.live(await begun(body, listening=True), kind)

    async def speech_upload(request: Request) -> Response:
        """Speak like a voice clip: multipart with voice_file, or JSON."""
        async with _form(request, model) as (body, clip):
            return await answers.speech(await begun(body, clip), body, request)

    async def stream_upload(request: Request) -> Response:
        """Speak like a voice clip: a WAV that begins before the take is finished."""
        async with _form(request, model) as (body, clip):
            kind = _streamable(body)
            return answers.live(await begun(body, clip, listening=True), kind)

    multipart = {"requestBody": {"required": True, "content": _upload_schema(model)}}
    for ending, endpoint, told in (
        ("", taking(model, speech), SPOKEN),
        ("/stream", taking(model, speech_stream), STREAMED),
        ("/upload", speech_upload, SPOKEN | {"openapi_extra": multipart}),
        ("/stream/upload", stream_upload, STREAMED | {"openapi_extra": multipart}),
    ):
        for family in FAMILIES if ending else FAMILIES[:2]:  # /tts alone is another dialect's
            shown = family == FAMILIES[0]
            routes.add_api_route(
                family + ending, endpoint, methods=["POST"], include_in_schema=shown, **told
            )
    return routes


class Answers:
    """Takes as answers, for every dialect that speaks.

    Args:
        lab: whose takes.
        background: in whose threads they are made.
    """

    def __init__(self, lab: VoiceLab, background: Background):
        self._lab = lab
        self._background = background

    async def speech(self, take: Take, body: SpeechBody, request: Request) -> Response:
        """What a body asks for of its take; the arguments are those of `sound`."""
        if body.stream_format == "sse":
            return self.events(take, body.response_format or "pcm")
        kind = body.response_format or self._lab.settings.default_format
        if body.stream:
            return self.live(take, kind)
        return await self.sound(take, kind, request, at_once=body.stream is False)

    async def sound(
        self, take: Take, kind: str, request: Request, *, at_once: bool = False
    ) -> Response:
        """The sound of a take in one of `FORMATS`, each part as soon as it is made.

        What is there at once (see WHOLE_WITHIN_S) is one body with its length and its real-time
        factor. An error before the first byte has its status; a later one cuts the answer off.
        A client that hangs up stops the take.

        Args:
            take: from `VoiceLab.stream`, not yet iterated over; it is closed here.
            kind: the format.
            request: of the client.
            at_once: one body, whatever it takes to make it.

        Raises:
            As the iteration over a `Take`, while nothing was sent.
        """
        try:
            work = functools.partial(_all_of if at_once else _early, take)
            early, whole = await self._background.wait(request, work, take.cancel)
            if whole:
                return await self._background.run(lambda: self._finished(take, early, kind))
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
        return MadeResponse(self._background, parts, form, _headers(take, kind), take.close)

    def events(self, take: Take, kind: str = "pcm") -> Response:
        """A take as server-sent events, in OpenAI's shape; a failure is an event, too.

        Args:
            take: as for `sound`.
            kind: the format of what the `speech.audio.delta` events hold, one after the other.
        """
        events = _sse(take, kind)
        return MadeResponse(
            self._background, events, "text/event-stream", _headers(take), take.close
        )

    def _finished(self, take: Take, pieces: Sequence[Pcm], kind: str) -> Response:
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


def _all_of(take: Take) -> tuple[list[Pcm], bool]:
    """A take made to its end; what is heard of it, unless its file holds that."""
    made = [piece.pcm if not take.kept else piece.pcm[:0] for piece in take]
    return made, True


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
async def _form(
    request: Request, model: type[SpeechBody]
) -> AsyncIterator[tuple[SpeechBody, Path | None]]:
    """The fields of a multipart or JSON body, and its clip as a file while the block lasts."""
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
        body = validated(model, _sent(form))
        with clip_file(upload if isinstance(upload, UploadFile) else None) as clip:
            yield body, clip


def _sent(form: FormData) -> dict[str, Any]:
    """The fields of a form; one left empty, or null as scripts write it, is not sent.

    Raises:
        InvalidInput: a field stands there twice.
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
    """A body read by hand, its errors those of one that FastAPI reads."""
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
