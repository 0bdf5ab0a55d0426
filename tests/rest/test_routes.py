"""The documented routes, asked as their clients ask."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from tests.conftest import (
    MakeLab,
    blocked_engine,
    samples,
    unblock_when_subscribed,
    wait_for,
    write_clip,
)
from tests.shape import is_envelope
from voicelab.audio.samples import wav_bytes
from voicelab.engines import CHATTERBOX_INFOS
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build

TEXT = "The fjord was quiet, and a single boat drew a line across it. Then even that was gone."


def speak(client: TestClient, text: str = TEXT, **fields: object):
    return client.post("/v1/audio/speech", json={"input": text, **fields})


IDLE = {"is_processing": False, "status": "idle", "message": "No active TTS requests"}


@pytest.mark.parametrize("path", ["/status", "/v1/status", "/processing", "/processing/status"])
def test_idle_status_has_every_key(client: TestClient, path: str) -> None:
    body = client.get(path).json()
    assert body["status"] == "idle" and body["message"] == "No active requests"
    assert body["total_requests"] == 0 and body["progress"] is None
    keys = "request_id start_time duration_seconds text_length text_preview voice_source parameters"
    assert all(body[key] is None for key in keys.split())


@pytest.mark.parametrize("path", ["/status/progress", "/v1/status/progress", "/progress"])
def test_idle_progress_is_exactly_the_documented_body(client: TestClient, path: str) -> None:
    assert client.get(path).json() == IDLE


@pytest.mark.parametrize("path", ["/status/statistics", "/v1/status/statistics", "/stats"])
def test_statistics_are_numbers_from_the_start(client: TestClient, path: str) -> None:
    body = client.get(path, params={"include_memory": True}).json()
    assert body["success_rate"] == 0.0 and body["average_duration_seconds"] == 0.0
    assert body["current_memory"]["cpu_memory_mb"] > 1


@pytest.mark.parametrize("path", ["/info", "/v1/info", "/api/info"])
def test_info(client: TestClient, path: str) -> None:
    body = client.get(path).json()
    assert body["api_name"] == "Chatterbox TTS API" and body["status"] == "operational"
    assert set(body["uptime_info"]) >= {"total_requests", "success_rate", "is_processing"}


def test_two_running_requests_are_both_told_and_the_older_is_shown(
    client: TestClient, lab: VoiceLab
) -> None:
    with blocked_engine(lab) as free:
        first = lab.submit(GenerationRequest(" ".join([TEXT] * 4)))
        lab.submit(GenerationRequest("A second one."))
        wait_for(lambda: client.get("/status").json()["status"] == "generating_audio")
        body = client.get(
            "/status?include_memory=true&include_history=true&include_stats=true"
        ).json()
        assert body["active_requests"] + body["queued_requests"] == 2
        assert body["request_id"] == first["request_id"] and len(body["request_id"]) == 8
        assert body["text_preview"].endswith("...") and len(body["text_preview"]) == 103
        documented = {"exaggeration": 0.5, "cfg_weight": 0.5, "temperature": 0.8}
        assert body["parameters"] == {**documented, "pitch_hz": 220.0, "level": 0.3}
        assert {"memory_info", "request_history", "statistics"} <= set(body)
        progress = client.get("/status/progress").json()
        assert progress["current_step"].startswith("Generating audio for chunk ")
        assert progress["progress_percentage"] < 100
        assert client.get(f"/status/{first['request_id']}").json()["is_processing"]
        assert client.post(f"/status/{first['request_id']}/cancel").status_code == 200
        free.set()
        wait_for(lambda: not client.get("/progress").json()["is_processing"])
        record = client.get(f"/status/{first['request_id']}").json()
        assert (record["status"], record["error_message"]) == ("error", "cancelled")
        assert client.post(f"/status/{first['request_id']}/cancel").status_code == 409


def test_request_history_is_kept_counted_and_cleared_on_confirmation(client: TestClient) -> None:
    for n in range(12):
        assert speak(client, f"Text number {n}.").status_code == 200
    body = client.get("/status/history").json()
    assert (len(body["request_history"]), body["total_records"], body["limit"]) == (10, 10, 10)
    assert body["request_history"][0]["text_preview"] == "Text number 11."
    assert client.get("/status/history?limit=50").json()["total_records"] == 12
    assert "warning" in client.post("/status/history/clear").json()
    assert client.post("/status/history/clear?confirm=true").json()["success"] is True
    assert client.get("/status/history").json()["request_history"] == []
    assert client.get("/stats").json()["total_requests"] == 12


@pytest.mark.parametrize(
    "path",
    [
        "/status?history_limit=21",
        "/status?include_memory=perhaps",
        "/status/history?limit=0",
        "/status/history?limit=51",
        "/history?limit=0",
        "/history?limit=501",
        "/history?offset=-1",
        "/history?min_duration=nan",
        "/history?sort=drop",
        "/history?status=gone",
    ],
)
def test_a_bad_query_is_400_and_names_it(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400 and is_envelope(answer)
    assert answer.json()["error"]["param"] in path


@pytest.mark.parametrize(
    "path",
    [
        "/history/none",
        "/audio/none",
        "/status/none",
        "/nonsense",
        "/history/..%2f..%2fetc",
        "/audio/version/x",
    ],
)
def test_what_is_not_there_is_404_in_the_envelope(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and is_envelope(answer)


def test_a_wrong_method_is_405_in_the_envelope(client: TestClient) -> None:
    answer = client.put("/status")
    assert answer.status_code == 405 and is_envelope(answer)


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/audio/speech", "/tts"])
def test_speech_is_a_whole_wav_that_is_in_the_history(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"input": TEXT, "voice": "alloy", "model": "tts-1"})
    assert answer.headers["content-type"] == "audio/wav"
    assert int(answer.headers["content-length"]) == len(answer.content)
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    record = client.get(f"/history/{answer.headers['x-generation-id']}").json()
    assert record["duration"] == pytest.approx(len(samples) / rate, abs=1e-3)
    assert client.get(f"/audio/{record['id']}").content == answer.content
    assert answer.headers["x-request-id"] == record["request_id"]


@pytest.mark.parametrize("name", ["mp3", "flac", "opus", "ogg", "aac", "pcm"])
def test_formats_have_their_own_content_type(client: TestClient, name: str) -> None:
    answer = speak(client, response_format=name)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(("audio/", "application/octet-stream"))
    id = answer.headers["x-generation-id"]
    export = client.get(f"/history/{id}/export-audio?format={name}")
    assert export.headers["content-type"] == answer.headers["content-type"]
    assert f".{name}" in export.headers["content-disposition"]


def test_store_false_keeps_nothing(client: TestClient, lab: VoiceLab) -> None:
    assert len(speak(client, store=False).content) > 1000
    assert client.get("/history").json()["total"] == 0
    assert client.get("/stats").json()["completed_requests"] == 1
    assert not list((lab.library.files.root).glob("generations/*"))


def events(content: str) -> list[dict]:
    return [json.loads(line[6:]) for line in content.splitlines() if line.startswith("data: ")]


def test_sse_deltas_are_the_stored_samples(client: TestClient) -> None:
    answer = speak(client, stream_format="sse")
    kinds = events(answer.text)
    assert kinds[0] == {
        "type": "speech.audio.info",
        "sample_rate": 24_000,
        "channels": 1,
        "bits_per_sample": 16,
    }
    pcm = b"".join(base64.b64decode(e["audio"]) for e in kinds if e["type"].endswith("delta"))
    assert kinds[-1]["type"] == "speech.audio.done" and "total_tokens" in kinds[-1]["usage"]
    stored = client.get(f"/audio/{kinds[-1]['generation_id']}").content
    assert samples(stored) == pcm


def test_a_failure_in_a_stream_is_an_event(make_lab: MakeLab) -> None:
    with TestClient(build(make_lab(tone_fail_on="boat"))) as client:
        kinds = events(speak(client, stream_format="sse").text)
    assert kinds[-1]["type"] == "error" and "boat" in kinds[-1]["error"]["message"]


def test_the_wav_stream_is_a_header_and_the_stored_samples(client: TestClient) -> None:
    answer = client.post("/v1/audio/speech/stream", json={"input": TEXT})
    assert answer.content[:4] == b"RIFF"
    stored = client.get(f"/audio/{answer.headers['x-generation-id']}").content
    assert samples(answer.content) == samples(stored)


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input": ""}, 422, "input"),
        ({"input": "   "}, 422, "input"),
        ({"input": "a\x00b"}, 422, "input"),
        ({"input": "x" * 100_001}, 400, "input"),
        ({"input": 5}, 422, "input"),
        ({"input": "Hi.", "seed": 2**80}, 422, "seed"),
        ({"input": "Hi.", "seed": -2}, 422, "seed"),
        ({"input": "Hi.", "speed": 9}, 422, "speed"),
        ({"input": "Hi.", "exaggeration": 0.1}, 422, "exaggeration"),
        ({"input": "Hi.", "response_format": "midi"}, 422, "response_format"),
        ({"input": "Hi.", "voice": "Nobody"}, 404, "voice"),
        ({"input": "Hi.", "engine": "none"}, 422, "engine"),
        ({}, 422, "input"),
    ],
)
def test_bad_speech_is_refused_before_anything_is_kept(client, fields, status, param) -> None:
    answer = client.post("/v1/audio/speech", json=fields)
    assert answer.status_code == status and is_envelope(answer)
    assert answer.json()["error"]["param"] == param
    assert len(answer.text) < 600
    assert client.get("/history").json()["total"] == 0


@pytest.mark.parametrize(
    "body", [b'{"input": "\\ud800 lone"}', b"not json", b'{"input": "Hi.", "speed": NaN}', b"[]"]
)
def test_a_body_that_is_no_json_text_is_422(client: TestClient, body: bytes) -> None:
    answer = client.post(
        "/v1/audio/speech", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422 and is_envelope(answer)


def test_a_voice_clip_changes_the_voice(client: TestClient, voice: Path) -> None:
    plain = speak(client, "Hello.", seed=1).content
    with voice.open("rb") as file:
        answer = client.post(
            "/v1/audio/speech/upload",
            data={"input": "Hello.", "seed": "1"},
            files={"voice_file": ("me.wav", file, "audio/wav")},
        )
    assert answer.status_code == 200 and answer.content != plain
    record = client.get(f"/history/{answer.headers['x-generation-id']}").json()
    assert record["voice_source"] == "uploaded file"
    assert client.post("/v1/audio/speech/upload", json={"input": "Hello."}).status_code == 200


@pytest.mark.parametrize("kind", ["text", "short", "silent", "empty"])
def test_a_bad_clip_is_422_with_the_reason(client: TestClient, tmp_path: Path, kind: str) -> None:
    contents = {
        "text": b"not audio at all" * 99,
        "empty": b"",
        "short": write_clip(tmp_path / "s.wav", 0.2).read_bytes(),
        "silent": write_clip(tmp_path / "q.wav", 4, level=0).read_bytes(),
    }
    answer = client.post(
        "/v1/audio/speech/upload",
        data={"input": "Hello."},
        files={"voice_file": ("x.wav", contents[kind])},
    )
    assert answer.status_code == 422 and answer.json()["error"]["type"] == "invalid_voice_clip"
    assert client.get("/history").json()["total"] == 0


def test_generate_answers_at_once_and_tells_of_its_end(client: TestClient, lab: VoiceLab) -> None:
    with blocked_engine(lab) as free:
        record = client.post("/generate", json={"text": TEXT, "profile_id": "default"}).json()
        assert record["status"] == "pending"
        assert client.get(f"/audio/{record['id']}").status_code == 404
        unblock_when_subscribed(lab, free)
        updates = events(client.get(f"/generate/{record['id']}/status").text)
        assert updates[-1]["status"] == "completed"
        assert client.post(f"/generate/{record['id']}/cancel").status_code == 409


def test_history_serves_clients_of_both_servers(client: TestClient) -> None:
    speak(client)
    body = client.get("/history?limit=5").json()
    assert body["total"] == 1 and body["items"][0]["profile_name"] == "Default"
    assert body["total_records"] == 1 and body["limit"] == 5
    assert body["request_history"][0]["generation_id"] == body["items"][0]["id"]


def test_filters_pages_favourite_tags_and_deletion(client: TestClient, lab: VoiceLab) -> None:
    ids = [speak(client, f"Take number {n}.").headers["x-generation-id"] for n in range(5)]
    assert client.get("/history?limit=2&offset=1").json()["items"][0]["id"] == ids[3]
    assert client.post(f"/history/{ids[0]}/favorite").json() == {"is_favorited": True}
    assert client.get("/history?favorite=true").json()["total"] == 1
    changed = client.patch(f"/history/{ids[1]}", json={"tags": ["a", "a", " b "]}).json()
    assert changed["tags"] == ["a", "b"]
    assert client.get("/history?tag=b").json()["total"] == 1
    assert client.patch(f"/history/{ids[1]}", json={"seed": 1}).status_code == 422
    path = lab.library.audio_path(ids[0])
    assert "message" in client.delete(f"/history/{ids[0]}").json()
    assert not path.exists() and client.delete(f"/history/{ids[0]}").status_code == 404
    assert client.delete("/history").status_code == 422
    assert client.request("DELETE", "/history", json={"ids": ids[1:3]}).json() == {"deleted": 2}
    assert client.delete("/history?search=number&confirm=true").json() == {"deleted": 2}
    assert client.get("/history/stats").json()["total_generations"] == 0
    assert client.delete("/history/failed").json() == {"deleted": 0}


def test_audio_answers_ranges_and_head(client: TestClient) -> None:
    id = speak(client).headers["x-generation-id"]
    part = client.get(f"/audio/{id}", headers={"Range": "bytes=0-43"})
    assert part.status_code == 206 and len(part.content) == 44
    head = client.head(f"/audio/{id}")
    assert head.headers["etag"] and not head.content
    assert head.headers["x-content-type-options"] == "nosniff"
    version = client.get(f"/history/{id}").json()["versions"][0]["id"]
    assert client.get(f"/audio/version/{version}").status_code == 200


def test_a_download_is_named_in_any_script(client: TestClient) -> None:
    id = speak(client, '日本語 "x"\n.').headers["x-generation-id"]
    name = client.get(f"/history/{id}/export-audio").headers["content-disposition"]
    assert "filename*=UTF-8''%E6%97%A5" in name and "\n" not in name


FIXTURES = {
    "generation_single": (1, 42, "Synthetic Voice"),
    "generation_versions": (4, 7, "Synthetic Voice"),
    "generation_retry_no_versions": (1, None, "Synthetic Voice"),
    "generation_imported_audio": (1, None, "Imported Audio"),
}


def archive(manifest: object, audio: bytes | None = None, name: str = "audio/a.wav") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps(manifest))
        file.writestr(name, audio or wav_bytes(np.ones(2400, np.int16), 24_000))
    return sink.getvalue()


def send(client: TestClient, content: bytes):
    return client.post("/history/import", files={"file": ("a.zip", content, "application/zip")})


def test_a_take_exported_and_imported_is_the_same_take(client: TestClient) -> None:
    id = speak(client, "Ünïcode — 日本語 text.", seed=7).headers["x-generation-id"]
    client.post(f"/history/{id}/favorite")
    answer = client.get(f"/history/{id}/export")
    assert ".voicebox.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        assert file.namelist()[0] == "manifest.json"
    new = client.get(f"/history/{send(client, answer.content).json()['id']}").json()
    old = client.get(f"/history/{id}").json()
    for key in ("text", "seed", "engine", "parameters", "is_favorited", "chunks", "profile_id"):
        assert new[key] == old[key]
    assert samples(client.get(f"/audio/{new['id']}").content) == samples(
        client.get(f"/audio/{id}").content
    )


def test_the_page_layout_is_read_too(client: TestClient) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("generation.json", json.dumps({"text": "Hello", "seed": 3}))
        file.writestr("audio.wav", wav_bytes(np.ones(2400, np.int16), 24_000))
    assert send(client, sink.getvalue()).status_code == 200


GOOD = {"version": "1.0", "generation": {"text": "Hi", "seed": 1}, "versions": []}


def with_field(**fields: object) -> bytes:
    return archive({**GOOD, "generation": {**GOOD["generation"], **fields}})


def bomb() -> bytes:
    return archive(GOOD, b"\0" * 30_000_000)


HOSTILE = {
    "junk": b"junk" * 100,
    "empty": b"",
    "truncated": archive(GOOD)[:-40],
    "no manifest": archive(GOOD).replace(b"manifest.json", b"manifest.jsoM"),
    "traversal": archive(GOOD, name="../../evil.wav"),
    "absolute": archive(GOOD, name="/etc/evil.wav"),
    "bomb": bomb(),
    "junk audio": archive(GOOD, b"not audio"),
    "seed text": with_field(seed="abc"),
    "seed huge": with_field(seed=2**80),
    "text number": with_field(text=5),
    "text NUL": with_field(text="a\x00b"),
    "text empty": with_field(text=""),
    "duration NaN": with_field(duration=float("nan")),
    "favourite text": with_field(is_favorited="yes"),
    "manifest list": archive([]),
    "missing audio": archive({**GOOD, "versions": [{"filename": "other.wav"}]}),
    "newer format": archive({**GOOD, "version": "9.0"}),
    "wrong hash": archive({**GOOD, "versions": [{"filename": "a.wav", "sha256": "0" * 64}]}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(client, lab, name: str) -> None:
    answer = send(client, HOSTILE[name])
    assert answer.status_code in (400, 413) and is_envelope(answer)
    assert client.get("/history").json()["total"] == 0
    assert not list(lab.library.files.root.glob("generations/*"))


def test_an_encrypted_archive_and_one_of_too_many_entries_are_refused(client: TestClient) -> None:
    content = bytearray(archive(GOOD))
    at = content.rindex(b"PK\x01\x02")
    content[at + 8] |= 1
    assert send(client, bytes(content)).status_code == 400
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for n in range(201):
            file.writestr(f"{n}.wav", b"")
    assert send(client, sink.getvalue()).status_code == 413


def test_the_catalogue(client: TestClient) -> None:
    assert client.get("/v1/models").json()["data"][0]["id"] == "tone"
    assert client.get("/voices").json()["voices"][0]["name"] == "Default"
    assert client.get("/v1/audio/voices").json()["data"][0]["id"] == "default"
    engines = {engine["name"]: engine for engine in client.get("/engines").json()}
    assert set(engines) >= {"espeak", *CHATTERBOX_INFOS}
    assert engines["chatterbox-pt-br"]["languages"] == {"pt": "Portuguese (Brazil)"}
    assert engines["espeak"]["download_mb"] == 0
    assert engines["chatterbox"]["parameters"][0]["name"] == "exaggeration"
    assert client.get("/languages").json()["count"] > 0
    assert client.get("/v1/config").json()["max_text"] == 100_000
    assert client.get("/health").json()["status"] in ("starting", "healthy")
    assert "voicelab_total_requests 0.0" in client.get("/metrics").text
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 200


def test_a_key_guards_every_route_but_health(make_lab: MakeLab) -> None:
    with TestClient(build(make_lab(api_key="secret", auth="ann:pw"))) as client:
        assert client.get("/health").status_code == 200
        answer = client.get("/status")
        assert answer.status_code == 401 and is_envelope(answer)
        for wrong in ("Bearer nope", "Basic !!!", "Bearer", "Basic YW5uOm5v"):
            assert client.get("/status", headers={"Authorization": wrong}).status_code == 401
        good = {"Authorization": "Bearer secret"}
        assert client.get("/status", headers=good).status_code == 200
        assert client.get("/status", auth=("ann", "pw")).status_code == 200


def test_another_sites_page_changes_nothing(client: TestClient) -> None:
    evil = {"Origin": "https://evil.example"}
    answer = client.post("/v1/audio/speech", json={"input": "Hi."}, headers=evil)
    assert answer.status_code == 403 and is_envelope(answer)
    own = {"Origin": "http://testserver"}
    assert client.post("/v1/audio/speech", json={"input": "Hi."}, headers=own).status_code == 200


def test_an_open_server_deletes_nothing(make_lab: MakeLab) -> None:
    with TestClient(build(make_lab(host="0.0.0.0"))) as client:
        id = speak(client).headers["x-generation-id"]
        assert client.delete(f"/history/{id}").status_code == 403
        assert client.post("/status/history/clear?confirm=true").status_code == 403
        paths = client.get("/openapi.json").json()["paths"]
        deleting = [path for path, methods in paths.items() if "delete" in methods]
        assert len(deleting) == 15
        for path in deleting:
            assert client.delete(re.sub(r"{\w+}", "x", path)).status_code == 403, path


def test_a_number_beyond_64_bits_in_an_archive_does_no_harm(client: TestClient) -> None:
    for number in (2**64 - 1, 2**64, -(2**80)):
        content = with_field(parameters={"level": number})
        assert send(client, content).status_code == 200
    assert client.get("/history").json()["total"] == 3


def test_more_bytes_than_allowed_are_refused_however_they_are_sent(make_lab: MakeLab) -> None:
    lab = make_lab(max_upload_mb=1)
    blocks = [b" " * 65_536] * 32
    with TestClient(build(lab)) as client:
        for content in (b"".join(blocks), iter(blocks)):
            answer = client.post(
                "/v1/audio/speech", content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 413 and is_envelope(answer)
