"""Versions, effects, profiles and takes made again, as REST clients ask for them."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

import pytest
import soundfile
from fastapi.testclient import TestClient

from tests.conftest import MakeLab, blocked_engine, samples, unblock_when_subscribed, wait_for
from tests.shape import is_envelope
from voicelab.lab import VoiceLab

TEXT = "The fjord was quiet, and a single boat drew a line across it. Then even that was gone."
GAIN = [{"type": "gain", "params": {"gain_db": -6}}]
SPEED = [{"type": "speed", "params": {"rate": 2}}]


@pytest.fixture
def take(client: TestClient) -> str:
    return client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]


def finished(client: TestClient, id: str) -> dict:
    def done() -> dict | None:
        return None if client.get("/status/progress").json()["is_processing"] else record()

    def record() -> dict:
        return client.get(f"/history/{id}").json()

    return wait_for(done)


def test_effects_make_a_version_that_the_take_follows(client: TestClient, take: str) -> None:
    before = client.get(f"/history/{take}").json()
    version = client.post(
        f"/generations/{take}/versions/apply-effects", json={"effects_chain": SPEED}
    ).json()
    record = client.get(f"/history/{take}").json()
    assert version["label"] == "Speed" and version["is_default"]
    assert version["source_version_id"] == before["active_version_id"]
    assert record["duration"] == pytest.approx(before["duration"] / 2, abs=0.01)
    assert record["audio_path"] == version["audio_path"]
    assert record["chunks"][1]["start_s"] == pytest.approx(before["chunks"][1]["start_s"] / 2)
    audio = soundfile.info(io.BytesIO(client.get(f"/audio/{take}").content))
    assert audio.duration == pytest.approx(record["duration"], abs=0.001)
    exported = client.get(f"/history/{take}/export-audio").content
    assert exported == client.get(f"/audio/version/{version['id']}").content
    clean = client.get(f"/audio/version/{before['active_version_id']}").content
    assert len(clean) > len(exported)

    back = client.put(
        f"/generations/{take}/versions/{before['active_version_id']}/set-default"
    ).json()
    assert back["is_default"] and client.get(f"/audio/{take}").content == clean
    rows = client.get(f"/generations/{take}/versions").json()
    assert [row["is_default"] for row in rows] == [True, False]


def test_the_last_version_stays_and_the_oldest_takes_over(client: TestClient, take: str) -> None:
    body = {"effects_chain": GAIN, "label": "softer"}
    version = client.post(f"/generations/{take}/versions/apply-effects", json=body).json()
    url = f"/generations/{take}/versions"
    assert client.delete(f"{url}/{version['id']}").status_code == 200
    (left,) = client.get(url).json()
    assert left["is_default"] and left["label"] == "original"
    refused = client.delete(f"{url}/{left['id']}")
    assert refused.status_code == 400 and is_envelope(refused)
    assert client.get(f"/audio/{take}").status_code == 200
    assert client.get(f"/audio/version/{version['id']}").status_code == 404
    assert client.get(f"/history/{take}").json()["size_bytes"] == left["size_bytes"]


def test_a_version_of_another_take_is_not_found(client: TestClient, take: str) -> None:
    other = client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]
    version = client.get(f"/generations/{other}/versions").json()[0]["id"]
    for answer in (
        client.put(f"/generations/{take}/versions/{version}/set-default"),
        client.delete(f"/generations/{take}/versions/{version}"),
        client.post(
            f"/generations/{take}/versions/apply-effects",
            json={"effects_chain": GAIN, "source_version_id": version},
        ),
        client.get("/generations/none/versions"),
        client.post("/effects/preview/none", json={"effects_chain": GAIN}),
    ):
        assert answer.status_code == 404 and is_envelope(answer)


def test_a_preview_is_kept_nowhere(client: TestClient, lab: VoiceLab, take: str) -> None:
    answer = client.post(f"/effects/preview/{take}", json={"effects_chain": SPEED})
    assert answer.headers["content-type"] == "audio/wav" and len(answer.content) > 10_000
    assert len(client.get(f"/generations/{take}/versions").json()) == 1
    assert len(list((lab.library.files.root / "generations").iterdir())) == 1


@pytest.mark.parametrize(
    ("chain", "match"),
    [
        ([{"type": "explode"}], "Effect 1"),
        ([{"type": "gain", "params": {"gain_db": 99}}], "-40 to 40"),
        ([{"type": "gain", "params": {"loud": 1}}], "no parameter 'loud'"),
        ("gain", "list"),
        ([{"type": "gain"}] * 30, "20"),
    ],
)
def test_a_bad_chain_is_422_at_every_door(client: TestClient, take: str, chain, match) -> None:
    doors = {
        f"/generations/{take}/versions/apply-effects": {},
        f"/effects/preview/{take}": {},
        "/effects/presets": {"name": "Mine"},
        "/profiles": {"name": "Anna"},
        "/v1/audio/speech": {"input": TEXT},
        "/generate": {"text": TEXT},
    }
    for path, body in doors.items():
        answer = client.post(path, json={**body, "effects_chain": chain})
        assert answer.status_code == 422 and is_envelope(answer), path
        assert match in answer.json()["error"]["message"]
    assert client.get("/history").json()["total"] == 1


def test_effects_of_a_request_are_heard_and_the_clean_take_is_kept(client: TestClient) -> None:
    body = {"input": TEXT, "seed": 1, "effects_chain": GAIN}
    whole = client.post("/v1/audio/speech", json=body)
    id = whole.headers["x-generation-id"]
    record = client.get(f"/history/{id}").json()
    assert [v["label"] for v in record["versions"]] == ["original", "Gain"]
    assert whole.content == client.get(f"/audio/{id}").content
    plain = client.post("/v1/audio/speech", json={"input": TEXT, "seed": 1})
    original = client.get(f"/audio/version/{record['versions'][0]['id']}").content
    assert samples(original) == samples(plain.content) != samples(whole.content)
    # The same samples as a stream, and when nothing is kept.
    streamed = client.post("/v1/audio/speech/stream", json=body).content
    assert samples(streamed) == samples(whole.content)
    forgotten = client.post("/v1/audio/speech", json={**body, "store": False})
    assert samples(forgotten.content) == samples(whole.content)
    again = client.post(f"/history/{id}/regenerate", json={"seed": 9}).json()
    assert again["id"] == id
    labels = [v["label"] for v in finished(client, id)["versions"]]
    assert labels == ["original", "Gain", "regenerated", "Gain"]


def test_presets_are_kept_and_built_in_ones_are_read_only(client: TestClient) -> None:
    built_in = client.get("/effects/presets").json()
    assert [p["name"] for p in built_in][:2] == ["Robotic", "Radio"]
    mine = client.post("/effects/presets", json={"name": "Mine", "effects_chain": GAIN}).json()
    assert not mine["is_builtin"] and mine["effects_chain"][0]["enabled"]
    url = f"/effects/presets/{mine['id']}"
    changed = client.put(url, json={"name": "Mine too", "effects_chain": SPEED}).json()
    assert changed["name"] == "Mine too" and changed["effects_chain"][0]["type"] == "speed"
    for name in ("mine TOO", "radio"):
        taken = client.post("/effects/presets", json={"name": name, "effects_chain": GAIN})
        assert taken.status_code == 409
    for answer in (
        client.put("/effects/presets/radio", json={"name": "R", "effects_chain": GAIN}),
        client.delete("/effects/presets/radio"),
    ):
        assert answer.status_code == 400 and is_envelope(answer)
    assert client.post("/effects/presets", json={"name": "E", "effects_chain": []}).is_error
    assert client.delete(url).status_code == 200
    assert client.delete(url).status_code == 404
    assert len(client.get("/effects/presets").json()) == len(built_in)
    types = client.get("/effects/available").json()["effects"]
    assert {"type": "reverb", "label": "Reverb"}.items() <= types[1].items()


@pytest.mark.parametrize("family", ["/history", "/generate"])
def test_takes_are_made_again(client: TestClient, take: str, family: str) -> None:
    first = client.get(f"/history/{take}").json()
    answer = client.post(f"{family}/{take}/regenerate")
    assert answer.status_code == 200 and answer.json()["id"] == take
    record = finished(client, take)
    assert len(record["versions"]) == 2 and record["seed"] != first["seed"]
    assert client.post(f"{family}/{take}/retry").status_code == 200
    record = finished(client, take)
    assert len(record["versions"]) == 3
    sounds = [client.get(f"/audio/version/{v['id']}").content for v in record["versions"]]
    assert samples(sounds[1]) == samples(sounds[2])
    refused = client.post(f"{family}/{take}/resume")
    assert refused.status_code == 409 and is_envelope(refused)
    assert client.post(f"{family}/none/retry").status_code == 404
    assert client.post(f"{family}/{take}/regenerate", json={"seed": -2}).status_code == 422


def test_one_sentence_is_made_again(client: TestClient, take: str) -> None:
    before = client.get(f"/history/{take}").json()
    url = f"/history/{take}/chunks/1/regenerate"
    assert client.post(url, json={"seed": 5}).status_code == 200
    record = finished(client, take)
    assert [c["seed"] for c in record["chunks"]] == [before["chunks"][0]["seed"], 5]
    assert client.post(f"/history/{take}/chunks/2/regenerate").status_code == 404
    assert client.post(f"/history/{take}/chunks/-1/regenerate").status_code == 400
    assert client.post(f"/history/{take}/chunks/x/regenerate").status_code == 400


def test_the_events_of_a_version_being_made_end_with_it(client: TestClient, lab: VoiceLab) -> None:
    id = client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]
    with blocked_engine(lab) as free:
        client.post(f"/generate/{id}/regenerate")
        unblock_when_subscribed(lab, free)
        events = client.get(f"/generate/{id}/status").text
        assert '"status":"pending"' in events and events.strip().endswith('"error":null}')
    assert len(client.get(f"/generations/{id}/versions").json()) == 2


def test_a_profile_by_rest(client: TestClient, voice: Path) -> None:
    anna = client.post("/profiles", json={"name": "Anna", "language": "de"}).json()
    url = f"/profiles/{anna['id']}"
    with voice.open("rb") as file:
        sample = client.post(
            f"{url}/samples", files={"file": file}, data={"reference_text": "Hallo."}
        ).json()
    assert sample["duration"] == pytest.approx(3, abs=0.1)
    assert client.get(f"{url}/samples").json() == [sample]
    audio = client.get(f"/profiles/samples/{sample['id']}/audio")
    assert audio.headers["content-type"] == "audio/wav"
    assert client.get(url).json()["sample_count"] == 1
    assert client.put(url, json={"description": "Calm"}).json()["description"] == "Calm"
    assert client.get(url).json()["name"] == "Anna"
    speech = client.post("/v1/audio/speech", json={"input": TEXT, "voice": "Anna"})
    record = client.get(f"/history/{speech.headers['x-generation-id']}").json()
    assert record["profile_name"] == "Anna"
    assert "Anna" in [v["name"] for v in client.get("/v1/audio/voices").json()["voices"]]
    archive = client.get(f"{url}/export")
    assert zipfile.ZipFile(io.BytesIO(archive.content)).namelist()[0] == "manifest.json"
    imported = client.post("/profiles/import", files={"file": archive.content}).json()
    assert imported["name"] == "Anna (2)" and imported["sample_count"] == 1
    assert client.delete(f"/profiles/samples/{sample['id']}").status_code == 200
    assert client.delete(url).json()["generations"] == 1
    assert client.get("/history").json()["total"] == 0
    assert client.get(url).status_code == 404


def test_bad_profiles_are_one_envelope(client: TestClient, tmp_path: Path) -> None:
    client.post("/profiles", json={"name": "Anna"})
    id = client.get("/profiles").json()[1]["id"]
    text = {"file": b"this is no audio"}
    for answer, code in (
        (client.post("/profiles", json={"name": "Anna"}), 409),
        (client.post("/profiles", json={"name": ""}), 422),
        (client.post("/profiles", json={"name": "x" * 101}), 422),
        (client.post("/profiles", json={"name": "B", "default_engine": "none"}), 422),
        (client.post(f"/profiles/{id}/samples", files=text), 422),
        (client.post(f"/profiles/{id}/samples", files={"file": b""}), 422),
        (client.post(f"/profiles/{id}/samples"), 422),
        (client.post("/profiles/none/samples", files=text), 404),
        (client.post("/profiles/default/samples", files=text), 409),
        (client.post("/profiles/import", files=text), 400),
        (client.post("/profiles/import", files={"file": b""}), 400),
        (client.post(f"/profiles/{id}/avatar", files=text), 422),
        (client.get(f"/profiles/{id}/avatar"), 404),
        (client.delete("/profiles/default"), 400),
        (client.delete("/profiles/none"), 404),
        (client.delete("/profiles/samples/none"), 404),
    ):
        assert answer.status_code == code and is_envelope(answer), answer.request.url
    assert len(client.get("/profiles").json()) == 2


def test_strangers_may_not_delete_profiles_and_versions(make_lab: MakeLab) -> None:
    from voicelab.rest import build

    with TestClient(build(make_lab(host="0.0.0.0"))) as client:
        for path in ("/profiles/x", "/profiles/samples/x", "/effects/presets/x"):
            assert client.delete(path).status_code == 403
        assert client.delete("/generations/x/versions/y").status_code == 403


def test_the_events_of_a_deleted_take_end(client: TestClient, lab: VoiceLab) -> None:
    with blocked_engine(lab):
        id = client.post("/generate", json={"text": TEXT}).json()["id"]
        timer = threading.Timer(0.2, lab.library.delete, [id])
        timer.start()
        events = client.get(f"/generate/{id}/status").text
        timer.join()
        assert '"status":"failed"' in events.strip().splitlines()[-1]
