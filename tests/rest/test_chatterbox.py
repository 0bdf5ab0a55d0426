"""The Chatterbox TTS API's other routes, with the requests its own page and tests send."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

import voicelab.rest.dialects.chatterbox.memory as memory_routes

TEXT = "The fjord was quiet, and a single boat drew a line across it. Then even that was gone."


def is_envelope(answer) -> bool:
    return set(answer.json()) == {"error"} and answer.json()["error"]["message"]


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
