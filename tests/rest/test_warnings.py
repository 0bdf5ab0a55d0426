"""Nothing that a client sends is dropped silently, and null or -1 is no value."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest.warnings import MAX_HEADER_BYTES, unknown_fields, warning_header

TEXT = "A short take."
UNKNOWN = "Unknown fields, not used: 'colour', 'mood'."


def header_warnings(answer) -> list[str]:
    return json.loads(answer.headers.get("x-warnings", "[]"))


@pytest.mark.parametrize("family", ["/v1/audio/speech", "/audio/speech/upload", "/tts/stream"])
def test_speech_says_what_of_a_request_it_does_not_use(client: TestClient, family: str) -> None:
    fields = {"input": TEXT, "mood": "sad", "colour": [1, {"a": None}], "exaggeration": 0.7}
    answer = client.post(family, json=fields)
    assert answer.status_code == 200
    record = client.get(f"/history/{answer.headers['x-generation-id']}").json()
    assert record["warnings"][0] == "Unknown fields, not used: 'mood', 'colour'."
    assert "exaggeration" in record["warnings"][1]
    assert header_warnings(answer) == record["warnings"]


def test_a_background_take_says_so_at_once(client: TestClient) -> None:
    answer = client.post("/generate", json={"text": TEXT, "colour": "blue", "mood": None})
    assert (
        answer.json()["warnings"]
        == header_warnings(answer)
        == ["Unknown fields, not used: 'colour'."]
    )
    plain = client.post("/generate", json={"text": TEXT})
    assert plain.json()["warnings"] == [] and "x-warnings" not in plain.headers


def test_another_reading_says_so(client: TestClient) -> None:
    made = client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]
    answer = client.post(f"/history/{made}/regenerate", json={"seed": 3, "colour": 1, "mood": 2})
    assert answer.json()["warnings"] == header_warnings(answer) == [UNKNOWN]


OPTIONAL = (
    *("voice", "model", "response_format", "speed", "stream_format", "profile_id", "store"),
    *("instructions", "language", "seed", "engine", "max_chunk_chars", "max_chunk_length"),
    *("crossfade_ms", "gap_ms", "normalize", "exaggeration", "cfg_weight", "temperature"),
    *("top_p", "min_p", "top_k", "repetition_penalty", "rate_wpm", "pitch", "pitch_range"),
    *("pitch_hz", "level", "effects_chain", "based_on"),
)


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/audio/speech/upload"])
def test_null_is_the_default_of_every_optional_field(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"input": TEXT, **dict.fromkeys(OPTIONAL)})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav" and header_warnings(answer) == []
    schema = client.get("/openapi.json").json()["components"]["schemas"]["SpeechBody"]
    for name in set(OPTIONAL) - {"max_chunk_length"}:
        assert {"type": "null"} in schema["properties"][name]["anyOf"], name
    assert client.post(path, json={"input": None}).status_code == 422


def test_the_seed_minus_one_is_drawn(client: TestClient, lab: VoiceLab) -> None:
    def seed(answer) -> int:
        return client.get(f"/history/{answer.headers['x-generation-id']}").json()["seed"]

    speech = {seed(client.post("/v1/audio/speech", json={"input": TEXT, "seed": -1}))}
    for _ in range(2):
        form = {"input": (None, TEXT), "seed": (None, "-1")}
        speech.add(seed(client.post("/v1/audio/speech/upload", files=form)))
    assert len(speech) == 3 and min(speech) >= 0
    id = client.post("/generate", json={"text": TEXT, "seed": -1}).json()["id"]
    assert client.get(f"/history/{id}").json()["seed"] >= 0
    base = lab.generate(TEXT, seed=7, progress=False).record
    again = lab.drain(lab.stream(GenerationRequest(TEXT, seed=-1, based_on=base["id"])))
    assert again["seed"] not in (-1, 7)
    assert lab.drain(lab.regenerate(base["id"], -1))["seed"] not in (-1, 7)
    assert client.post("/generate", json={"text": TEXT, "seed": -2}).status_code == 422


def test_a_header_of_warnings_is_ascii_and_short_whatever_was_sent() -> None:
    assert warning_header([]) == {}
    odd = "\udc80\x00\x7f\r\nX-Evil: 1 \u202e 🎙"
    for sentences in ([odd], [odd * 1000], [f"{n}: {odd}" for n in range(1000)]):
        (value,) = warning_header(sentences).values()
        assert value.isascii() and value.isprintable() and len(value) <= MAX_HEADER_BYTES
        assert isinstance(json.loads(value), list)
    assert json.loads(warning_header(["a", "b", "a"])["X-Warnings"]) == ["a", "b"]
    (sentence,) = unknown_fields("x" * 10**6 for _ in range(10_000))
    assert len(sentence) < 1000 and sentence.endswith("and 9990 more.")


def test_profiles_say_what_they_do_not_use_and_take_null_as_the_default(client: TestClient) -> None:
    nulls = dict.fromkeys(("description", "language", "default_engine", "effects_chain"))
    made = client.post("/profiles", json={"name": "Anna", "colour": 1, **nulls})
    assert made.status_code == 200 and made.json()["language"] == "en"
    assert (
        made.json()["warnings"] == header_warnings(made) == ["Unknown fields, not used: 'colour'."]
    )
    path = f"/profiles/{made.json()['id']}"
    client.put(path, json={"description": "She reads.", "default_engine": "tone"})
    changed = client.put(path, json={"default_engine": None, "name": None, "mood": 1})
    assert header_warnings(changed) == ["Unknown fields, not used: 'mood'."]
    body = client.get(path).json()
    assert (body["default_engine"], body["name"]) == (None, "Anna")
    assert body["description"] == "She reads." and "warnings" not in body


def test_null_is_the_default_of_effects_and_parameters(client: TestClient, lab: VoiceLab) -> None:
    take = lab.generate(TEXT, progress=False, pitch_hz=None).record  # type: ignore[arg-type]
    assert take["parameters"]["pitch_hz"] == 220 and take["warnings"] == []
    chain = [{"type": "reverb"}]
    body = {"effects_chain": chain, "label": None, "set_as_default": None}
    path = f"/generations/{take['id']}/versions/apply-effects"
    assert client.post(path, json=body).json()["is_default"] is True
    preset = {"name": "Hall", "effects_chain": chain, "description": None}
    assert client.post("/effects/presets", json=preset).json()["description"] == ""


def test_what_deletes_takes_no_field_that_it_does_not_know(client: TestClient) -> None:
    id = client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]
    answer = client.request("DELETE", "/history", json={"ids": [id], "dry_run": True})
    assert answer.status_code == 422 and client.get(f"/history/{id}").status_code == 200
