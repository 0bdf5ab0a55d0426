"""The path that everybody polls: the documented body, made once for all, behind the same guard."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeLab, blocked_engine
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build
from voicelab.rest.progress import PROGRESS_PATHS

IDLE = {"is_processing": False, "status": "idle", "message": "No active TTS requests"}


@pytest.mark.parametrize("path", PROGRESS_PATHS)
def test_a_poll_is_what_the_documented_route_answers(
    client: TestClient, lab: VoiceLab, path: str
) -> None:
    answer = client.get(path)
    assert answer.json() == IDLE and answer.headers["content-type"] == "application/json"
    assert client.get(path, params={"request_id": "none"}).status_code == 404
    assert client.post(path).status_code == 405
    with blocked_engine(lab):
        record = lab.submit(GenerationRequest("The fjord was quiet."))
        polled = client.get(path).json()
        queried = client.get(path, params={"request_id": record["request_id"]}).json()
        assert polled.keys() == queried.keys() and polled["request_id"] == record["request_id"]
        assert polled["duration_seconds"] <= queried["duration_seconds"]


def test_the_body_is_made_once_for_all_and_anew_at_each_change(
    lab: VoiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = lab.status.progress

    def progress() -> dict[str, Any]:
        made.append(None)
        return real()

    monkeypatch.setattr(lab.status, "progress", progress)
    with TestClient(build(lab)) as client:
        for _ in range(5):
            assert client.get("/status/progress").json() == IDLE
        assert len(made) == 1
        live = lab.status.begin("The fjord was quiet.")
        assert client.get("/status/progress").json()["request_id"] == live.request_id
        live.step("generating_audio", "Generating audio for chunk 2/4")
        assert client.get("/status/progress").json()["current_step"].endswith("2/4")
        live.finish()
        assert client.get("/status/progress").json() == IDLE


@pytest.mark.parametrize("path", PROGRESS_PATHS)
def test_a_poll_without_the_key_is_refused(make_lab: MakeLab, path: str) -> None:
    with TestClient(build(make_lab(api_key="secret"))) as client:
        assert client.get(path).status_code == 401
        answer = client.get(path, headers={"Authorization": "Bearer secret"})
        assert answer.json() == IDLE
