"""Storage, its policy and its clean-up by REST."""

from __future__ import annotations

import os

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeLab, samples
from tests.shape import is_envelope
from voicelab.lab import VoiceLab
from voicelab.rest import build

TEXT = "A short take."


def speak(client: TestClient) -> str:
    return client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]


def test_a_policy_is_set_and_cleans_up(client: TestClient) -> None:
    ids = [speak(client) for _ in range(3)]
    assert client.get("/storage").json()["takes"] == 3
    body = {"max_takes": 1}
    policy = client.put("/storage/policy", json=body).json()
    assert policy == client.get("/storage/policy").json() and policy["max_takes"] == 1
    report = client.post("/storage/cleanup").json()
    assert report["dry_run"] and [e["id"] for e in report["deleted"]] == ids[:2]
    assert client.get("/history").json()["total"] == 3
    refused = client.post("/storage/cleanup", params={"dry_run": False})
    assert refused.status_code == 409 and "2 of 3" in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == "expected"
    assert client.post("/storage/cleanup?dry_run=false&expected=-1").status_code == 400
    done = client.post("/storage/cleanup", params={"dry_run": False, "expected": 2}).json()
    assert [e["id"] for e in done["deleted"]] == ids[:2]
    assert [r["id"] for r in client.get("/history").json()["items"]] == ids[2:]


@pytest.mark.parametrize(
    "body",
    [
        {"max_takes": -1},
        {"max_takes": 1.5},
        {"max_takes": True},
        {"max_takes": "5"},
        {"max_age_days": "soon"},
        {"max_age_days": True},
        {"max_age_days": 36_501},
        {"max_total_mb": -0.1},
        {"quota_mb": 1e10},
        {"flac_after_days": [1]},
        {"quota_action": "shout"},
        {"unknown": 1},
        [],
    ],
    ids=str,
)
def test_a_bad_policy_is_422(client: TestClient, body: object) -> None:
    answer = client.put("/storage/policy", json=body)
    assert answer.status_code == 422 and is_envelope(answer)
    for number in (b"NaN", b"Infinity", b"1e999"):
        body = b'{"max_age_days": %s}' % number
        assert client.put("/storage/policy", content=body).status_code == 422
    assert client.get("/storage/policy").json()["max_takes"] is None


def test_a_quota_is_413(client: TestClient) -> None:
    speak(client)
    client.put("/storage/policy", json={"quota_mb": 0.001})
    answer = client.post("/v1/audio/speech", json={"input": TEXT})
    assert answer.status_code == 413 and "quota" in answer.json()["error"]["message"]
    id = client.get("/history").json()["items"][0]["id"]
    assert client.post(f"/history/{id}/regenerate").status_code == 413
    assert client.get("/history").json()["total"] == 1


def test_usage_names_what_no_take_has(client: TestClient, lab: VoiceLab) -> None:
    speak(client)
    assert client.get("/storage").json()["orphan_files"] == 0
    orphan = lab.library.files.root / "generations" / "orphan.wav"
    orphan.write_bytes(b"12345")
    os.utime(orphan, (1e9, 1e9))
    usage = client.get("/storage").json()
    assert (usage["orphan_files"], usage["orphan_bytes"]) == (1, 5)
    assert client.post("/storage/cleanup?dry_run=false").json()["freed_bytes"] == 5
    assert not orphan.exists() and client.get("/storage").json()["orphan_files"] == 0


def test_a_compressed_take_is_served_as_what_it_is(client: TestClient, lab: VoiceLab) -> None:
    id = speak(client)
    wav = client.get(f"/audio/{id}")
    assert wav.headers["content-type"] == "audio/wav"
    for table in ("versions", "generations"):
        for (row,) in lab.library.store.values(table, ("id",)):
            lab.library.store.patch(table, row, {"created_at": "2020-01-01T00:00:00.000000Z"})
    client.put("/storage/policy", json={"flac_after_days": 1})
    client.post("/storage/cleanup", params={"dry_run": False})
    flac = client.get(f"/audio/{id}")
    assert flac.headers["content-type"] == "audio/flac" and flac.content[:4] == b"fLaC"
    exported_wav = client.get(f"/history/{id}/export-audio").content
    assert samples(exported_wav) == samples(wav.content)
    exported = client.get(f"/history/{id}/export-audio", params={"format": "flac"})
    assert exported.content == flac.content
    # What goes out can come in again.
    archive = client.get(f"/history/{id}/export").content
    again = client.post("/history/import", files={"file": archive}).json()["id"]
    assert samples(client.get(f"/audio/{again}").content) == samples(wav.content)


def test_strangers_may_not_clean_up(make_lab: MakeLab) -> None:
    with TestClient(build(make_lab(host="0.0.0.0"))) as client:
        assert client.post("/storage/cleanup").status_code == 200
        assert client.post("/storage/cleanup", params={"dry_run": False}).status_code == 403
        assert client.put("/storage/policy", json={"max_takes": 0}).status_code == 403
