"""Hundreds of listeners share one broadcast: no thread each, nothing queued for the slow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import orjson
import pytest

from tests.conftest import blocked_engine
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build, listeners

MANY = 300


class EventClient:
    """One listener of an application; `slow` ones take nothing until they are let."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.may_read = anyio.Event()
        self.may_read.set()
        self.gone = anyio.Event()

    async def listen(self, app: Any, path: str) -> None:
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await self.may_read.wait()
            if part := message.get("body"):
                self.parts.append(part)

        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path}
        scope |= {"raw_path": path.encode(), "query_string": b"", "scheme": "http", "headers": []}
        await app(scope, receive, send)

    @property
    def processing(self) -> list[bool]:
        """Whether something was running, by each event."""
        bodies = [part.split(b"data: ")[1] for part in self.parts if b"data: " in part]
        return [orjson.loads(body)["is_processing"] for body in bodies]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.01)


@pytest.fixture
def subscribed(lab: VoiceLab) -> list[int]:
    """How many listen to the status itself, after each change of that."""
    counts = [0]
    status: Any = lab.status
    subscribe = status.subscribe

    def count_subscription(callback: Callable[[], None]) -> Callable[[], None]:
        unsubscribe = subscribe(callback)
        counts.append(counts[-1] + 1)

        def count_unsubscription() -> None:
            unsubscribe()
            counts.append(counts[-1] - 1)

        return count_unsubscription

    status.subscribe = count_subscription
    return counts


def test_hundreds_hear_of_a_change_without_a_thread_each(
    lab: VoiceLab, subscribed: list[int]
) -> None:
    app, clients = build(lab), [EventClient() for _ in range(MANY)]

    async def listen() -> None:
        async with anyio.create_task_group() as group:
            before = threading.active_count()
            for client in clients:
                group.start_soon(client.listen, app, "/status/stream")
            await until(lambda: all(client.processing == [False] for client in clients))
            assert threading.active_count() == before
            live = lab.status.begin("The fjord was quiet.")
            await until(lambda: all(client.processing[-1] for client in clients))
            assert threading.active_count() == before
            live.finish()
            await until(lambda: not any(client.processing[-1] for client in clients))
            for client in clients:
                client.gone.set()

    anyio.run(listen)
    assert max(subscribed) == 1 and subscribed[-1] == 0


def test_those_who_wait_for_a_take_take_no_thread(lab: VoiceLab) -> None:
    app, clients = build(lab), [EventClient() for _ in range(MANY)]

    async def listen() -> None:
        async with anyio.create_task_group() as group:
            for client in clients:
                group.start_soon(client.listen, app, f"/generate/{take['id']}/status")
            await until(lambda: all(client.parts for client in clients))
            borrowed = anyio.to_thread.current_default_thread_limiter().borrowed_tokens
            assert borrowed == 0
            free.set()

    with blocked_engine(lab) as free:
        take = lab.submit(GenerationRequest("The fjord was quiet."))
        anyio.run(listen)
    for client in clients:
        assert (
            b'"status":"pending"' in client.parts[0] and b'"status":"completed"' in client.parts[-1]
        )


def test_a_slow_listener_misses_what_is_old_and_keeps_nobody_waiting(lab: VoiceLab) -> None:
    app, slow, quick = build(lab), EventClient(), EventClient()

    async def listen() -> None:
        async with anyio.create_task_group() as group:
            for client in (slow, quick):
                group.start_soon(client.listen, app, "/status/stream")
            await until(lambda: bool(slow.processing and quick.processing))
            slow.may_read = anyio.Event()
            live = lab.status.begin("The fjord was quiet.")
            for step in range(200):
                live.step("generating_audio", f"Step {step}")
            await until(lambda: b"Step 199" in quick.parts[-1])
            live.finish()
            await until(lambda: not quick.processing[-1])
            slow.may_read.set()
            await until(lambda: len(slow.parts) > 1 and not slow.processing[-1])
            for client in (slow, quick):
                client.gone.set()

    anyio.run(listen)
    assert len(slow.parts) <= 3 and len(quick.parts) < 100


def test_silence_is_a_heartbeat_for_all(lab: VoiceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "HEARTBEAT_S", 0.01)
    app, clients = build(lab), [EventClient() for _ in range(20)]

    async def listen() -> None:
        async with anyio.create_task_group() as group:
            for client in clients:
                group.start_soon(client.listen, app, "/status/stream")
            await until(lambda: all(b": heartbeat\n\n" in client.parts for client in clients))
            for client in clients:
                client.gone.set()

    anyio.run(listen)
    assert all(client.processing == [False] for client in clients)
