"""A body that trickles in is ended; what takes long after it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import orjson
import pytest

from tests.conftest import MakeLab, blocked_engine
from voicelab.rest import build
from voicelab.rest.bodies import BodyTimeout

BOUNDARY = b"--b\r\nContent-Disposition: form-data; name="


async def send_slowly(
    app: Any, path: str, parts: Sequence[bytes], kind: str = "application/json", ends: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a body that comes in parts, and then no more."""
    waiting = list(parts)
    status, headers, content = 0, {}, b""

    async def receive() -> dict[str, Any]:
        if waiting:
            part = waiting.pop(0)
            more = bool(waiting) or not ends
            return {"type": "http.request", "body": part, "more_body": more}
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, content
        status = message.get("status", status)
        headers.update({k.decode(): v.decode() for k, v in message.get("headers", ())})
        content += message.get("body", b"")

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path}
    scope |= {"raw_path": path.encode(), "query_string": b"", "scheme": "http"}
    fields = {"content-type": kind, "content-length": "1000", "host": "localhost"}
    scope |= {"headers": [(k.encode(), v.encode()) for k, v in fields.items()]}
    with anyio.fail_after(60):
        await app(scope, receive, send)
    return status, headers, content


def limited(lab: Any, timeout_s: float) -> Any:
    from voicelab.rest.errors import ErrorShield

    return ErrorShield(BodyTimeout(build(lab), timeout_s))


@pytest.mark.parametrize(
    ("path", "kind", "parts"),
    [
        ("/v1/audio/speech", "application/json", [b'{"inp']),
        ("/v1/audio/speech", "application/json", [b"{", b'"']),
        ("/v1/audio/speech/upload", "multipart/form-data; boundary=b", [BOUNDARY + b'"input"\r\n']),
        ("/history/import", "multipart/form-data; boundary=b", [BOUNDARY + b'"file"; filename="a']),
        ("/profiles", "application/json", [b""]),
    ],
)
def test_a_body_that_trickles_is_408(
    make_lab: MakeLab, path: str, kind: str, parts: list[bytes]
) -> None:
    lab = make_lab()
    app = limited(lab, 0.05)
    status, headers, content = anyio.run(lambda: send_slowly(app, path, parts, kind))
    assert status == 408 and headers["connection"] == "close"
    error = orjson.loads(content)["error"]
    assert error["type"] == "timeout" and "within 0.05 s" in error["message"]
    assert lab.history.list()[1] == 0 and lab.status.statistics()["total_requests"] == 0


def test_a_take_may_last_longer_than_its_body(make_lab: MakeLab) -> None:
    lab = make_lab()
    app = limited(lab, 0.2)

    async def speak() -> int:
        async def later() -> None:
            await anyio.sleep(0.5)
            free.set()

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            body = [b'{"input": ', b'"The fjord was quiet."}']
            status, _, content = await send_slowly(app, "/v1/audio/speech", body, ends=True)
        assert content[:4] == b"RIFF"
        return status

    with blocked_engine(lab) as free:
        assert anyio.run(speak) == 200


def test_what_was_sent_gives_more_time() -> None:
    """A large file over a slow line: 64 KiB each 0.3 s, in all longer than the limit."""
    seen = []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            seen.append(len(message["body"]))
            if not message["more_body"]:
                return

    async def upload() -> None:
        left = 8

        async def receive() -> dict[str, Any]:
            nonlocal left
            await anyio.sleep(0.3)
            left -= 1
            return {"type": "http.request", "body": bytes(1 << 16), "more_body": left > 0}

        await BodyTimeout(reads, 1.0)({"type": "http"}, receive, reads)

    anyio.run(upload)
    assert sum(seen) == 8 << 16


def test_the_server_has_the_limit(make_lab: MakeLab) -> None:
    from voicelab.rest import middleware

    layers = middleware(make_lab(body_timeout_s=7).settings)
    assert [layer.kwargs for layer in layers if layer.cls is BodyTimeout] == [{"timeout_s": 7}]
