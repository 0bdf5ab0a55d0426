"""Stories by REST."""

from __future__ import annotations

import io

import pytest
import soundfile
from fastapi.testclient import TestClient

from tests.conftest import MakeLab
from tests.shape import is_envelope
from voicelab.rest import build

TEXT = "The first sentence is long enough to stand alone. The second one is long enough, as well."


@pytest.fixture
def take(client: TestClient) -> str:
    return client.post("/v1/audio/speech", json={"input": TEXT}).headers["x-generation-id"]


@pytest.fixture
def url(client: TestClient) -> str:
    story = client.post("/stories", json={"name": "A story", "description": "Of two"}).json()
    return f"/stories/{story['id']}"


def test_a_story_is_made_changed_exported_and_deleted(client, url, take) -> None:
    item = client.post(f"{url}/items", json={"generation_id": take}).json()
    path = f"{url}/items/{item['id']}"
    moved = client.put(f"{path}/move", json={"start_time_ms": 1000, "track": 2}).json()
    assert (moved["start_time_ms"], moved["track"]) == (1000, 2)
    trimmed = client.put(f"{path}/trim", json={"trim_start_ms": 100, "fade_in_ms": 50}).json()
    assert trimmed["duration_ms"] == item["duration_ms"] - 100 and trimmed["fade_in_ms"] == 50
    assert client.put(f"{path}/volume", json={"volume": 0.5}).json()["volume"] == 0.5
    version = client.get(f"/history/{take}").json()["active_version_id"]
    pinned = client.put(f"{path}/version", json={"version_id": version}).json()
    assert pinned["version_id"] == version
    assert client.put(f"{path}/version", json={"version_id": None}).json()["version_id"] is None
    assert len(client.post(f"{path}/split", json={"split_time_ms": 500}).json()) == 2
    copy = client.post(f"{path}/duplicate").json()
    assert copy["track"] == 2 and copy["fade_in_ms"] == 50
    ids = [i["id"] for i in client.get(url).json()["items"]]
    order = client.put(f"{url}/items/reorder", json={"item_ids": ids[::-1]}).json()
    assert [i["id"] for i in order["items"]] == ids[::-1]
    assert client.delete(path).status_code == 200
    assert client.get(url).json()["item_count"] == 2
    assert client.get("/stories").json()[0]["item_count"] == 2
    assert client.put(url, json={"name": "Another"}).json()["description"] == "Of two"
    assert client.delete(url).status_code == 200
    assert client.get(url).status_code == 404
    assert client.get(f"/history/{take}").status_code == 200


@pytest.mark.parametrize(
    ("kind", "content_type", "head"),
    [
        ("wav", "audio/wav", b"RIFF"),
        ("flac", "audio/flac", b"fLaC"),
        ("mp3", "audio/mpeg", b"ID3"),
        ("m4b", "audio/mp4", b"\x00\x00\x00"),
        ("srt", "application/x-subrip", b"1\n00:00:00,0"),
        ("vtt", "text/vtt; charset=utf-8", b"WEBVTT"),
    ],
)
def test_a_story_is_exported(client, url, take, kind: str, content_type: str, head: bytes) -> None:
    client.post(f"{url}/items", json={"generation_id": take})
    answer = client.get(f"{url}/export-audio", params={"format": kind})
    assert answer.status_code == 200 and answer.content.startswith(head)
    assert answer.headers["content-type"] == content_type
    assert f'filename="A story.{kind}"' in answer.headers["content-disposition"]
    if kind == "wav":
        duration = soundfile.info(io.BytesIO(answer.content)).duration
        assert duration == pytest.approx(client.get(url).json()["duration_ms"] / 1000, abs=0.002)


def test_a_dialogue_by_lines_and_by_script(client, url) -> None:
    client.post("/profiles", json={"name": "Anna"})
    body = {"lines": [{"profile": "Anna", "text": "Hi."}, {"text": "Hello."}]}
    assert client.post(f"{url}/generate", json=body).json()["item_count"] == 2
    body = {"script": "Anna: How are you?\nDefault: Fine."}
    assert client.post(f"{url}/generate", json=body).json()["item_count"] == 4
    for body, code in (
        ({"script": "Nobody: Hi."}, 404),
        ({"lines": []}, 422),
        ({"lines": [{"text": ""}]}, 400),
        ({"script": "x" * 200_001}, 422),
        ({"words": 1}, 422),
    ):
        answer = client.post(f"{url}/generate", json=body)
        assert answer.status_code in (code, 422) and is_envelope(answer)
    assert client.get(url).json()["item_count"] == 4


def test_a_story_archive_round_trip(client, url, take) -> None:
    client.post(f"{url}/items", json={"generation_id": take})
    archive = client.get(f"{url}/export")
    assert archive.headers["content-type"] == "application/zip"
    again = client.post("/stories/import", files={"file": archive.content}).json()
    assert again["item_count"] == 1 and client.get("/history").json()["total"] == 2
    for content in (b"junk", b""):
        answer = client.post("/stories/import", files={"file": content})
        assert answer.status_code == 400 and is_envelope(answer)


def test_bad_requests_are_one_envelope(client, url, take) -> None:
    item = client.post(f"{url}/items", json={"generation_id": take}).json()["id"]
    path = f"{url}/items/{item}"
    for answer, code in (
        (client.get("/stories/none"), 404),
        (client.post("/stories", json={"name": ""}), 422),
        (client.post("/stories", json={"name": "x" * 101}), 422),
        (client.post("/stories", json={"name": "a\x00b"}), 422),
        (client.post(f"{url}/items", json={"generation_id": "none"}), 404),
        (client.post(f"{url}/items", json={"generation_id": take, "volume": 3}), 422),
        (client.post(f"{url}/items", json={"generation_id": take, "track": -33}), 422),
        (client.put(f"{path}/move", json={"start_time_ms": -1}), 422),
        (client.put(f"{path}/move", json={}), 422),
        (client.put(f"{path}/volume", content=b'{"volume": NaN}'), 422),
        (client.put(f"{path}/trim", json={"trim_start_ms": 10_000_000}), 422),
        (client.put(f"{path}/version", json={"version_id": "none"}), 404),
        (client.post(f"{path}/split", json={"split_time_ms": 0}), 422),
        (client.put(f"{url}/items/none/move", json={"start_time_ms": 0}), 404),
        (client.put(f"{url}/items/reorder", json={"item_ids": ["none"]}), 422),
        (client.delete(f"{url}/items/none"), 404),
        (client.get(f"{url}/export-audio", params={"format": "exe"}), 400),
    ):
        assert answer.status_code == code, (answer.request.url, answer.text)
        assert is_envelope(answer)
    other = client.post("/stories", json={"name": "Empty"}).json()["id"]
    assert client.get(f"/stories/{other}/export-audio").status_code == 409
    assert client.put(f"/stories/{other}/items/{item}/volume", json={"volume": 1}).is_error


def test_strangers_may_not_delete_stories(make_lab: MakeLab) -> None:
    with TestClient(build(make_lab(host="0.0.0.0"))) as client:
        assert client.delete("/stories/x").status_code == 403
