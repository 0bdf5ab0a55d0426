"""The launched server: page and REST on one port, the named endpoints, Spaces."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.conftest import MakeLab, wait_for
from tests.shape import is_envelope
from voicelab.errors import Forbidden
from voicelab.generation.job import LOOKAHEAD_CHUNKS
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.server import Lab
from voicelab.ui.tabs.generate import MAX_AHEAD_S, _updates
from voicelab.ui.tabs.stories import _change, _opened_values

ENDPOINTS = {
    "/generate",
    "/history",
    "/history_item",
    "/delete",
    "/favorite",
    "/export",
    "/import",
    "/stats",
    "/status",
    "/cancel",
    "/voices",
}


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return Client(url, verbose=False)


def test_page_and_routes_share_a_port(url: str) -> None:
    assert "text/html" in httpx.get(f"{url}/").headers["content-type"]
    for path in ("/status", "/history", "/health", "/openapi.json", "/v1/models"):
        answer = httpx.get(f"{url}{path}")
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "application/json"
    missing = httpx.get(f"{url}/history/none")
    assert missing.status_code == 404 and is_envelope(missing)


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/gradio_api/none", 404, "Not Found"),
        ("PUT", "/gradio_api/queue/join", 405, "Method Not Allowed"),
    ],
)
def test_gradios_errors_have_our_shape_beside_theirs(
    url: str, method: str, path: str, status: int, detail: str
) -> None:
    refused = httpx.request(method, f"{url}{path}")
    assert refused.status_code == status
    body = refused.json()
    assert body["detail"] == detail
    assert path in body["error"]["message"] and body["error"]["type"]


def test_events_of_an_unknown_session_end_without_a_traceback(url: str, caplog) -> None:
    caplog.set_level("INFO", "voicelab")
    with httpx.stream("GET", f"{url}/gradio_api/queue/data?session_hash=nobody") as events:
        assert '"session_not_found":true' in events.read().decode()
    wait_for(lambda: "Not Found" in caplog.text or None)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_takes_are_heard_wherever_their_folder_is(url, page_lab, tmp_path, monkeypatch) -> None:
    """Gradio gives out files of its temporary folder by itself; takes need not lie there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    audio, record = Client(url, verbose=False).predict("Hello there.", api_name="/generate")
    assert Path(audio).read_bytes() == page_lab.library.audio_path(record["id"]).read_bytes()
    records = page_lab.settings.data_dir / "db.json.j-00000001"
    for path in (records, page_lab.settings.data_dir / "db.json"):
        assert httpx.get(f"{url}/gradio_api/file={path}").status_code in (403, 404)


def test_a_foreign_host_name_is_refused(url: str) -> None:
    answer = httpx.get(f"{url}/status", headers={"Host": "evil.example"})
    assert answer.status_code == 403 and "host name" in answer.json()["error"]["message"]


def test_an_unexpected_error_shows_nothing_of_the_inside(url, page_lab, monkeypatch) -> None:
    monkeypatch.setattr(page_lab.history, "stats", lambda: 1 / 0)
    answer = httpx.get(f"{url}/history/stats")
    assert answer.status_code == 500 and "ZeroDivision" not in answer.text
    assert answer.json()["error"]["type"] == "server_error"


def test_a_client_that_hangs_up_stops_the_work(url: str, page_lab: VoiceLab) -> None:
    async def hang_up(path: str) -> None:
        body = {"input": "A long story. " * 2000, "engine": "espeak", "speed": 0.5}
        async with httpx.AsyncClient() as client:
            asking = asyncio.create_task(client.post(f"{url}{path}", json=body, timeout=60))
            await asyncio.to_thread(wait_for, lambda: page_lab.status.live())
            asking.cancel()

    before = page_lab.status.statistics()["cancelled_requests"]
    for path in ("/v1/audio/speech", "/v1/audio/speech/stream"):
        asyncio.run(hang_up(path))
        wait_for(lambda: page_lab.status.current()["status"] == "idle")
    assert page_lab.status.statistics()["cancelled_requests"] == before + 2


def test_arriving_at_no_story_changes_nothing(lab: VoiceLab) -> None:
    """The answer may come after that to the press that made the first story."""
    assert all(value == gr.skip() for value in _opened_values(lab, None))
    id = lab.library.stories.create("A story")["id"]
    assert _opened_values(lab, None)[0].value == _opened_values(lab, id)[0].value == id


def test_the_status_stream_tells_of_changes(url: str, page_lab: VoiceLab) -> None:
    with httpx.stream("GET", f"{url}/status/stream", timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: progress"
        record = page_lab.submit(GenerationRequest("A long story. " * 2000, speed=0.5))
        assert any('"is_processing":true' in line for line in lines)
        page_lab.library.delete(record["id"])
        assert any('"is_processing":false' in line for line in lines)


def test_only_the_named_endpoints_are_shown_with_descriptions(client: Client) -> None:
    api = client.view_api(return_format="dict")
    assert set(api["named_endpoints"]) == ENDPOINTS
    assert not api["unnamed_endpoints"]
    assert all(endpoint["description"] for endpoint in api["named_endpoints"].values())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("generate", '["Hello.", null, null, null, null, -1, null, null]', "event: complete"),
        ("generate", '["Hello.", null, null, null, null, null, 1, {"level": null}]', "complete"),
        ("history", "[null, null, null, null]", "event: complete"),
        ("generate", '["\\ud800", null, null, null, null, null, 1, null]', "is not text"),
        ("generate", '["Hi", null, null, "\\ud800", null, null, 1, null]', "There is no voice"),
        ("generate", '["Hi", null, null, null, null, null, 1, {"\\ud800": 1}]', "no parameter"),
        *((each, '["\\ud800"]', "There is no") for each in ("history_item", "favorite", "cancel")),
    ],
)
def test_endpoints_take_null_as_the_default_and_refuse_half_characters(
    url: str, name: str, data: str, words: str
) -> None:
    headers = {"Content-Type": "application/json"}
    call = f"{url}/gradio_api/call/{name}"
    response = httpx.post(call, content=f'{{"data": {data}}}', headers=headers)
    assert response.status_code == 200
    events = httpx.get(f"{call}/{response.json()['event_id']}", timeout=60).text
    assert words in events, events


def test_predict_with_a_text_gives_the_file_and_the_record(client: Client) -> None:
    audio, record = client.predict("Hello from a script.", api_name="/generate")
    assert Path(audio).read_bytes()[:4] == b"RIFF"
    assert record["text"] == "Hello from a script." and record["source"] == "client"
    id = record["id"]
    assert client.predict(id, api_name="/history_item")["id"] == id
    assert client.predict("script", api_name="/history")["total"] == 1
    assert client.predict(id, api_name="/favorite") == {"is_favorited": True}
    archive = client.predict(id, api_name="/export")
    assert client.predict(handle_file(archive), api_name="/import")["source"] == "import"
    assert "message" in client.predict(id, api_name="/delete")
    assert client.predict(api_name="/stats")["total_generations"] >= 1
    assert client.predict(api_name="/status")["status"] == "idle"
    assert client.predict(api_name="/voices")[0]["name"] == "Default"


def test_a_client_is_told_what_was_wrong(client: Client) -> None:
    with pytest.raises(AppError, match="empty"):
        client.predict("", api_name="/generate")
    with pytest.raises(AppError, match="no take"):
        client.predict("none", api_name="/history_item")


def test_launching_again_keeps_the_lab(tmp_path: Path) -> None:
    with VoiceLab.open(tmp_path, engine="tone", port=0) as lab:
        first = lab.launch(quiet=True)
        second = lab.launch(quiet=True)
        assert isinstance(second, Lab) and first is not second
        assert httpx.get(f"{second.local_url}status").json()["status"] == "idle"


def test_a_taken_port_is_one_sentence(url: str, tmp_path: Path) -> None:
    port = re.search(r":(\d+)", url)[1]
    done = subprocess.run(
        [sys.executable, "app.py", "--engine", "tone", "--port", port, "--data-dir", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"voicelab: Port {port} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_space_serves_page_and_json(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "SYSTEM": "spaces",
        "SPACE_ID": "someone/voicelab",
        "GRADIO_SSR_MODE": "True",
        "VOICELAB_PORT": "7923",
        "VOICELAB_ENGINE": "espeak",
        "VOICELAB_DATA_DIR": str(tmp_path),
    }
    with subprocess.Popen(
        [sys.executable, "app.py"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:

        def answer() -> httpx.Response | None:
            try:
                return httpx.get("http://127.0.0.1:7923/status")
            except httpx.TransportError:
                return None

        try:
            got = wait_for(answer, 60)
            assert got.headers["content-type"] == "application/json"
            assert "gradio" in httpx.get("http://127.0.0.1:7923/").text
        finally:
            process.kill()


def test_a_stranger_takes_nothing_out_of_a_story(make_lab: MakeLab) -> None:
    lab = make_lab(host="0.0.0.0")
    take = lab.drain(lab.stream(GenerationRequest("Hello there.")))["id"]
    story = lab.library.stories.create("A story")["id"]
    item = lab.library.stories.add_item(story, take)["id"]
    with pytest.raises(Forbidden):
        _change(lab, story, item, "remove")
    assert _change(lab, story, item, "double") != item
    assert lab.library.stories.get(story)["item_count"] == 2


def test_a_quick_engine_does_not_wait_for_the_page(lab: VoiceLab, monkeypatch) -> None:
    """Updates hold what is there already, the first at once; the sound has no gap."""
    monkeypatch.setattr("voicelab.ui.tabs.generate._can_stream", lambda: True)
    words = "Ten words stand here so that each is a chunk. "
    take = lab.stream(GenerationRequest(words * 300, gap_ms=0))
    wait_for(lambda: take._blueprint.job.next_index >= LOOKAHEAD_CHUNKS)
    updates = [update[0] for update in _updates(lab, take, gr.Progress())]
    streamed = [wav for wav in updates if isinstance(wav, bytes)]
    assert len(streamed[1]) > 30 * len(streamed[0])
    whole = soundfile.info(lab.library.audio_path(take.id))
    sound = np.concatenate([soundfile.read(io.BytesIO(wav), dtype="int16")[0] for wav in streamed])
    assert MAX_AHEAD_S < len(sound) / whole.samplerate < whole.duration
    start, _ = soundfile.read(lab.library.audio_path(take.id), frames=len(sound), dtype="int16")
    assert np.array_equal(sound, start)
