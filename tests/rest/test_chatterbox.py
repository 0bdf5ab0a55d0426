"""The Chatterbox TTS API's other routes, with the requests its own page and tests send."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from fastapi.testclient import TestClient

import voicelab.rest.dialects.chatterbox.memory as memory_routes
from tests.conftest import blocked_engine, samples, wait_for, write_clip
from tests.shape import is_envelope
from voicelab.lab import VoiceLab

TEXT = "The fjord was quiet, and a single boat drew a line across it. Then even that was gone."


@pytest.mark.parametrize("name", ["a/b", "../x", "a\\b", "all-names"])
def test_a_name_that_no_address_can_hold_is_refused(
    client: TestClient, voice: Path, name: str
) -> None:
    assert uploaded(client, voice, name).status_code == 422
    assert uploaded(client, voice, "Anna").status_code == 201
    assert client.put("/voices/Anna", data={"new_name": name}).status_code == 422
    assert client.post("/voices/Anna/aliases", data={"alias": name}).status_code == 422
    assert client.get("/voices/all-names").json()["voice_names"] == ["Default", "Anna"]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_memory_page_has_what_it_polls(client: TestClient, prefix: str) -> None:
    assert client.get(f"{prefix}/ping").json() == {"status": "ok", "message": "Server is running"}
    body = client.get(f"{prefix}/memory?include_alerts=true").json()
    assert body["memory_info"]["cpu_memory_mb"] > 1
    assert body["memory_info"]["gpu_memory_max_allocated_mb"] >= 0
    assert body["request_counter"] == 0 and body["cleanup_performed"] is False
    assert body["alerts"] == {"has_alerts": False, "alert_count": 0, "alerts": []}
    config = client.get(f"{prefix}/memory/config").json()
    assert config["alert_thresholds"] == {"cpu_memory_percent": 85.0, "gpu_memory_mb": 8192.0}
    assert config["config"]["max_total_length"] == 100_000
    advice = client.get(f"{prefix}/memory/recommendations").json()
    assert advice["recommendations"] == [] and advice["has_critical_issues"] is False


def test_requests_are_counted_since_the_last_reset(client: TestClient) -> None:
    for count in (1, 2):
        client.post("/v1/audio/speech", json={"input": TEXT, "voice": "alloy"})
        assert client.get("/memory").json()["request_counter"] == count
    refused = client.post("/memory/reset")
    assert refused.status_code == 422 and is_envelope(refused)
    assert client.get("/memory").json()["request_counter"] == 2
    done = client.post("/memory/reset?confirm=true").json()
    assert done["status"] == "reset" and done["previous_request_counter"] == 2
    assert client.get("/memory").json()["request_counter"] == 0
    assert client.get("/status/statistics").json()["total_requests"] == 2


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Garbage stays until somebody asks for it to be collected."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_cleanup_collects_what_nobody_holds(client: TestClient, no_collector: None) -> None:
    for _ in range(100):
        cycle: list = []
        cycle.append(cycle)
    del cycle
    done = client.get("/memory?cleanup=true&force_cuda_clear=true").json()
    assert done["cleanup_performed"] and done["collected_objects"] >= 99
    assert done["memory_info_after_cleanup"]["cpu_memory_mb"] > 1


def test_thresholds_are_set_and_crossed(client: TestClient, monkeypatch) -> None:
    changed = client.post("/memory/config?cpu_memory_percent=50&gpu_memory_mb=2048").json()
    assert changed["old_thresholds"]["gpu_memory_mb"] == 8192
    assert changed["new_thresholds"] == {"cpu_memory_percent": 50, "gpu_memory_mb": 2048}
    used = memory_routes.memory_info() | {
        "cpu_memory_percent": 61.0,
        "gpu_memory_allocated_mb": 2049.0,
    }
    monkeypatch.setattr(memory_routes, "memory_info", lambda: used)
    alerts = client.get("/memory").json()["alerts"]
    assert [alert["type"] for alert in alerts["alerts"]] == ["cpu_memory_high", "gpu_memory_high"]
    assert "alerts" not in client.get("/memory?include_alerts=false").json()
    assert client.get("/memory/recommendations").json()["has_critical_issues"] is True


@pytest.mark.parametrize(
    "query", ["cpu_memory_percent=5", "cpu_memory_percent=nan", "gpu_memory_mb=x" * 2]
)
def test_a_bad_threshold_is_refused_and_changes_nothing(client: TestClient, query: str) -> None:
    before = client.get("/memory/config").json()
    refused = client.post(f"/memory/config?{query}")
    assert refused.status_code == 400 and is_envelope(refused)
    assert client.get("/memory/config").json() == before


def uploaded(client: TestClient, voice: Path, name: str, **fields: str):
    files = {"voice_file": ("sample.wav", voice.read_bytes(), "audio/mpeg")}
    return client.post("/v1/voices", data={"voice_name": name, **fields}, files=files)


def test_a_voice_is_uploaded_used_renamed_and_deleted(client: TestClient, voice: Path) -> None:
    made = uploaded(client, voice, "test_voice", language="de")
    assert made.status_code == 201
    assert made.json()["voice"]["name"] == "test_voice" and made.json()["voice"]["language"] == "de"
    taken = uploaded(client, voice, "test_voice")
    assert taken.status_code == 409 and is_envelope(taken)
    (item,) = [v for v in client.get("/v1/voices").json()["voices"] if v["name"] == "test_voice"]
    assert item["filename"] == "test_voice.wav" and item["upload_date"].endswith("Z")
    assert item["aliases"] == [] and item["exists"] is True
    info = client.get("/v1/voices/test_voice").json()["voice"]
    assert {key: item[key] for key in info} == info
    content = client.get("/voices/test_voice/download").content
    assert len(content) == item["file_size"] and soundfile.info(io.BytesIO(content)).frames > 48_000

    body = {"input": TEXT, "voice": "test_voice", "exaggeration": 0.6, "temperature": 0.8}
    take = client.post("/v1/audio/speech", json=body).headers["x-generation-id"]
    renamed = client.put("/v1/voices/test_voice", data={"new_name": "renamed"}).json()
    assert (renamed["old_name"], renamed["new_name"]) == ("test_voice", "renamed")
    gone = client.delete("/v1/voices/renamed").json()
    assert gone["voice_name"] == "renamed" and gone["moved"] == 1
    assert client.get(f"/history/{take}").json()["profile_name"] == "Unassigned"
    missing = client.post("/v1/audio/speech", json={"input": TEXT, "voice": "renamed"})
    assert missing.status_code == 404 and "Default" in missing.json()["error"]["message"]


def test_an_alias_is_a_name_like_another(client: TestClient, voice: Path) -> None:
    uploaded(client, voice, "Anna")
    url = "/voices/Anna/aliases"
    added = client.post(url, data={"alias": "narrator"})
    assert added.status_code == 201 and added.json()["aliases"] == ["narrator"]
    assert client.get("/voices/narrator").json()["voice"]["name"] == "Anna"
    assert client.get("/voices/all-names").json()["voice_names"] == ["Default", "Anna", "narrator"]
    spoken = client.post("/v1/audio/speech", json={"input": TEXT, "voice": "Narrator"})
    record = client.get(f"/history/{spoken.headers['x-generation-id']}").json()
    assert record["profile_name"] == "Anna"
    for alias, code in (
        *(("narrator", 409), ("Anna", 409), ("alloy", 409), ("default", 409), ("", 422)),
        *(("x" * 101, 422), ("a\x00b", 422), ("x" * 1_000_000, 422)),
    ):
        answer = client.post(url, data={"alias": alias})
        assert answer.status_code == code and is_envelope(answer), alias[:20]
    assert client.post("/profiles", json={"name": "narrator"}).status_code == 409
    assert client.delete(f"{url}/none").status_code == 404
    assert client.delete(f"{url}/narrator").json()["count"] == 0
    assert client.get("/voices/narrator").status_code == 404


def test_names_that_differ_in_case_only_are_two_voices(client: TestClient, voice: Path) -> None:
    for name in ("Anna", "anna"):
        assert uploaded(client, voice, name).status_code == 201
    for name in ("Anna", "anna"):
        assert client.get(f"/voices/{name}").json()["voice"]["name"] == name
    assert client.get("/voices/ANNA").json()["voice"]["name"].casefold() == "anna"
    assert uploaded(client, voice, "default").status_code == 409


def test_the_default_voice_is_chosen_kept_and_reset(
    client: TestClient, lab: VoiceLab, voice: Path
) -> None:
    def spoken(**fields: str) -> str:
        take = client.post("/v1/audio/speech", json={"input": TEXT, **fields})
        return client.get(f"/history/{take.headers['x-generation-id']}").json()["profile_name"]

    assert client.get("/voices/default").json()["default_voice"] is None
    uploaded(client, voice, "Anna")
    chosen = client.post("/voices/default", data={"voice_name": "Anna"}).json()
    assert chosen["default_voice"] == "Anna" and chosen["voice_info"]["file_size"] > 90_000
    assert client.get("/v1/voices/default").json()["source"] == "voice_library"
    assert client.get("/voices").json()["default_voice"] == "Anna"
    assert spoken() == spoken(voice="alloy") == "Anna"
    assert spoken(voice="default") == "Default"
    missing = client.post("/voices/default", data={"voice_name": "nobody"})
    assert missing.status_code == 404 and is_envelope(missing)
    assert spoken() == "Anna"
    assert client.delete("/voices/default").json()["default_voice"] is None
    assert spoken() == "Default"
    client.post("/voices/default", data={"voice_name": "Anna"})
    client.delete("/voices/Anna")
    assert client.get("/voices/default").json()["default_voice"] is None


def test_a_refused_voice_leaves_nothing(
    client: TestClient, lab: VoiceLab, voice: Path, tmp_path: Path
) -> None:
    short = write_clip(tmp_path / "short.wav", 0.5)
    for answer, code in (
        (uploaded(client, short, "Anna"), 422),
        (uploaded(client, voice, "Anna", language="xx"), 422),
        (uploaded(client, voice, ""), 422),
        (uploaded(client, voice, "alloy"), 409),
        (uploaded(client, voice, "x" * 1_000_000), 422),
        (client.post("/voices", data={"voice_name": "Anna"}), 422),
        (client.post("/voices", json={"voice_name": "Anna"}), 422),
        (client.post("/voices", content=b"\xff" * 1000), 422),
        (client.post("/voices", data={"voice_name": "A"}, files={"voice_file": b""}), 422),
        (client.post("/voices", data={"voice_name": "A"}, files={"voice_file": b"junk"}), 422),
        (client.put("/voices/Default", data={"new_name": "\u202e" * 101}), 422),
        (client.put("/voices/nobody", data={"new_name": "B"}), 404),
        (client.delete("/voices/Default"), 400),
        (client.get("/voices/Default/download"), 404),
        (client.get("/voices/nobody/aliases"), 404),
    ):
        assert answer.status_code == code and is_envelope(answer), answer.request.url
    assert [profile["name"] for profile in lab.library.profiles.list()] == ["Default"]
    folder = lab.library.files.root / "profiles"
    assert not folder.exists() or not list(folder.iterdir())


def test_languages_say_what_kind_of_model_there_is(client: TestClient) -> None:
    body = client.get("/languages").json()
    assert body["count"] == len(body["languages"])
    assert body["model_type"] in ("standard", "multilingual")


def test_the_status_has_the_documented_parameters_on_every_engine(
    client: TestClient, lab: VoiceLab
) -> None:
    with blocked_engine(lab) as free:
        body = {"text": TEXT, "exaggeration": 0.7}
        take = client.post("/generate", json=body).json()
        status = client.get("/status").json()
        free.set()
    expected = {"exaggeration": 0.7, "cfg_weight": 0.5, "temperature": 0.8}
    assert expected.items() <= status["parameters"].items()
    assert "pitch_hz" in status["parameters"] and "speed" not in status["parameters"]
    wait_for(lambda: client.get(f"/history/{take['id']}").json()["status"] == "completed")
    (logged,) = client.get("/status/history").json()["request_history"]
    assert logged["parameters"] == status["parameters"]
    # The record has what the engine used, and a warning for what it did not.
    record = client.get(f"/history/{take['id']}").json()
    assert "exaggeration" not in record["parameters"] and "exaggeration" in record["warnings"][0]


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/audio/speech", "/tts"])
def test_a_stream_speaks_like_an_uploaded_clip(
    client: TestClient, lab: VoiceLab, voice: Path, path: str
) -> None:
    files = {"voice_file": ("sample.wav", voice.read_bytes(), "audio/wav")}
    fields = {"input": TEXT, "voice": "alloy", "exaggeration": "0.5", "session_id": "s1"}
    fields |= {"streaming_chunk_size": "200", "streaming_strategy": "sentence"}
    answer = client.post(f"{path}/stream/upload", data=fields, files=files)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    record = client.get(f"/history/{answer.headers['x-generation-id']}").json()
    assert record["voice_source"] == "uploaded file" and record["clip"]
    assert samples(answer.content) == samples(client.get(f"/audio/{record['id']}").content)
    for bad, code in (({"input": ""}, 422), ({"input": TEXT, "exaggeration": "5"}, 422)):
        refused = client.post(f"{path}/stream/upload", data=bad, files=files)
        assert refused.status_code == code and is_envelope(refused)
    assert client.get("/history").json()["total"] == 1
