"""/audio/speech/long as the Chatterbox TTS API's page starts, watches, pauses and fetches jobs."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import soundfile
from fastapi.testclient import TestClient

from tests.conftest import MakeLab, blocked_engine, samples, wait_for
from tests.shape import is_envelope
from voicelab.lab import VoiceLab
from voicelab.rest import build
from voicelab.rest.dialects.chatterbox.jobs import Jobs

LONG = "/audio/speech/long"
TEXT = " ".join(
    f"Sentence number {i} of a long text that nobody wants to wait for." for i in range(8)
)
BODY = {"input": TEXT, "voice": "alloy", "exaggeration": 0.7, "session_id": "session-1"}


def started(client: TestClient, **fields: object) -> str:
    answer = client.post(LONG, json={**BODY, **fields})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "pending" and answer.json()["total_chunks"] >= 1
    return answer.json()["job_id"]


def ended(client: TestClient, id: str, status: str = "completed") -> dict:
    def job() -> dict | None:
        body = client.get(f"{LONG}/{id}").json()
        return body if body["status"] == status else None

    return wait_for(job)


@pytest.mark.parametrize(("kind", "content_type"), [("mp3", "audio/mpeg"), ("wav", "audio/wav")])
def test_a_job_is_started_watched_and_fetched(
    client: TestClient, lab: VoiceLab, kind: str, content_type: str
) -> None:
    with blocked_engine(lab) as free:
        id = started(client, response_format=kind)
        job = wait_for(lambda: client.get(f"{LONG}/{id}").json())
        assert job["status"] in ("pending", "processing") and job["can_cancel"]
        assert job["progress"]["overall_progress"] == 0 and job["download_url"] is None
        early = client.get(f"{LONG}/{id}/download")
        assert early.status_code == 409 and is_envelope(early)
        listed = client.get(f"{LONG}?limit=20").json()
        assert listed["active_jobs"] == 1 and listed["jobs"][0]["job_id"] == id
        free.set()
    job = ended(client, id)
    assert job["progress"]["overall_progress"] == 100
    assert job["job"]["chunks"]["total"] == job["metadata"]["completed_chunks"] == 8
    assert job["metadata"]["parameters"]["exaggeration"] == 0.7
    assert not (job["can_pause"] or job["can_resume"] or job["can_cancel"])
    sound = client.get(job["download_url"])
    assert sound.headers["content-type"] == content_type
    duration_s = soundfile.info(io.BytesIO(sound.content)).duration
    assert duration_s == pytest.approx(job["metadata"]["output_duration_seconds"], abs=0.2)
    assert client.get(f"/history/{id}").json()["source"] == "long"
    details = client.get(f"{LONG}/{id}/details").json()
    assert details["input_text"] == TEXT and len(details["chunks"]) == 8
    assert details["performance_metrics"]["success_rate"] == 1


def test_a_paused_job_goes_on_with_the_chunks_there_are(client: TestClient, lab: VoiceLab) -> None:
    whole = started(client, seed=7)
    ended(client, whole)
    expected = client.get(f"/audio/{whole}").content
    lab.cache.clear()

    with blocked_engine(lab):
        id = started(client, seed=7)
        paused = client.put(f"{LONG}/{id}/pause")
        assert paused.json()["status"] == "paused", paused.text
        job = client.get(f"{LONG}/{id}").json()
        assert job["status"] == "paused" and job["can_resume"] and not job["can_pause"]
        assert client.get(f"/history/{id}").json()["error"] == "paused"
        assert client.get(f"{LONG}?status=paused").json()["total_jobs"] == 1
        assert client.put(f"{LONG}/{id}/pause").status_code == 409
    assert client.put(f"{LONG}/{id}/resume").status_code == 200
    ended(client, id)
    assert samples(client.get(f"/audio/{id}").content) == samples(expected)
    refused = client.put(f"{LONG}/{id}/resume")
    assert refused.status_code == 409 and is_envelope(refused)


def test_a_cancelled_job_stays_so_and_a_deleted_one_is_gone(
    client: TestClient, lab: VoiceLab
) -> None:
    with blocked_engine(lab):
        id = started(client)
        assert client.delete(f"{LONG}/{id}").status_code == 200
        assert client.get(f"{LONG}/{id}").json()["status"] == "cancelled"
        assert client.put(f"{LONG}/{id}/resume").status_code == 409
        assert client.delete(f"{LONG}/{id}").status_code == 409
        other = started(client)
        client.put(f"{LONG}/{other}/pause")
        assert client.delete(f"{LONG}/{other}").status_code == 200
        assert client.get(f"{LONG}/{other}").json()["status"] == "cancelled"
    retried = client.post(f"{LONG}/{id}/retry", json={}).json()
    assert retried["job_id"] == id
    ended(client, id)
    assert client.post(f"{LONG}/{id}/retry", json={}).status_code == 409
    assert client.delete(f"{LONG}/{id}?action=delete").status_code == 200
    missing = client.get(f"{LONG}/{id}")
    assert missing.status_code == 404 and is_envelope(missing)
    assert client.delete(f"{LONG}/{other}?action=explode").status_code == 400


def test_the_events_of_a_job_end_with_its_end(client: TestClient, lab: VoiceLab) -> None:
    id = started(client)
    ended(client, id)
    lines = client.get(f"{LONG}/{id}/sse").text.splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]
    assert kinds == ["progress", "completed"]
    assert data[0]["progress"] == 100 and data[-1]["status"] == "completed"
    with blocked_engine(lab):
        stopped = started(client)
        client.delete(f"{LONG}/{stopped}")
    assert "event: error" in client.get(f"{LONG}/{stopped}/sse").text
    assert client.get(f"{LONG}/none/sse").status_code == 404


def test_the_history_of_jobs_is_filtered_sorted_and_cleared(
    client: TestClient, lab: VoiceLab
) -> None:
    short, long = started(client, input="Zebra."), started(client, input=TEXT)
    other = client.post("/generate", json={"text": "No job."}).json()["id"]
    for id in (short, long):
        ended(client, id)
    url = "/audio/speech/long-history"
    named = {"display_name": "A chapter", "tags": ["book"], "is_archived": True}
    assert client.patch(f"{LONG}/{long}", json=named).json()["success"]

    def ids(query: str) -> list[str]:
        return [job["job_id"] for job in client.get(f"{url}?{query}").json()["jobs"]]

    assert ids("sort=name_asc") == ids("sort=duration_desc") == [long, short]
    assert ids("sort=size_asc&limit=1") == [short] and ids("sort=created_asc&offset=1") == [long]
    assert ids("is_archived=true") == ids("search=chapter") == [long]
    assert ids("is_archived=false&status=completed") == [short]
    assert ids("start_date=2999-01-01T00:00:00Z") == ids("status=failed") == []
    item = client.get(f"{url}?is_archived=true").json()["jobs"][0]
    assert item["display_name"] == "A chapter" and item["tags"] == ["book"]
    stats = client.get(f"{url}/stats").json()
    assert stats["total_jobs"] == stats["completed_jobs"] == 2
    assert stats["success_rate_percentage"] == 100 and stats["most_used_voice"] == "Default"

    bulk = {"job_ids": [long, other, "none"], "action": "unarchive", "confirm": True}
    done = client.post(f"{LONG}/bulk", json=bulk).json()
    assert (done["success_count"], done["failed_jobs"]) == (1, [other, "none"])
    assert client.delete(url).status_code == 422
    assert client.delete(f"{url}?confirm=true").json()["cleared_count"] == 2
    assert client.get(f"{url}/stats").json()["total_jobs"] == 0
    assert client.get(f"/history/{other}").status_code == 200


@pytest.mark.parametrize(
    "query",
    [LONG + "?", *(f"{LONG}-history?sort={sort}&" for sort in ("created_asc", "completed_desc"))],
)
def test_a_list_builds_the_jobs_of_its_page_alone(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    ids = [started(client, input=f"Job {i}.") for i in range(6)]
    for id in ids:
        ended(client, id)
    built: list[str] = []
    build_item = Jobs.item
    monkeypatch.setattr(
        Jobs, "item", lambda self, take: built.append(take["id"]) or build_item(self, take)
    )
    page = client.get(f"{query}limit=2&offset=3").json()
    assert [job["job_id"] for job in page["jobs"]] == built and len(built) == 2
    assert page["total_jobs"] == 6 and page["completed_jobs"] == 2
    assert set(built) == (set(ids[3:5]) if "asc" in query else set(ids[1:3]))
    built.clear()
    assert client.get(f"{LONG}-history/stats").json()["total_jobs"] == 6
    assert client.delete(f"{LONG}-history?confirm=true").json()["cleared_count"] == 6
    assert not built


def test_bad_jobs_are_one_clear_error_and_leave_nothing(client: TestClient) -> None:
    take = client.post("/v1/audio/speech", json={"input": "No job."}).headers["x-generation-id"]
    for answer, code in (
        (client.post(LONG, content=b"\xff\x00junk"), 422),
        (client.post(LONG, json=[]), 422),
        (client.post(LONG, json={}), 422),
        (client.post(LONG, json={**BODY, "input": ""}), 422),
        (client.post(LONG, json={**BODY, "input": 5}), 422),
        (client.post(LONG, json={**BODY, "input": "x" * 1_000_000}), 400),
        (client.post(LONG, json={**BODY, "response_format": "exe"}), 422),
        (client.post(LONG, json={**BODY, "exaggeration": 5}), 422),
        (client.post(LONG, json={**BODY, "voice": "nobody"}), 404),
        (client.post(LONG, json={**BODY, "session_id": "s" * 1_000_000}), 422),
        (client.post(LONG, files={"input": b"a file"}), 422),
        *(
            (client.get(f"{LONG}/{id}{end}"), 404)
            for id in (take, "none", "x" * 5000)
            for end in ("", "/details", "/download", "/sse")
        ),
        *((client.put(f"{LONG}/{take}/{verb}"), 404) for verb in ("pause", "resume")),
        (client.delete(f"{LONG}/{take}?action=delete"), 404),
        (client.post(f"{LONG}/{take}/retry", json={}), 404),
        (client.patch(f"{LONG}/{take}", json={"display_name": "x"}), 404),
        (client.patch(f"{LONG}/{take}", json={"tags": ["x" * 51]}), 422),
        (client.get(f"{LONG}?limit=0"), 400),
        (client.get(f"{LONG}?status=exploded"), 400),
        (client.get(f"{LONG}-history?sort=x"), 422),
        (client.get(f"{LONG}-history?start_date=yesterday"), 400),
        (client.post(f"{LONG}/bulk", json={"job_ids": ["a"], "action": "delete"}), 422),
        (client.post(f"{LONG}/bulk", json={"job_ids": [], "action": "delete"}), 422),
        (client.post(f"{LONG}/bulk", json={"job_ids": ["a"], "action": "format"}), 422),
    ):
        assert answer.status_code == code and is_envelope(answer), answer.request.url
    assert client.get(LONG).json()["total_jobs"] == 0
    assert client.get("/history").json()["total"] == 1


def test_fifty_jobs_at_once_are_all_made(client: TestClient) -> None:
    with ThreadPoolExecutor(50) as pool:
        ids = list(pool.map(lambda i: started(client, input=f"Job {i}."), range(50)))
    assert len(set(ids)) == 50
    wait_for(lambda: client.get(f"{LONG}?limit=100").json()["completed_jobs"] == 50)


def test_an_interrupted_job_can_be_resumed_by_the_next_server(make_lab: MakeLab) -> None:
    lab = make_lab()
    with TestClient(build(lab)) as client, blocked_engine(lab):
        id = started(client)
        lab.status.stop(lab.history.get(id)["request_id"], "interrupted")
    lab.close()
    with TestClient(build(make_lab())) as client:
        assert client.get(f"{LONG}/{id}").json()["status"] == "paused"
        assert client.put(f"{LONG}/{id}/resume").status_code == 200
        ended(client, id)
