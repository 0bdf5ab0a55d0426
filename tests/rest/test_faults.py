"""The faults of the studio whose contract this keeps, each by its symptom.

Others of them stand beside what they are about: volume 0, reordering and deleted takes in
test_stories.py; archives that drop versions or take junk in test_archive.py.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.conftest import blocked_engine, samples, wait_for
from tests.shape import is_envelope
from voicelab.engines import tone
from voicelab.lab import VoiceLab

TEXT = "A short take."


def speak(client: TestClient, text: str = TEXT, **fields: object) -> str:
    answer = client.post("/v1/audio/speech", json={"input": text, **fields})
    return answer.headers["x-generation-id"]


def test_deleting_a_profile_does_not_leave_its_takes_in_the_statistics(client) -> None:
    anna = client.post("/profiles", json={"name": "Anna"}).json()["id"]
    speak(client, voice="Anna")
    speak(client)
    assert client.delete(f"/profiles/{anna}").json()["generations"] == 1
    stats = client.get("/history/stats").json()
    assert stats["total_generations"] == 1
    assert stats["generations_by_profile"] == {"default": 1}
    names = {item["profile_name"] for item in client.get("/history").json()["items"]}
    assert names == {"Default"}


def test_a_range_that_is_there_is_sent_without_one_that_is_not(client: TestClient) -> None:
    id = client.post("/v1/audio/speech", json={"input": "A take."}).headers["x-generation-id"]
    whole = client.get(f"/audio/{id}").content
    for header in ("bytes=0-1,99999999-", "bytes=99999999-,0-1"):
        answer = client.get(f"/audio/{id}", headers={"Range": header})
        assert answer.status_code == 206 and answer.content == whole[:2]


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=501", "offset=-1", "limit=x"])
def test_a_limit_of_zero_is_not_a_crash(client, query: str) -> None:
    answer = client.get(f"/history?{query}")
    assert answer.status_code == 400 and is_envelope(answer)


def test_the_audio_of_a_pending_take_is_404_not_a_crash(client, lab: VoiceLab) -> None:
    with blocked_engine(lab):
        id = client.post("/generate", json={"text": TEXT}).json()["id"]
        for path in (f"/audio/{id}", f"/history/{id}/export-audio"):
            answer = client.get(path)
            assert answer.status_code == 404 and is_envelope(answer)
        assert client.get(f"/history/{id}/export").status_code == 409
        client.post(f"/generate/{id}/cancel")
        wait_for(lambda: client.get(f"/history/{id}").json()["status"] == "failed")


def test_percent_and_underscore_are_not_wildcards(client) -> None:
    speak(client, "It was 100% certain.")
    speak(client, "A file_name stood there.")
    speak(client, "Nothing of both, but 100 files.")
    for words, count in (("%", 1), ("100%", 1), ("_", 1), ("file_name", 1), ("f%e", 0), ("*", 0)):
        assert client.get("/history", params={"search": words}).json()["total"] == count, words


def test_deleting_a_running_take_leaves_no_file(client, lab: VoiceLab) -> None:
    with blocked_engine(lab):
        id = client.post("/generate", json={"text": TEXT * 20}).json()["id"]
        wait_for(lambda: client.get("/status/progress").json()["is_processing"])
        assert client.delete(f"/history/{id}").status_code == 200
        wait_for(lambda: not client.get("/status/progress").json()["is_processing"])
        assert client.get(f"/history/{id}").status_code == 404
        folder = lab.library.files.root / "generations"
        assert not folder.exists() or list(folder.iterdir()) == []


def test_the_seed_of_a_random_take_is_kept_and_makes_it_again(client) -> None:
    id = speak(client)
    seed = client.get(f"/history/{id}").json()["seed"]
    assert isinstance(seed, int)
    again = speak(client, seed=seed)
    sounds = [client.get(f"/audio/{each}").content for each in (id, again)]
    assert samples(sounds[0]) == samples(sounds[1])


def test_a_take_that_comes_out_silent_is_not_called_completed(
    client, lab: VoiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = lab.registry.engine("tone")
    real = engine.speak

    def silent(utterances, cancelled, *more):
        for spoken in real(utterances, cancelled, *more):
            yield tone.Spoken(spoken.index, np.zeros_like(spoken.audio))

    monkeypatch.setattr(engine, "speak", silent)
    answer = client.post("/v1/audio/speech", json={"input": TEXT})
    assert answer.status_code == 500 and "silent" in answer.json()["error"]["message"]
    assert client.get("/history").json()["items"][0]["status"] == "failed"


def test_a_quiet_take_is_not_trimmed_to_nothing(client) -> None:
    quiet = speak(client, level=0.05)
    loud = speak(client, level=1.0)
    durations = [client.get(f"/history/{id}").json()["duration"] for id in (quiet, loud)]
    assert durations[0] == pytest.approx(durations[1], abs=0.1)


def test_tables_of_the_history_hold_every_take_and_no_formula(client) -> None:
    for text in ("=1+1 is what it says.", 'Ünïcode, "quoted",\nwith a comma.', TEXT):
        speak(client, text)
    lines = client.get("/history/export?format=jsonl").text.splitlines()
    assert len(lines) == 3
    table = client.get("/history/export?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["text"] for row in rows][::-1][:2] == [
        "'=1+1 is what it says.",
        'Ünïcode, "quoted",\nwith a comma.',
    ]
    assert client.get("/history/export?search=comma&format=jsonl").text.count("\n") == 1
    assert client.get("/history/export?format=exe").status_code == 400


def test_many_takes_are_changed_at_once(client) -> None:
    anna = client.post("/profiles", json={"name": "Anna"}).json()["id"]
    ids = [speak(client) for _ in range(3)]
    body = {"ids": [*ids[:2], "none"], "is_favorited": True, "add_tags": ["x"], "profile_id": anna}
    assert client.patch("/history", json=body).json() == {"changed": 2}
    found = {item["id"]: item for item in client.get("/history").json()["items"]}
    assert [found[id]["is_favorited"] for id in ids] == [True, True, False]
    assert found[ids[0]]["tags"] == ["x"] and found[ids[0]]["profile_name"] == "Anna"
    for body, code in (
        ({"ids": ids, "profile_id": "none"}, 404),
        ({"ids": ids, "add_tags": ["x" * 51]}, 422),
        ({"ids": "all"}, 422),
        ({"ids": ids, "text": "new"}, 422),
    ):
        assert client.patch("/history", json=body).status_code == code
    archive = client.post("/history/export", json={"ids": ids[:2]})
    assert archive.headers["content-type"] == "application/zip"
    imported = client.post("/history/import", files={"file": archive.content}).json()
    assert len(imported["imported"]) == 2
    assert client.post("/history/export", json={"ids": ["none"]}).status_code == 404


@pytest.mark.parametrize(
    "header",
    [
        *("bytes=abc", "bytes=5-2", "bytes=-", "lines=1-2", "bytes", "=", "", "bytes=1-2-3"),
        *("bytes=--5", "bytes=0-1;2", "bytes=0x1-", "bytes=0-" + "9" * 2000, b"bytes=\xd9\xa1-"),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(200)),
    ],
)
def test_a_range_that_cannot_be_read_is_ignored(client, header: str | bytes) -> None:
    id = speak(client)
    whole = client.get(f"/audio/{id}").content
    answer = client.get(f"/audio/{id}", headers={"Range": header})
    assert answer.status_code == 200 and answer.content == whole


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=-0", "bytes=99999999-99999999999"])
def test_a_range_beyond_the_end_is_416_in_our_shape(client, header: str) -> None:
    id = speak(client)
    size = len(client.get(f"/audio/{id}").content)
    answer = client.get(f"/audio/{id}", headers={"Range": header})
    assert answer.status_code == 416 and is_envelope(answer)
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_ranges_are_what_was_asked_for(client) -> None:
    id = speak(client)
    whole = client.get(f"/audio/{id}").content
    for header, part in (
        ("bytes=0-1", whole[:2]),
        ("bytes= 5-9", whole[5:10]),
        ("bytes=-7", whole[-7:]),
        ("bytes=44-", whole[44:]),
        ("bytes=0-99999999", whole),
    ):
        answer = client.get(f"/audio/{id}", headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, part), header


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


def _picture(mode: str, form: str, **options: object) -> bytes:
    sink = io.BytesIO()
    Image.new(mode, (600, 30)).save(sink, form, **options)
    return sink.getvalue()


def _texts() -> PngInfo:
    info = PngInfo()
    for number in range(80):
        info.add_text(f"a{number}", "b" * 1_000_000, zip=True)
    return info


FRAMES = [Image.new("RGB", (600, 30), (n, 0, 0)) for n in range(1, 30)]


@pytest.mark.parametrize(
    "content",
    [
        *(_png(60_000, 60_000), _png(10_000, 10_000), _png(0, 0), _png(2**31 - 1, 1)),
        *(_png(100, 100), _picture("RGB", "JPEG")[:300], _picture("RGB", "WEBP")[:50]),
        *(_picture("RGB", "PNG", pnginfo=_texts()), b"<svg/>", b"", _picture("RGB", "TIFF")),
    ],
    ids=lambda content: f"{len(content)}",
)
def test_a_picture_that_is_a_bomb_or_broken_is_refused(client, content: bytes) -> None:
    anna = client.post("/profiles", json={"name": "Anna"}).json()["id"]
    answer = client.post(f"/profiles/{anna}/avatar", files={"file": content})
    assert answer.status_code == 422 and is_envelope(answer)
    assert client.get(f"/profiles/{anna}").json()["avatar_path"] is None


@pytest.mark.parametrize(
    "content",
    [
        *(_picture("CMYK", "JPEG"), _picture("L", "PNG"), _picture("I;16", "PNG")),
        *(_picture("1", "PNG"), _picture("P", "GIF"), _picture("LA", "PNG")),
        *(
            _picture("RGB", form, save_all=True, append_images=FRAMES)
            for form in ("GIF", "WEBP", "PNG")
        ),
    ],
    ids=lambda content: f"{len(content)}",
)
def test_a_picture_of_any_kind_becomes_a_small_png(client, content: bytes) -> None:
    anna = client.post("/profiles", json={"name": "Anna"}).json()["id"]
    assert client.post(f"/profiles/{anna}/avatar", files={"file": content}).status_code == 200
    with Image.open(io.BytesIO(client.get(f"/profiles/{anna}/avatar").content)) as shown:
        assert (shown.format, shown.mode, max(shown.size)) == ("PNG", "RGBA", 512)
        assert getattr(shown, "n_frames", 1) == 1
