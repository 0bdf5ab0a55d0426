"""Sound is sent while it is made and while it is encoded; little of it is held."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import av
import numpy as np
import orjson
import pytest
from fastapi.testclient import TestClient

from tests.conftest import blocked_after_first_chunk
from voicelab.audio.codecs import read
from voicelab.audio.encoding import FORMATS
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build

TEXT = "The fjord was quiet, and a boat drew a line across it. Then even that was gone from sight."


class Listener:
    """A client of an application who hears each part as it comes.

    Args:
        on_data: called with all that came so far, after each part.
    """

    def __init__(self, app: Any, on_data: Callable[[bytes], None] = lambda _: None):
        self._app = app
        self._on_data = on_data
        self._gone = anyio.Event()
        self.content = b""
        self.size = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False

    async def post(self, path: str, keep: bool = True, **body: Any) -> None:
        """Until the answer's end, or until `hang_up`."""
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": orjson.dumps(body), "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            self.status = message.get("status", self.status)
            for name, value in message.get("headers", ()):
                self.headers[name.decode()] = value.decode()
            part = message.get("body", b"")
            self.size += len(part)
            body = message["type"] == "http.response.body"
            self.ended = self.ended or (body and not message.get("more_body", False))
            self.content += part if keep else b""
            self._on_data(self.content)

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path}
        scope |= {"raw_path": path.encode(), "query_string": b"", "scheme": "http"}
        scope |= {"headers": [(b"content-type", b"application/json")]}
        await self._app(scope, receive, send)

    def hang_up(self) -> None:
        """Gone."""
        self._gone.set()


@pytest.fixture
def first_chunk_only(lab: VoiceLab) -> Iterator[threading.Event]:
    """The tone engine speaks one chunk, and the others once this is set."""
    with blocked_after_first_chunk(lab) as free:
        yield free


LEAST_BYTES = {"wav": 44, "flac": 8192, "ogg": 58}
"""What a format begins with before any sound."""


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_first_sound_is_sent_before_the_last_is_made(
    lab: VoiceLab, hasty: None, first_chunk_only: threading.Event, name: str
) -> None:
    def on_data(content: bytes) -> None:
        if len(content) > LEAST_BYTES.get(name, 0):
            early.append(lab.status.progress()["is_processing"])
            first_chunk_only.set()

    early: list[bool] = []
    listener = Listener(build(lab), on_data)
    anyio.run(lambda: listener.post("/v1/audio/speech", input=TEXT, response_format=name))
    assert early[0] and listener.status == 200
    assert "content-length" not in listener.headers
    id = listener.headers["x-generation-id"]
    stored, rate = read(lab.library.audio_path(id))
    if name in ("flac", "wav"):
        with av.open(io.BytesIO(listener.content)) as container:
            on_data = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
        assert np.array_equal(np.concatenate(on_data), stored)
    if name == "pcm":
        assert listener.content == stored.tobytes()
    assert rate == 24_000


def test_a_take_that_is_there_at_once_is_the_kept_file(client: TestClient) -> None:
    answer = client.post("/v1/audio/speech", json={"input": TEXT})
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert float(answer.headers["x-real-time-factor"]) > 0
    kept = client.get(f"/audio/{answer.headers['x-generation-id']}")
    assert kept.content == answer.content


def test_a_failure_after_the_first_sound_cuts_the_answer_off(make_lab, hasty: None) -> None:
    lab = make_lab(tone_fail_on="sight")
    listener = Listener(build(lab))
    anyio.run(lambda: listener.post("/v1/audio/speech", input=TEXT))
    assert listener.status == 200 and listener.size > 44
    assert not listener.ended, "a server closes the connection: the client sees that it was cut"
    assert lab.history.list()[0][0]["status"] == "failed"


def test_a_failure_before_the_first_sound_has_its_status(make_lab, hasty: None) -> None:
    with TestClient(build(make_lab(tone_fail_on="fjord"))) as client:
        answer = client.post("/v1/audio/speech", json={"input": TEXT})
    assert answer.status_code == 500 and "fjord" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_who_hangs_up_after_the_first_sound_stops_the_take(
    lab: VoiceLab, hasty: None, first_chunk_only: threading.Event, stream_format: str
) -> None:
    def on_data(content: bytes) -> None:
        if len(content) > 1000:
            listener.hang_up()

    async def speak() -> None:
        nonlocal listener
        listener = Listener(build(lab), on_data)
        await listener.post("/v1/audio/speech", input=TEXT, stream_format=stream_format)

    listener = Listener(None)
    anyio.run(speak)
    assert lab.status.statistics()["cancelled_requests"] == 1
    assert list(lab.library.files.root.glob("generations/*")) == []


@pytest.mark.parametrize(
    ("name", "fields"), [("wav", {}), ("mp3", {}), ("wav", {"store": False}), ("pcm", {})]
)
def test_a_long_take_is_not_held_in_memory(
    lab: VoiceLab, hasty: None, name: str, fields: dict[str, Any]
) -> None:
    listener = Listener(build(lab))
    body = {"input": TEXT * 250, "response_format": name, "gap_ms": 0, **fields}
    tracemalloc.start()
    try:
        anyio.run(lambda: listener.post("/v1/audio/speech", keep=False, **body))
        peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    whole_mb = 2 * 24_000 * lab.status.history()["request_history"][0]["audio_seconds"] / 1e6
    assert whole_mb > 60
    assert peak_mb < 40, peak_mb


@pytest.fixture
def take(lab: VoiceLab) -> str:
    """A kept take of half a minute and more."""
    return lab.drain(lab.stream(GenerationRequest(TEXT * 7)))["id"]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "wav"])
def test_an_export_is_headed_without_being_made_and_has_no_ranges(
    client: TestClient, lab: VoiceLab, take: str, name: str
) -> None:
    path = f"/history/{take}/export-audio?format={name}"
    head, part = client.head(path), client.get(path, headers={"Range": "bytes=0-9"})
    for answer in (head, part):
        assert answer.status_code == 200 and answer.headers["accept-ranges"] == "none"
        assert "content-length" not in answer.headers
        seconds = lab.history.get(take)["duration"]
        assert float(answer.headers["x-audio-seconds"]) == pytest.approx(seconds, abs=0.01)
    assert head.content == b"" and len(part.content) > 1000
    assert head.headers["content-disposition"] == part.headers["content-disposition"]


def test_a_story_is_headed_without_being_made(client: TestClient, lab: VoiceLab, take: str) -> None:
    story = lab.library.stories.create("S")["id"]
    path = f"/stories/{story}/export-audio?format=mp3"
    assert client.head(path).status_code == client.get(path).status_code == 409
    lab.library.stories.add_item(story, generation_id=take)
    head, whole = client.head(path), client.get(path)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["x-audio-seconds"] == whole.headers["x-audio-seconds"]
    assert len(whole.content) == pytest.approx(8000 * float(head.headers["x-audio-seconds"]), 0.1)
