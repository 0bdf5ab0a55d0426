"""Clients that hang up: nothing of them stays, and what they watched goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conftest import blocked_after_first_chunk, blocked_engine, wait_for
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build

TEXT = " ".join(f"Sentence number {i} of a text that is spoken for a while." for i in range(8))
SPEECH = [f"{root}/stream/upload" for root in ("/v1/audio/speech", "/tts")]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are, for this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Caller:
    """A client that sends a body in parts, and hangs up when it is told to, or after them."""

    def __init__(self, method: str, path: str, *parts: bytes, ends: bool = True):
        self.received = bytearray()
        self.status = 0
        self.gone = anyio.Event()
        self._method, self._path = method, path
        self._parts, self._ends = list(parts) or [b""], ends

    async def call(self, app: Any) -> None:
        scope = {"type": "http", "http_version": "1.1", "method": self._method, "scheme": "http"}
        scope |= {"path": self._path, "raw_path": self._path.encode(), "query_string": b""}
        form = (b"content-type", b"multipart/form-data; boundary=B")
        with anyio.fail_after(60):
            await app(scope | {"headers": [form]}, self._receive, self._send)

    async def call_until(self, app: Any, condition: Callable[[], Any]) -> None:
        """Hang up once it is true."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.call, app)
            await anyio.to_thread.run_sync(wait_for, condition)
            self.gone.set()

    async def _receive(self) -> dict[str, Any]:
        if self._parts:
            part = self._parts.pop(0)
            more = bool(self._parts) or not self._ends
            return {"type": "http.request", "body": part, "more_body": more}
        if self._ends:
            await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.received += message.get("body", b"")


def form(name: str, clip: bytes, **fields: str) -> bytes:
    fields = "".join(
        f'--B\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'
    return fields.encode() + head.encode() + clip + b"\r\n--B--\r\n"


def remaining_files(lab: VoiceLab, temporary: Path) -> list[Path]:
    """Files of clients: temporary ones, and what is kept."""
    return [
        path
        for folder in (temporary, lab.library.files.root)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("db.")
    ]


def test_a_job_goes_on_when_nobody_watches_it(lab: VoiceLab) -> None:
    with blocked_engine(lab) as free:
        job = lab.submit(GenerationRequest(text=TEXT, source="long"))
        path = f"/audio/speech/long/{job['id']}/sse"
        callers = [Caller("GET", path) for _ in range(3)]
        for caller in callers:
            anyio.run(caller.call_until, build(lab), lambda caller=caller: caller.received)
            assert b"event: progress" in caller.received and b"completed" not in caller.received
        assert lab.status.is_live(job["request_id"])
        assert not lab.status._listeners
        free.set()
    wait_for(lambda: lab.history.get(job["id"])["status"] == "completed")


@pytest.mark.parametrize("path", SPEECH)
def test_a_stream_that_nobody_hears_any_more_ends_its_take(
    lab: VoiceLab, voice: Path, temporary: Path, path: str
) -> None:
    before = remaining_files(lab, temporary)
    body = form("voice_file", voice.read_bytes(), input=TEXT)
    with blocked_after_first_chunk(lab):
        caller = Caller("POST", path, body)
        anyio.run(caller.call_until, build(lab), lambda: len(caller.received) > 44)
        assert caller.status == 200
        wait_for(lambda: not lab.status.live())
    (record,), total = lab.history.list()
    assert (total, record["status"], record["error"]) == (1, "failed", "cancelled")
    assert not [each for each in remaining_files(lab, temporary) if temporary in each.parents]
    lab.library.delete(record["id"])
    lab.cache.clear()  # the chunk that was received is kept for the next take of that text
    assert remaining_files(lab, temporary) == before


@pytest.mark.parametrize("path", [*SPEECH, "/generate/import", "/voices"])
@pytest.mark.parametrize("at", [10, 150_000, 2_500_000])
def test_a_form_that_breaks_off_leaves_nothing(
    lab: VoiceLab, temporary: Path, path: str, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = remaining_files(lab, temporary)
    fields = {"input": TEXT} if path in SPEECH else {"voice_name": "Anna"}
    name = "file" if path == "/generate/import" else "voice_file"
    body = form(name, b"RIFF" + bytes(3_000_000), **fields)[:at]
    caller = Caller("POST", path, *(body[i : i + 65_536] for i in range(0, at, 65_536)), ends=False)
    anyio.run(caller.call, build(lab))
    assert caller.status in (0, 400)
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
    assert lab.history.list()[1] == 0 and not lab.status.live()
    assert [profile["name"] for profile in lab.library.profiles.list()] == ["Default"]
    assert remaining_files(lab, temporary) == before
