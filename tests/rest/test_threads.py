"""The event loop waits for no store, and who hangs up keeps no other route waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.conftest import blocked_engine
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build

CALLS = (
    *("get", "get_many", "page", "values", "count", "tally"),
    *("insert", "patch", "delete", "delete_many"),
)


@pytest.fixture
def in_loop(lab: VoiceLab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls of the store made in the thread of an event loop."""
    seen: list[str] = []

    def watch(name: str) -> None:
        real = getattr(lab.library.store, name)

        def call(table: str, *more: Any, **named: Any) -> Any:
            if asyncio._get_running_loop() is not None:
                seen.append(f"{name} {table}")
            return real(table, *more, **named)

        monkeypatch.setattr(lab.library.store, name, call)

    for name in CALLS:
        watch(name)
    return seen


@pytest.mark.parametrize(
    "path",
    [
        "/status?include_history=true&include_stats=true",
        "/status/progress",
        "/status/statistics",
        "/status/history",
        "/status/{request_id}",
        "/info",
        "/health",
        "/metrics",
        "/history?search=fjord",
        "/history/stats",
        "/history/{id}",
        "/audio/{id}",
        "/audio/version/{active_version_id}",
        "/generate/{id}/status",
        "/voices",
        "/v1/config",
        "/languages",
        "/engines",
    ],
)
def test_no_route_reads_the_store_in_the_event_loop(
    lab: VoiceLab, client: TestClient, in_loop: list[str], path: str
) -> None:
    take = lab.drain(lab.stream(GenerationRequest("The fjord was quiet.")))
    assert client.get(path.format(**take)).status_code == 200
    assert in_loop == []


async def listen(
    app: FastAPI, path: str, gone: anyio.Event, body: bytes = b"", reads: bool = True
) -> None:
    """A client that posts the body, or gets without one, and hangs up when `gone` is set."""
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        if not gone.is_set():
            await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) in (200, 409 if body else 200)
        if not reads:
            await gone.wait()

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST" if body else "GET"}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http"}
    scope |= {"headers": headers}
    await app(scope, receive, send)  # pyright: ignore[reportArgumentType]


TEXT = "The fjord was quiet. It was morning."


@pytest.mark.parametrize(
    ("path", "body", "reads"),
    [
        ("/v1/audio/speech", {"input": TEXT}, True),
        ("/v1/audio/speech/stream", {"input": TEXT}, True),
        ("/v1/audio/speech/stream", {"input": TEXT}, False),
        ("/stories/{id}/generate", {"script": TEXT}, True),
    ],
)
def test_a_client_that_hangs_up_ends_its_take_and_keeps_no_other_waiting(
    lab: VoiceLab, in_loop: list[str], path: str, body: dict[str, str], reads: bool
) -> None:
    """The engine is told at once, and another thread records it."""
    path = path.format(id=lab.library.stories.create("S")["id"])

    async def hang_up() -> None:
        gone = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(listen, build(lab), path, gone, orjson.dumps(body), reads)
            with anyio.fail_after(60):
                while not lab.status.live():
                    await anyio.sleep(0.01)
            gone.set()

    with blocked_engine(lab):
        anyio.run(hang_up)
    assert lab.status.statistics()["cancelled_requests"] == 1
    assert in_loop == []
