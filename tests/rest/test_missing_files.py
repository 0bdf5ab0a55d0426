"""Exports of what has lost a file: the rest goes out, and what is left out is named."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from tests.conftest import write_clip
from voicelab.lab import VoiceLab
from voicelab.library.versions import VERSIONS

REVERB = {"effects_chain": [{"type": "reverb", "params": {}}]}


@pytest.fixture
def takes(lab: VoiceLab) -> list[str]:
    return [lab.generate(f"Take number {n}.", progress=False).record["id"] for n in range(3)]


def lose(lab: VoiceLab, relative: str | None) -> None:
    (lab.library.files.root / str(relative)).unlink()


def unzipped(answer: Response) -> zipfile.ZipFile:
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.content))


def missing(answer: Response) -> list[str]:
    return json.loads(answer.headers.get("X-Missing", "[]"))


def missing_entries(archive: zipfile.ZipFile, name: str = "manifest.json") -> list[dict[str, Any]]:
    return json.loads(archive.read(name))["missing"]


def test_many_takes_go_without_the_one_that_is_gone(client: TestClient, lab, takes) -> None:
    lose(lab, lab.history.get(takes[1])["audio_path"])
    answer = client.post("/history/export", json={"ids": [*takes, "no such ünïcode take"]})
    archive = unzipped(answer)
    assert missing(answer) == [takes[1], "no such ünïcode take"]
    entries = missing_entries(archive, "takes.json")
    assert [(entry["id"], entry["kind"]) for entry in entries] == [
        (takes[1], "take"),
        ("no such ünïcode take", "take"),
    ]
    assert [entry["reason"] for entry in entries] == [
        "The audio file of this take is gone.",
        "There is no take no such ünïcode take.",
    ]
    again = client.post("/history/import", files={"file": ("a.zip", answer.content)}).json()
    assert [take["text"] for take in again["imported"]] == ["Take number 0.", "Take number 2."]


def test_when_none_is_left_it_is_one_error(client: TestClient, lab, takes) -> None:
    for id in takes:
        lose(lab, lab.history.get(id)["audio_path"])
    many = client.post("/history/export", json={"ids": takes})
    one = client.get(f"/history/{takes[0]}/export")
    for answer in (many, one):
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
        assert answer.json()["error"]["message"] == "The audio file of this take is gone."


def test_very_many_that_are_gone_fit_into_the_header(client: TestClient, takes) -> None:
    ids = [f"gone-{n:030}" for n in range(400)]
    answer = client.post("/history/export", json={"ids": [takes[0], *ids]})
    assert len(answer.headers["X-Missing"]) <= 2000 and "more" in missing(answer)[-1]
    assert [entry["id"] for entry in missing_entries(unzipped(answer), "takes.json")] == ids


@pytest.mark.parametrize("which", ["the clean one", "the default"])
def test_a_take_goes_with_the_versions_it_has(client: TestClient, lab, takes, which) -> None:
    id = takes[0]
    client.post(f"/generations/{id}/versions/apply-effects", json=REVERB)
    versions = {v["is_default"]: v for v in lab.history.get(id)["versions"]}
    lost, kept = versions[which == "the default"], versions[which != "the default"]
    lose(lab, lost["audio_path"])
    answer = client.get(f"/history/{id}/export")
    archive = unzipped(answer)
    assert missing(answer) == [lost["id"]]
    entry = {"id": lost["id"], "kind": "version", "take": id, "label": lost["label"]}
    assert missing_entries(archive) == [entry | {"reason": "The audio file of this take is gone."}]
    assert len([name for name in archive.namelist() if name.startswith("audio/")]) == 1
    (again,) = client.post("/history/import", files={"file": ("a.zip", answer.content)}).json()[
        "imported"
    ]
    (version,) = lab.history.get(again["id"])["versions"]
    assert (version["label"], version["is_default"]) == (kept["label"], True)
    many = client.post("/history/export", json={"ids": takes})
    assert missing(many) == [lost["id"]]
    assert len(json.loads(unzipped(many).read("takes.json"))["takes"]) == 3


def test_a_file_that_cannot_be_read_is_left_out_as_well(client: TestClient, lab, takes) -> None:
    path = lab.history.get(takes[0])["audio_path"]
    version = lab.library.versions.of(takes[0])[0]["id"]
    flac = path.removesuffix(".wav") + ".flac"
    (lab.library.files.root / path).rename(
        lab.library.files.root / flac
    )  # what is in it is no FLAC
    (lab.library.files.root / flac).write_bytes(b"junk" * 100)
    lab.library.store.patch(VERSIONS, version, {"audio_path": flac})
    answer = client.post("/history/export", json={"ids": takes})
    assert missing(answer) == takes[:1]


@pytest.fixture
def story(client: TestClient, takes: list[str]) -> str:
    story = client.post("/stories", json={"name": "Story"}).json()["id"]
    for id in takes:
        client.post(f"/stories/{story}/items", json={"generation_id": id})
    return story


@pytest.mark.parametrize("swept", [False, True], ids=["unnoticed", "swept"])
def test_a_story_goes_without_what_is_gone(client, lab, takes, story, swept) -> None:
    """A clean-up marks a take whose file is gone as failed: the story shows it all the same."""
    items = client.get(f"/stories/{story}").json()["items"]
    lose(lab, lab.history.get(takes[2])["audio_path"])
    if swept:
        lab.library.storage.cleanup(dry_run=False)
        assert lab.history.get(takes[2])["status"] == "failed"
    assert [item["id"] for item in client.get(f"/stories/{story}").json()["items"]] == [
        item["id"] for item in items
    ]
    archive = client.get(f"/stories/{story}/export")
    expected = lab.history.get(takes[2])["active_version_id"]
    assert missing(archive) == takes[2:] and expected
    manifest = json.loads(unzipped(archive).read("manifest.json"))
    assert [item["generation_id"] for item in manifest["items"]] == takes[:2]
    assert [(entry["id"], entry["kind"]) for entry in manifest["missing"]] == [(takes[2], "take")]
    again = client.post("/stories/import", files={"file": ("a.zip", archive.content)})
    assert len(again.json()["items"]) == 2
    for kind in ("wav", "flac", "m4b", "srt", "vtt"):
        answer = client.get(f"/stories/{story}/export-audio?format={kind}")
        assert (answer.status_code, missing(answer)) == (200, [items[2]["id"]]), kind
    assert "number 2" not in client.get(f"/stories/{story}/export-audio?format=srt").text
    sound = client.get(f"/stories/{story}/export-audio?format=wav")
    end_s = (items[1]["start_time_ms"] + items[1]["duration_ms"]) / 1000
    assert float(sound.headers["X-Audio-Seconds"]) == pytest.approx(end_s)
    assert len(sound.content) == pytest.approx(44 + 48_000 * end_s, abs=200)


def test_a_story_without_any_sound_is_one_error(client, lab, takes, story) -> None:
    for id in takes:
        lose(lab, lab.history.get(id)["audio_path"])
    for path in ("export", "export-audio", "export-audio?format=srt"):
        answer = client.get(f"/stories/{story}/{path}")
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found"), path


def test_a_pinned_version_that_is_gone_is_named(client, lab, takes, story) -> None:
    made = client.post(f"/generations/{takes[0]}/versions/apply-effects", json=REVERB).json()
    item = client.get(f"/stories/{story}").json()["items"][0]["id"]
    client.put(f"/stories/{story}/items/{item}/version", json={"version_id": made["id"]})
    lose(lab, made["audio_path"])
    answer = client.get(f"/stories/{story}/export")
    assert missing(answer) == [made["id"]]
    items = json.loads(unzipped(answer).read("manifest.json"))["items"]
    assert len(items) == 3 and items[0]["version"] is None
    assert client.post("/stories/import", files={"file": ("a.zip", answer.content)}).is_success


def test_a_profile_goes_without_what_is_gone(client, lab, tmp_path) -> None:
    profile = client.post("/profiles", json={"name": "Anna"}).json()["id"]
    clips = [
        client.post(
            f"/profiles/{profile}/samples",
            files={"file": ("a.wav", write_clip(tmp_path / "a.wav", 3.0 + n).read_bytes())},
            data={"reference_text": f"Clip {n}."},
        ).json()
        for n in range(2)
    ]
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    client.post(f"/profiles/{profile}/avatar", files={"file": ("a.png", picture.getvalue())})
    lose(lab, clips[0]["audio_path"])
    lose(lab, lab.library.profiles.get(profile)["avatar_path"])
    answer = client.get(f"/profiles/{profile}/export")
    archive = unzipped(answer)
    assert missing(answer) == [clips[0]["id"], profile]
    assert [(e["id"], e["kind"], e["reason"]) for e in missing_entries(archive)] == [
        (clips[0]["id"], "clip", "The file is gone."),
        (profile, "picture", "The file is gone."),
    ]
    again = client.post("/profiles/import", files={"file": ("a.zip", answer.content)}).json()
    assert [s["reference_text"] for s in lab.library.profiles.samples(again["id"])] == ["Clip 1."]
    lose(lab, clips[1]["audio_path"])
    assert client.get(f"/profiles/{profile}/export").json()["error"]["type"] == "not_found"


def test_a_table_needs_no_files(client: TestClient, lab, takes) -> None:
    for id in takes:
        lose(lab, lab.history.get(id)["audio_path"])
    assert client.get("/history/export?format=jsonl").text.count("\n") == 3
