"""The data folder removed or its lock taken away while a lab is open: told, and nothing made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeLab, blocked_engine, wait_for, write_clip
from voicelab.errors import StoreLost
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build

TOLD = "nothing more is saved"


@pytest.fixture
def folder(lab: VoiceLab) -> Path:
    lab.generate("A take that is kept.", progress=False)
    return lab.settings.data_dir


def test_health_and_every_change_say_so(lab: VoiceLab, folder: Path, client: TestClient) -> None:
    lab.registry.load("tone")
    assert client.get("/health").json()["status"] == "healthy"
    take = lab.history.list()[0][0]["id"]
    profile = client.post("/profiles", json={"name": "Anna"}).json()["id"]
    clip = write_clip(folder.parent / "clip.wav", 3.0).read_bytes()
    archive = lab.library.archives.export_take(take)
    shutil.rmtree(folder)
    changes = [
        client.post("/profiles", json={"name": "Berta"}),
        client.post(f"/profiles/{profile}/samples", files={"file": ("a.wav", clip)}),
        client.post("/v1/audio/speech", json={"input": "Hello."}),
        client.post("/generate", json={"text": "Hello."}),
        client.post(f"/history/{take}/favorite"),
        client.post(f"/history/{take}/retry"),
        client.post("/history/import", files={"file": ("a.zip", archive)}),
        client.post("/stories", json={"name": "Story"}),
        client.delete(f"/history/{take}"),
        client.request("DELETE", "/history", json={"ids": [take]}),
        client.post("/status/history/clear?confirm=true"),
        client.put("/storage/policy", json={"max_takes": 5}),
    ]
    for answer in changes:
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (503, "store_lost"), answer.request.url
        assert TOLD in error["message"]
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json()["status"] == "error" and TOLD in health.json()["storage_error"]
    assert not folder.exists()


def test_reads_of_records_go_on_and_files_are_gone(lab, folder: Path, client: TestClient) -> None:
    id = lab.history.list()[0][0]["id"]
    version = lab.history.get(id)["active_version_id"]
    shutil.rmtree(folder)
    for path in (
        "/history",
        f"/history/{id}",
        "/history/stats",
        "/profiles",
        "/stories",
        "/status",
    ):
        assert client.get(path).status_code == 200, path
    for path in (
        *(f"/audio/{id}", f"/audio/version/{version}", f"/history/{id}/export-audio"),
        *(f"/history/{id}/export", f"/history/{id}/export-audio?format=mp3"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found"), path
    assert client.get("/storage").json()["error"]["type"] == "store_lost"


def test_a_running_take_ends_with_the_sentence(lab: VoiceLab, folder: Path) -> None:
    with blocked_engine(lab) as free:
        record = lab.submit(GenerationRequest("One sentence that is spoken. " * 8))
        wait_for(lambda: list(folder.glob("generations/.*.tmp")))
        shutil.rmtree(folder)
        free.set()
        wait_for(lambda: lab.history.get(record["id"])["status"] == "failed")
    assert TOLD in lab.history.get(record["id"])["error"]
    assert TOLD in next(r["error"] for r in lab.history if r["id"] == record["id"])
    wait_for(lambda: lab.status.current()["status"] == "idle")
    assert not folder.exists()
    with pytest.raises(StoreLost):
        lab.generate("Again.", progress=False)


def test_a_second_lab_on_the_folder_has_it_alone(lab, folder: Path, make_lab: MakeLab) -> None:
    (folder / "db.lock").unlink()
    second = make_lab()
    with pytest.raises(StoreLost):
        lab.generate("Not kept.", progress=False)
    second.generate("Kept.", progress=False)
    lab.close()
    assert [record["text"] for record in second.history] == ["Kept.", "A take that is kept."]
    with TestClient(build(second)) as client:
        assert client.get("/health").json()["storage_error"] is None
