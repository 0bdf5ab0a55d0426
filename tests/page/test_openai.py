"""OpenAI's own package, against the launched server."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile

from tests.conftest import blocked_after_first_chunk
from voicelab.lab import VoiceLab
from voicelab.settings import Settings

TEXT = "The fjord was quiet, and a single boat drew a line across it. Then even that was gone."


@pytest.fixture(scope="module")
def tone_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VoiceLab]:
    folder = tmp_path_factory.mktemp("spoken")
    settings = Settings(
        engine="tone", data_dir=folder, port=0, min_free_disk_mb=0, api_key="secret"
    )
    with VoiceLab(settings) as lab:
        lab.launch(quiet=True)
        yield lab


@pytest.fixture(scope="module")
def client(tone_lab: VoiceLab) -> Iterator[openai.OpenAI]:
    page: Any = tone_lab._page
    address = f"{page.local_url.rstrip('/')}/v1"
    with openai.OpenAI(base_url=address, api_key="secret", max_retries=0) as client:
        yield client


@pytest.fixture
def first_chunk_only(tone_lab: VoiceLab) -> Iterator[threading.Event]:
    """The tone engine speaks one chunk, and the others once this is set."""
    with blocked_after_first_chunk(tone_lab) as free:
        yield free


def test_speech_is_a_take(client: openai.OpenAI, tone_lab: VoiceLab, tmp_path: Path) -> None:
    answer = client.audio.speech.create(model="tone", voice="alloy", input=TEXT)
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    record = tone_lab.history.get(answer.response.headers["x-generation-id"])
    assert len(samples) / rate == pytest.approx(record["duration"], abs=0.01)
    answer.write_to_file(tmp_path / "take.wav")
    assert (tmp_path / "take.wav").read_bytes() == answer.content


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_the_first_byte_comes_well_before_the_last(
    client: openai.OpenAI, tone_lab: VoiceLab, first_chunk_only: threading.Event, name: Any
) -> None:
    response = client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts",
        voice="coral",
        input=f"{TEXT} Number {name}.",
        response_format=name,
        instructions="Speak softly.",
    )
    with response as answer:
        parts = answer.iter_bytes()
        content = b""
        while len(content) < 2_000:  # more than any header
            content += next(parts)
        assert tone_lab.status.progress()["is_processing"]
        first_chunk_only.set()
        rest = b"".join(parts)
    assert len(rest) > 2_000
    if name == "pcm":
        id = answer.headers["x-generation-id"]
        duration_s = tone_lab.history.get(id)["duration"]
        assert len(content + rest) / 48_000 == pytest.approx(duration_s, abs=0.001)


def test_events_hold_the_sound(client: openai.OpenAI, tone_lab: VoiceLab) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tone", voice="alloy", input=TEXT, stream_format="sse"
    ) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line]
    pcm = b"".join(base64.b64decode(e["audio"]) for e in events if e["type"].endswith(".delta"))
    assert events[-1]["type"] == "speech.audio.done" and events[-1]["usage"]["total_tokens"] > 0
    stored, _ = soundfile.read(
        tone_lab.library.audio_path(events[-1]["generation_id"]), dtype="int16"
    )
    assert np.array_equal(np.frombuffer(pcm, "<i2"), stored)


def test_head_is_answered_with_the_headers_of_get(client: openai.OpenAI) -> None:
    root = str(client.base_url).removesuffix("/v1/")
    with httpx.Client(headers={"Authorization": "Bearer secret"}) as browser:
        for path in ("/v1/models", "/v1/audio/voices", "/history", "/voices", "/status/stream"):
            head = browser.head(root + path)
            assert head.status_code == 200 and not head.content, path
            assert head.headers["content-type"].startswith(("application/json", "text/event")), path
        assert browser.head(f"{root}/tts").status_code == 405


def test_fifty_at_once_are_all_answered(client: openai.OpenAI, tone_lab: VoiceLab) -> None:
    root = str(client.base_url).removesuffix("/v1/")
    before = tone_lab.history.list()[1]

    def speak(number: int) -> int:
        body = {"text": f"Number {number}."}
        if number % 5 == 0:
            body["predefined_voice_id"] = "Nobody"
        headers = {"Authorization": "Bearer secret"}
        return httpx.post(f"{root}/tts", json=body, headers=headers, timeout=120).status_code

    with ThreadPoolExecutor(50) as pool:
        codes = list(pool.map(speak, range(50)))
    assert codes == [404 if number % 5 == 0 else 200 for number in range(50)]
    assert tone_lab.history.list()[1] == before + 40


def test_models_are_the_engines(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "tone" and "espeak" in names
    assert client.models.retrieve("chatterbox_turbo").id == "chatterbox-turbo"
    with pytest.raises(openai.NotFoundError, match="tone"):
        client.models.retrieve("tts-1")


def test_errors_are_openais(client: openai.OpenAI, tone_lab: VoiceLab) -> None:
    before = tone_lab.history.list()[1]
    speak = client.audio.speech.create
    with pytest.raises(openai.BadRequestError, match="empty") as refused:
        speak(model="tts-1", voice="alloy", input="")
    assert refused.value.param == "input"
    with pytest.raises(openai.NotFoundError, match="Default"):
        speak(model="tts-1", voice="Nobody", input=TEXT)
    with pytest.raises(openai.UnprocessableEntityError, match="speed"):
        speak(model="tts-1", voice="alloy", input=TEXT, speed=9)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    assert tone_lab.history.list()[1] == before


def test_a_voice_of_ones_own_is_an_object(client: openai.OpenAI, tone_lab: VoiceLab) -> None:
    anna = tone_lab.library.profiles.create("Anna")
    voice: Any = {"id": anna["id"]}
    answer = client.audio.speech.create(model="tone", voice=voice, input=TEXT)
    id = answer.response.headers["x-generation-id"]
    assert tone_lab.history.get(id)["profile_id"] == anna["id"]
