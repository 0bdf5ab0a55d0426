"""The voice studio's page: the bodies it sends, and what it reads in the answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.conftest import blocked_engine, wait_for, write_clip
from tests.shape import is_envelope
from voicelab.lab import VoiceLab

TEXT = "The fjord was quiet, and a single boat drew a line across it. Then even that was gone."
GAIN = [{"type": "gain", "enabled": True, "params": {"gain_db": -6.0}}]
GENERATE = {
    "profile_id": "default",
    "text": TEXT,
    "language": "en",
    "model_size": "1.7B",
    "max_chunk_chars": 800,
    "crossfade_ms": 50,
    "normalize": True,
}


def generate(client: TestClient, **fields: object) -> dict:
    answer = client.post("/generate", json={**GENERATE, **fields})
    assert answer.status_code == 200, answer.text
    url = f"/history/{answer.json()['id']}"
    wait_for(lambda: client.get(url).json()["status"] == "completed")
    return client.get(url).json()


@pytest.fixture
def story(client: TestClient) -> str:
    return client.post("/stories", json={"name": "A story", "description": None}).json()["id"]


def test_the_studios_items_have_what_its_page_reads(client: TestClient, story: str) -> None:
    take = generate(client, seed=7, instruct="softly")
    body = {"generation_id": take["id"], "track": -1}
    item = client.post(f"/stories/{story}/items", json=body).json()
    assert item["track"] == -1 and item["language"] == "en" and item["instruct"] == "softly"
    assert item["seed"] == 7 and item["generation_created_at"] == take["created_at"]
    assert item["duration"] == pytest.approx(take["duration"], abs=0.001)
    assert item["audio_path"] == take["audio_path"]
    assert item["active_version_id"] == take["active_version_id"]
    (version,) = item["versions"]
    assert version["id"] == take["active_version_id"] and version["is_default"]
    assert client.get(f"/stories/{story}").json()["items"][0]["versions"] == [version]
    move = {"start_time_ms": 500, "track": -2}
    moved = client.put(f"/stories/{story}/items/{item['id']}/move", json=move).json()
    assert (moved["start_time_ms"], moved["track"]) == (500, -2)
    assert client.get(f"/stories/{story}/export-audio").status_code == 200


def test_a_list_shows_the_versions_of_each_take(client: TestClient) -> None:
    take = generate(client)
    chain = {"effects_chain": GAIN}
    client.post(f"/generations/{take['id']}/versions/apply-effects", json=chain)
    other = generate(client, text="Another one.")
    rows = {row["id"]: row for row in client.get("/history?limit=20").json()["items"]}
    assert [v["label"] for v in rows[take["id"]]["versions"]] == ["original", "Gain"]
    assert [v["is_default"] for v in rows[take["id"]]["versions"]] == [False, True]
    assert rows[take["id"]]["versions"][1]["effects_chain"] == GAIN
    assert len(rows[other["id"]]["versions"]) == 1


def test_takes_name_the_items_to_reorder_and_to_move(client: TestClient, story: str) -> None:
    first, second = generate(client)["id"], generate(client, text="Another one.")["id"]
    url = f"/stories/{story}/items"
    for take in (first, second):
        client.post(url, json={"generation_id": take, "track": 0})
    items = client.put(f"{url}/reorder", json={"generation_ids": [second, first]}).json()
    assert [item["generation_id"] for item in items] == [second, first]
    assert items[0]["start_time_ms"] == 0
    assert items[1]["start_time_ms"] == items[0]["duration_ms"] + 200

    def starts() -> dict[str, int]:
        listed = client.get(f"/stories/{story}").json()["items"]
        return {item["id"]: item["start_time_ms"] for item in listed}

    times = [(first, 100), (second, 9000)]
    updates = [{"generation_id": take, "start_time_ms": at} for take, at in times]
    assert client.put(f"{url}/times", json={"updates": updates}).status_code == 200
    assert sorted(starts().values()) == [100, 9000]

    # A take that stands twice: its items stay together, or are named one by one.
    client.post(url, json={"generation_id": first, "track": 1})
    items = client.put(f"{url}/reorder", json={"generation_ids": [first, second]}).json()
    assert [item["generation_id"] for item in items] == [first, first, second]
    items = client.put(f"{url}/reorder", json={"generation_ids": [first, second, first]}).json()
    assert [item["generation_id"] for item in items] == [first, second, first]
    before = starts()
    for path, body in (
        ("reorder", {"generation_ids": [first]}),
        ("reorder", {"generation_ids": [first, second, second]}),
        ("reorder", {"generation_ids": [first, second, "none"]}),
        ("reorder", {"generation_ids": []}),
        ("reorder", {}),
        ("reorder", {"generation_ids": "x" * 1_000_000}),
        ("times", {"updates": [updates[0]]}),
        ("times", {"updates": [updates[1], {"generation_id": "none", "start_time_ms": 1}]}),
        ("times", {"updates": [{"generation_id": second, "start_time_ms": -1}]}),
        ("times", {"updates": []}),
        ("times", {"updates": updates[1]}),
    ):
        refused = client.put(f"{url}/{path}", json=body)
        assert refused.status_code == 422 and is_envelope(refused), (path, body)
    assert client.put("/stories/none/items/times", json={"updates": updates}).status_code == 404
    assert starts() == before


def test_effects_and_texts_of_a_profile_are_put(client: TestClient, voice: Path) -> None:
    body = {"name": "Anna", "description": "", "language": "de", "voice_type": "cloned"}
    id = client.post("/profiles", json=body).json()["id"]
    files = {"file": ("a.wav", voice.read_bytes(), "audio/wav")}
    warnings = {"reference_text": "What she says."}
    sample = client.post(f"/profiles/{id}/samples", files=files, data=warnings).json()["id"]
    answer = client.put(f"/profiles/samples/{sample}", json={"reference_text": "Otherwise."})
    assert answer.json()["reference_text"] == "Otherwise." and answer.json()["profile_id"] == id
    clip = client.get(f"/samples/{sample}")
    assert clip.headers["content-type"] == "audio/wav" and len(clip.content) > 90_000
    url = f"/profiles/{id}/effects"
    assert client.put(url, json={"effects_chain": GAIN}).json()["effects_chain"] == GAIN
    wrong = [{"type": "gain", "params": {"gain_db": 99}}]
    for refused, code in (
        (client.put(url, json={"effects_chain": wrong}), 422),
        (client.put(url, json={}), 422),
        (client.put(url, content=b"\xff"), 422),
        (client.put("/profiles/none/effects", json={"effects_chain": GAIN}), 404),
        (client.put("/profiles/samples/none", json={"reference_text": "x"}), 404),
        (client.put(f"/profiles/samples/{sample}", json={"reference_text": ""}), 422),
        (client.put(f"/profiles/samples/{sample}", json={"reference_text": "x" * 10**6}), 422),
        (client.get("/samples/none"), 404),
        (client.get("/samples/..%2f..%2fdb.json"), 404),
    ):
        assert refused.status_code == code and is_envelope(refused), refused.request.url
    assert client.get(f"/profiles/{id}").json()["effects_chain"] == GAIN
    assert client.put(url, json={"effects_chain": None}).json()["effects_chain"] is None


def test_an_audio_file_becomes_a_take(
    client: TestClient, lab: VoiceLab, story: str, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "x.wav", 1.0, rate=44_100).read_bytes()
    answer = client.post("/generate/import", files={"file": ("Rain \u202e.wav", clip, "audio/wav")})
    take = answer.json()
    assert take["profile_name"] == "Imported Audio" and take["engine"] == "import"
    assert take["status"] == "completed" and take["source"] == "import" and take["seed"] is None
    assert take["duration"] == pytest.approx(1.0) and take["text"].startswith("Rain")
    assert client.get(f"/audio/{take['id']}").status_code == 200
    added = client.post(f"/stories/{story}/items", json={"generation_id": take["id"]})
    assert added.status_code == 200
    files = sorted((lab.library.files.root / "generations").iterdir())
    for content in (b"", b"junk" * 1000, b"<svg/>"):
        refused = client.post("/generate/import", files={"file": ("a.mp3", content)})
        assert refused.status_code == 422 and is_envelope(refused)
    assert client.post("/generate/import", json={"file": "x"}).status_code == 422
    assert client.get("/history").json()["total"] == 1
    assert sorted((lab.library.files.root / "generations").iterdir()) == files


def test_what_the_page_polls(client: TestClient, lab: VoiceLab) -> None:
    models = client.get("/models/status").json()["models"]
    assert {"model_name", "display_name", "downloaded", "downloading", "loaded"} <= set(models[0])
    assert client.get("/tasks/active").json() == {"downloads": [], "generations": []}
    with blocked_engine(lab) as free:
        id = client.post("/generate", json=GENERATE).json()["id"]
        (task,) = client.get("/tasks/active").json()["generations"]
        assert task["task_id"] == id and task["profile_id"] == "default"
        assert task["started_at"].endswith("Z") and task["text_preview"] == TEXT
        free.set()
    wait_for(lambda: client.get("/tasks/active").json()["generations"] == [])
    settings = client.get("/settings/generation").json()
    assert settings["max_chunk_chars"] == 280 and settings["crossfade_ms"] == 0


def test_an_engines_own_voice_is_listed_and_becomes_a_profile(client: TestClient) -> None:
    body = client.get("/profiles/presets/chatterbox_turbo").json()
    (voice,) = body["voices"]
    assert body["engine"] == "chatterbox_turbo" and voice["language"] == "en"
    assert set(voice) == {"voice_id", "name", "gender", "language"}
    preset = {"preset_engine": "espeak", "preset_voice_id": voice["voice_id"]}
    generate = client.post("/profiles", json={"name": "Robot", "voice_type": "preset", **preset})
    assert generate.json()["default_engine"] == "espeak"
    assert generate.json()["warnings"] == ["Unknown fields, not used: 'voice_type'."]
    both = {"name": "Both", **preset, "default_engine": "tone"}
    assert client.post("/profiles", json=both).json()["default_engine"] == "tone"
    for engine in ("kokoro", "qwen_custom_voice", "x" * 5000):
        refused = client.get(f"/profiles/presets/{engine}")
        assert refused.status_code == 404 and is_envelope(refused)
        assert len(refused.json()["detail"]) < 300
    for wrong in ({"preset_engine": "kokoro"}, {"preset_voice_id": "af_heart"}):
        refused = client.post("/profiles", json={"name": "Anna", **wrong})
        assert refused.status_code == 422 and is_envelope(refused)


def test_settings_that_the_server_was_started_with_stay_and_it_is_said(client: TestClient) -> None:
    before = client.get("/settings/generation").json()
    assert client.put("/settings/generation", json=before).json() == before
    assert client.put("/settings/generation", json={}).json() == before
    requested = {"max_chunk_chars": 800, "crossfade_ms": 50, "normalize_audio": True}
    answer = client.put("/settings/generation", json={**requested, "autoplay_on_generate": False})
    warnings = answer.json().pop("warnings")
    assert {line.split()[0] for line in warnings} == set(before) and len(warnings) == 4
    assert "max_chunk_chars stays 280" in answer.headers["x-warnings"]
    assert before.items() <= answer.json().items()
    assert client.get("/settings/generation").json() == before
    for wrong in ({"max_chunk_chars": 99}, {"crossfade_ms": "x"}, {"normalize_audio": 5}, []):
        refused = client.put("/settings/generation", json=wrong)
        assert refused.status_code == 422 and is_envelope(refused)


def test_engines_with_underscores_are_ours_and_its_own_are_refused(client: TestClient) -> None:
    profile = {"name": "Anna", "default_engine": "chatterbox_turbo"}
    assert client.post("/profiles", json=profile).status_code == 200
    for engine in ("qwen", "luxtts", "kokoro", "qwen_custom_voice"):
        refused = client.post("/generate", json={**GENERATE, "engine": engine})
        assert refused.status_code == 422 and is_envelope(refused)
        assert engine in refused.json()["error"]["message"]
        assert "espeak" in refused.json()["error"]["message"]
    language = client.post("/generate", json={**GENERATE, "language": "xx"})
    assert language.status_code == 422 and is_envelope(language)
    assert client.post("/profiles", json={"name": "B", "language": "xx"}).status_code == 422
    assert client.get("/history").json()["total"] == 0


@pytest.mark.parametrize("chars", [5000, 1001, 1000])
def test_longer_chunks_than_ours_are_cut_to_ours_and_it_is_said(
    client: TestClient, chars: int
) -> None:
    take = generate(client, max_chunk_chars=chars)
    assert take["parameters"]["max_chunk_chars"] == 1000
    warnings = [warning for warning in take["warnings"] if "max_chunk_chars" in warning]
    assert len(warnings) == (chars > 1000)
    over = client.post("/generate", json={**GENERATE, "max_chunk_chars": 5001})
    assert over.status_code == 422 and is_envelope(over)


@pytest.mark.parametrize(
    "path", ["/history/none", "/profiles/none", "/stories/none", "/audio/none"]
)
def test_the_studios_client_reads_the_text_at_detail(client: TestClient, path: str) -> None:
    body = client.get(path).json()
    assert body["detail"] == body["error"]["message"]
    assert "detail" not in client.get("/status/none").json()
    unreadable = client.post("/generate", content="{", headers={"Content-Type": "application/json"})
    assert unreadable.status_code == 422
    assert unreadable.json()["detail"] == unreadable.json()["error"]["message"]
