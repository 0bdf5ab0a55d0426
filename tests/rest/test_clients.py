"""Clients of other speech servers, with the very bodies that they send."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from pydantic import ValidationError

from tests.conftest import MakeLab, write_clip
from voicelab.lab import VoiceLab
from voicelab.rest import build
from voicelab.settings import Settings

TEXT = "The fjord was quiet, and a boat drew a line across it."


def record_of(client: TestClient, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return client.get(f"/history/{answer.headers['x-generation-id']}").json()


def add_voice(client: TestClient, tmp_path: Path, name: str) -> str:
    id = client.post("/profiles", json={"name": name}).json()["id"]
    clip = write_clip(tmp_path / "clip.wav", 3.0).read_bytes()
    files = {"file": ("clip.wav", clip)}
    sent = client.post(f"/profiles/{id}/samples", files=files, data={"reference_text": "Hi."})
    assert sent.status_code == 200, sent.text
    return id


# Home Assistant's OpenAI TTS, Open WebUI, SillyTavern's OpenAI-compatible provider, LibreChat:
# each with what the client takes the answer for.
BODIES = [
    (
        {"model": "tts-1", "input": TEXT, "voice": "alloy", "response_format": "wav", "speed": 1.0},
        "audio/wav",
    ),
    (
        {"model": "tts-1", "input": TEXT, "voice": "shimmer", "response_format": "mp3"}
        | {"speed": 1, "instructions": "Speak softly.", "stream_format": "audio"},
        "audio/mpeg",
    ),
    ({"model": "tts-1", "input": TEXT, "voice": "Default"}, "audio/mpeg"),
    (
        {"input": TEXT, "response_format": "mp3", "voice": "nova", "speed": 1, "model": "tts-1"},
        "audio/mpeg",
    ),
    ({"input": TEXT, "model": "tts-1-hd", "voice": "onyx"}, "audio/mpeg"),
    ({"input": TEXT, "model": "alloy", "backend": "piper"}, "audio/mpeg"),
]


@pytest.mark.parametrize(("body", "kind"), BODIES)
def test_each_client_is_answered_with_a_key_too(make_lab: MakeLab, body, kind: str) -> None:
    lab = make_lab(api_key="secret", default_format="mp3")
    with TestClient(build(lab), headers={"Authorization": "Bearer secret"}) as client:
        answer = client.post("/v1/audio/speech", json=body)
        assert answer.headers["content-type"] == kind
        samples, rate = soundfile.read(io.BytesIO(answer.content))
        record = record_of(client, answer)
        assert len(samples) / rate == pytest.approx(record["duration"], abs=0.1)
        assert any(body["model"] in warning for warning in record["warnings"])
        assert body["model"] in answer.headers["x-warnings"]
    with TestClient(build(lab)) as stranger:
        assert stranger.post("/v1/audio/speech", json=body).status_code == 401


@pytest.mark.parametrize("base", ["", "/v1"])
def test_lists_are_read_as_open_webui_reads_them(client: TestClient, tmp_path, base) -> None:
    add_voice(client, tmp_path, "Anna")
    models = client.get(f"{base}/audio/models").json().get("models", [])
    assert "tone" in [model["id"] for model in models]
    voices = client.get(f"{base}/audio/voices").json().get("voices", [])
    assert {"Default", "Anna"} == {voice["name"] for voice in voices}
    for voice in voices:
        body = {"input": TEXT, "model": models[0]["id"], "voice": voice["id"]}
        record = record_of(client, client.post(f"{base}/audio/speech", json=body))
        assert record["profile_name"] == voice["name"] and not record["warnings"]


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_a_model_is_an_engine(client: TestClient, path: str) -> None:
    listed = client.get(path).json()
    assert listed["object"] == "list"
    for model in listed["data"]:
        assert client.get(f"{path}/{model['id']}").json() == model
    assert client.get(f"{path}/chatterbox_turbo").json()["id"] == "chatterbox-turbo"
    for unknown in ("tts-1", "%00", "x" * 10_000, "🚢"):
        answer = client.get(f"{path}/{unknown}")
        assert answer.status_code == 404 and "tone" in answer.json()["error"]["message"]
        assert len(answer.text) < 400


@pytest.mark.parametrize("model", ["espeak", "ESPEAK", " espeak "])
def test_a_model_that_is_an_engine_speaks(client: TestClient, model: str) -> None:
    body = {"input": TEXT, "model": model, "voice": "alloy"}
    answer = client.post("/v1/audio/speech", json=body)
    record = record_of(client, answer)
    assert record["engine"] == "espeak" and not record["warnings"]
    assert "x-warnings" not in answer.headers
    body = {"input": TEXT, "model": model, "engine": "tone"}
    assert record_of(client, client.post("/v1/audio/speech", json=body))["engine"] == "tone"


def test_a_model_in_any_script_is_named_in_the_warning(client: TestClient) -> None:
    answer = client.post("/v1/audio/speech", json={"input": TEXT, "model": "声\r\nX-Evil: 1"})
    assert "x-evil" not in answer.headers and "\\u58f0" in answer.headers["x-warnings"]
    assert record_of(client, answer)["warnings"][0].count("声") == 1


def test_pcm_is_24_khz_from_every_engine_and_says_so(client: TestClient) -> None:
    for engine, more in (("tone", {}), ("espeak", {}), ("espeak", {"stream": True})):
        body = {"input": TEXT, "engine": engine, "response_format": "pcm", **more}
        answer = client.post("/v1/audio/speech", json=body)
        record = record_of(client, answer)
        assert answer.headers["x-sample-rate"] == "24000"
        assert answer.headers["content-type"] == "audio/pcm; rate=24000; channels=1"
        sound = np.frombuffer(answer.content, "<i2")
        assert len(sound) / 24_000 == pytest.approx(record["duration"], abs=0.001)
        assert np.abs(sound).max() > 1000
        export = client.get(f"/history/{record['id']}/export-audio?format=pcm").content
        assert len(export) == len(answer.content)


@pytest.mark.parametrize("name", ["wav", "mp3", "flac", "opus", "ogg", "aac", "pcm"])
def test_events_carry_the_format_that_was_asked_for(client: TestClient, name: str) -> None:
    body = {"input": TEXT, "stream_format": "sse", "response_format": name, "engine": "espeak"}
    answer = client.post("/v1/audio/speech", json=body)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert events[0]["type"] == "speech.audio.info" and events[-1]["type"] == "speech.audio.done"
    content = b"".join(base64.b64decode(each["audio"]) for each in events[1:-1])
    duration_s = client.get(f"/history/{events[-1]['generation_id']}").json()["duration"]
    if name == "pcm":
        assert events[0]["sample_rate"] == 24_000 and events[0]["bits_per_sample"] == 16
        assert len(content) / 48_000 == pytest.approx(duration_s, abs=0.001)
        return
    with av.open(io.BytesIO(content)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        rate = container.streams.audio[0].rate
    assert rate == events[0]["sample_rate"] and events[0]["format"] == name
    assert samples / rate == pytest.approx(duration_s, abs=0.1)


def test_a_voice_may_be_an_object(client: TestClient, tmp_path: Path) -> None:
    id = add_voice(client, tmp_path, "Anna")
    for voice in ({"id": id}, {"id": "Anna"}):
        body = {"input": TEXT, "voice": voice}
        answer = client.post("/v1/audio/speech", json=body)
        assert record_of(client, answer)["profile_id"] == id
    for voice in ({}, {"name": "Anna"}, [], {"id": 5}, {"id": {"id": "Anna"}}, {"id": ["x"]}):
        answer = client.post("/v1/audio/speech", json={"input": TEXT, "voice": voice})
        assert answer.status_code == 422 and answer.json()["error"]["param"] == "voice"


def test_null_takes_the_default(client: TestClient, lab: VoiceLab) -> None:
    fields = client.get("/openapi.json").json()["components"]["schemas"]["SpeechBody"]
    nulls = {name: None for name in fields["properties"] if name != "input"}
    assert len(nulls) > 20
    for path in ("/v1/audio/speech", "/tts"):
        answer = client.post(path, json={"input": TEXT, **nulls})
        assert answer.headers["content-type"] == "audio/wav"
        assert not record_of(client, answer)["warnings"]


def test_an_empty_input_is_400_to_openais_clients(client: TestClient) -> None:
    for text in ("", " \n"):
        body = {"model": "tts-1", "voice": "alloy", "input": text}
        answer = client.post("/v1/audio/speech", json=body)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "input"
    assert client.get("/history").json()["total"] == 0


# What Kokoro-FastAPI's clients send.


def test_kokoros_fields_do_what_they_say(client: TestClient) -> None:
    body = {"model": "kokoro", "input": TEXT, "voice": "alloy", "engine": "espeak"}
    body |= {"response_format": "pcm", "seed": 1}
    plain = client.post("/v1/audio/speech", json={**body, "stream": False})
    assert int(plain.headers["content-length"]) == len(plain.content)
    live = client.post("/v1/audio/speech", json={**body, "stream": True})
    assert "content-length" not in live.headers
    assert abs(len(live.content) - len(plain.content)) < 100
    soft = client.post("/v1/audio/speech", json={**body, "volume_multiplier": 0.5})
    peaks = [np.abs(np.frombuffer(each.content, "<i2")).max() for each in (plain, soft)]
    assert peaks[1] == pytest.approx(peaks[0] / 2, rel=0.01)
    assert record_of(client, soft)["effects_chain"][0]["type"] == "gain"
    for code, language in (("b", "en-gb"), ("f", "fr"), ("p", "pt-br"), ("e", "es")):
        answer = client.post("/v1/audio/speech", json={**body, "lang_code": code})
        assert record_of(client, answer)["language"].startswith(language[:2])
    for bad in ({"volume_multiplier": 0}, {"volume_multiplier": 1e9}, {"lang_code": "klingon"}):
        answer = client.post("/v1/audio/speech", json={**body, **bad})
        assert answer.status_code == 422


def test_a_volume_comes_after_the_effects_of_the_voice(client: TestClient) -> None:
    chain = [{"type": "lowpass", "params": {}}]
    client.post("/profiles", json={"name": "Anna", "effects_chain": chain})
    body = {"input": TEXT, "voice": "Anna", "volume_multiplier": 2}
    record = record_of(client, client.post("/v1/audio/speech", json=body))
    assert [each["type"] for each in record["effects_chain"]] == ["lowpass", "gain"]


def test_foreign_voice_names_are_profiles_by_setting(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab(voice_aliases="alloy=Anna, AF_Heart = Default, ghost=Nobody")
    with TestClient(build(lab)) as client:
        anna = add_voice(client, tmp_path, "Anna")
        for name, id in (("Alloy", anna), ("af_heart", "default"), ("nova", "default")):
            answer = client.post("/v1/audio/speech", json={"input": TEXT, "voice": name})
            assert record_of(client, answer)["profile_id"] == id
        for name in ("ghost", "bf_emma", "af_bella+af_sky", "x" * 200):
            answer = client.post("/v1/audio/speech", json={"input": TEXT, "voice": name})
            assert answer.status_code == 404
            assert "Anna" in answer.json()["error"]["message"]
    for wrong in ("alloy", "alloy=", "=Anna", "a=b,c"):
        with pytest.raises(ValidationError, match="name=profile"):
            Settings(voice_aliases=wrong)


# SillyTavern's provider for the Chatterbox TTS Server.


def tavern(**changed: Any) -> dict[str, Any]:
    body = {"text": TEXT, "voice_mode": "predefined", "temperature": 0.8, "exaggeration": 0.5}
    body |= {"cfg_weight": 0.5, "seed": 1234, "speed_factor": 1.0, "language": "en"}
    body |= {"split_text": True, "chunk_size": 120, "output_format": "wav"}
    return {**body, "predefined_voice_id": "Default", **changed}


def test_sillytavern_lists_voices_and_speaks(client: TestClient, tmp_path: Path) -> None:
    id = add_voice(client, tmp_path, "Anna")
    voices = client.get("/get_predefined_voices").json()
    found = [(each["display_name"], each["voice_id"] or each["filename"]) for each in voices]
    assert found == [("Default", "Default"), ("Anna", "Anna")]
    assert client.get("/get_reference_files").json() == ["Anna.wav"]
    answer = client.post("/tts", json=tavern())
    assert answer.headers["content-type"] == "audio/wav"
    record = record_of(client, answer)
    assert record["seed"] == 1234 and record["parameters"]["max_chunk_chars"] == 120
    cloned = tavern(voice_mode="clone", reference_audio_filename="Anna.wav", output_format="opus")
    answer = client.post("/tts", json=cloned)
    assert answer.headers["content-type"].startswith("audio/ogg")
    assert record_of(client, answer)["profile_id"] == id


def test_the_other_servers_fields_do_what_they_say(client: TestClient) -> None:
    plain = record_of(client, client.post("/tts", json={"text": TEXT}))
    fast = record_of(client, client.post("/tts", json=tavern(speed_factor=2, seed=0)))
    assert fast["duration"] == pytest.approx(plain["duration"] / 2, abs=0.2)
    whole = record_of(
        client, client.post("/tts", json=tavern(text=f"{TEXT} " * 8, split_text=False))
    )
    assert whole["parameters"]["max_chunk_chars"] == 1000
    odd = record_of(client, client.post("/tts", json=tavern(exaggeration=0, chunk_size=50)))
    warnings = " ".join(odd["warnings"])
    assert "exaggeration is 0; 0.25" in warnings and "chunk_size is 50; 100" in warnings
    nulls = {"seed": None, "language": None, "speed_factor": None, "temperature": None}
    assert record_of(client, client.post("/tts", json=tavern(**nulls)))["language"] == "en"


@pytest.mark.parametrize(
    ("changed", "status", "param"),
    [
        ({"text": ""}, 422, "input"),
        ({"text": 5}, 422, "text"),
        ({"text": "x" * 1_000_000}, 400, "input"),
        ({"predefined_voice_id": "S1"}, 404, "voice"),
        ({"predefined_voice_id": "../../etc/passwd.wav"}, 404, "voice"),
        ({"predefined_voice_id": "x" * 1_000_000}, 422, "predefined_voice_id"),
        ({"voice_mode": "sung"}, 422, "voice_mode"),
        ({"output_format": "midi"}, 422, "output_format"),
        ({"chunk_size": 5}, 422, "chunk_size"),
        ({"speed_factor": 40}, 422, "speed_factor"),
        ({"seed": 2**64}, 422, "seed"),
        ({"language": "klingon"}, 422, "language"),
    ],
)
def test_a_bad_body_of_theirs_is_refused_in_a_sentence(
    client: TestClient, changed: dict[str, Any], status: int, param: str
) -> None:
    answer = client.post("/tts", json=tavern(**changed))
    assert answer.status_code == status and answer.json()["error"]["param"] == param
    assert len(answer.content) < 600
    assert client.get("/history").json()["total"] == 0


@pytest.mark.parametrize("content", [b"", b"junk", b"[]", b"5", b'"text"', b"null", b"\xff\xfe"])
@pytest.mark.parametrize("path", ["/tts", "/v1/audio/speech"])
def test_what_is_no_object_is_refused(client: TestClient, path: str, content: bytes) -> None:
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and "error" in answer.json()
    sent_as_file = client.post(path, files={"text": ("a.txt", content or b"x")})
    assert sent_as_file.status_code == 422 and "error" in sent_as_file.json()
    assert client.get("/history").json()["total"] == 0


def test_head_is_answered_wherever_get_is(client: TestClient, lab: VoiceLab) -> None:
    id = client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]
    paths = client.get("/openapi.json").json()["paths"]
    values = {"{id}": id, "{request_id}": lab.history.get(id)["request_id"]}
    tried = 0
    for path, methods in paths.items():
        if "get" not in methods or path.endswith("/status/stream"):  # which never ends for GET
            continue
        for name, value in values.items():
            path = path.replace(name, value)
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        tried += 1
    assert tried > 30
    assert client.head("/status/stream").status_code == 200
    assert client.head("/v1/audio/speech").status_code == 405
