"""The named endpoints as an assistant finds them: MCP tools over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from tests.conftest import wait_for
from voicelab.lab import VoiceLab

TOOLS = {
    *("generate", "history", "history_item", "stats", "status", "voices"),
    *("cancel", "favorite", "delete"),
}
Seen = Callable[[httpx.Response], Awaitable[None]]
Ask = Callable[[ClientSession], Awaitable[Any]]


def ask(
    url: str, work: Ask, headers: dict[str, str] | None = None, on_response: Seen | None = None
) -> Any:
    """The result of `work` in a session of the reference client.

    `on_response` is called with each HTTP response.
    """

    async def session() -> Any:
        address = f"{url}/gradio_api/mcp/"
        hooks: dict[str, list[Any]] = {"response": [on_response] if on_response else []}
        async with (
            httpx.AsyncClient(headers=headers, timeout=60, event_hooks=hooks) as http,
            streamable_http_client(address, http_client=http) as (read, write, _),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            return await work(client)

    return asyncio.run(session())


def call(
    url: str,
    tool: str,
    headers: dict[str, str] | None = None,
    on_response: Seen | None = None,
    **arguments: Any,
) -> Any:
    return ask(url, lambda client: client.call_tool(tool, arguments), headers, on_response)


def answer(result: CallToolResult) -> list[Any]:
    assert not result.isError, result.content
    texts = [block.text for block in result.content if block.type == "text"]
    return [json.loads(text) if text[:1] in "[{" else text for text in texts]


def test_the_tools_are_the_documented_ones_with_types(url: str) -> None:
    tools = {tool.name: tool for tool in ask(url, lambda client: client.list_tools()).tools}
    assert set(tools) == TOOLS
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.inputSchema)
        assert tool.description
        for name, field in tool.inputSchema["properties"].items():
            assert field["type"] in ("string", "number", "integer", "boolean", "object"), name
            assert field["description"]
    schema = tools["generate"].inputSchema
    assert schema["required"] == ["text"]
    assert schema["properties"]["parameters"]["additionalProperties"] == {"type": "number"}


def test_an_assistant_makes_finds_and_deletes_a_take(url: str, page_lab: VoiceLab) -> None:
    made = answer(
        call(url, "generate", text="Hello.", seed=7, parameters={"pitch": 60}, engine="espeak")
    )
    address, record = made
    assert address.startswith(url) and record["seed"] == 7
    assert record["parameters"]["pitch"] == 60 and record["status"] == "completed"
    [found] = answer(call(url, "history", search="hello", limit=5))
    assert record["id"] in [item["id"] for item in found["items"]]
    [item] = answer(call(url, "history_item", id=record["id"]))
    assert item["text"] == "Hello." and len(item["versions"]) == 1
    assert answer(call(url, "favorite", id=record["id"])) == [{"is_favorited": True}]
    assert answer(call(url, "voices"))[0][0]["name"] == "Default"
    assert answer(call(url, "status"))[0]["status"] == "idle"
    assert answer(call(url, "stats"))[0]["total_generations"] >= 1
    assert "message" in answer(call(url, "delete", id=record["id"]))[0]
    assert page_lab.history.list()[1] == 0


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("generate", {"text": ""}, "empty"),
        ("generate", {"text": "Hi.", "voice": "Nobody"}, "Nobody"),
        ("generate", {"text": "Hi.", "parameters": {"pitch": "high"}}, "high"),
        ("generate", {"text": "Hi.", "parameters": [1]}, "object"),
        ("generate", {"text": 5}, "string"),
        ("generate", {}, "text"),
        ("history_item", {"id": "none"}, "no take"),
        ("history", {"limit": -1}, "limit"),
        ("cancel", {"request_id": "x" * 1_000_000}, "no request"),
        ("export", {"id": "x"}, "export"),
        ("nonsense", {}, "nonsense"),
    ],
)
def test_a_tool_says_what_was_wrong(
    url: str, page_lab: VoiceLab, tool: str, arguments: dict[str, Any], message: str
) -> None:
    result = call(url, tool, **arguments)
    assert result.isError and message in result.content[0].text
    assert len(result.content[0].text) < 600
    assert page_lab.history.list()[1] == 0


def test_a_tool_of_fifty_at_once(url: str) -> None:
    async def many(client: ClientSession) -> list[CallToolResult]:
        return await asyncio.gather(*(client.call_tool("status", {}) for _ in range(50)))

    assert all(answer(result) for result in ask(url, many))


def test_a_client_that_wants_it_is_told_the_progress(url: str, page_lab: VoiceLab) -> None:
    reports: list[tuple[float, float | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert message
        reports.append((progress, total))

    async def speak(client: ClientSession) -> CallToolResult:
        sentence = "A sentence that is long enough to be spoken alone, for a single boat. "
        text = {"text": sentence * 6}
        return await client.call_tool("generate", text, progress_callback=on_progress)

    record = answer(ask(url, speak))[1]
    chunks = len(record["chunks"])
    assert chunks > 1 and reports[-1] == (chunks, chunks) and reports == sorted(reports)
    page_lab.library.delete(record["id"])


def test_an_assistant_that_hangs_up_stops_the_work(url: str, page_lab: VoiceLab) -> None:
    before = page_lab.status.statistics()["cancelled_requests"]
    text = {"text": "A long story. " * 2000, "speed": 0.5}

    async def leave(client: ClientSession) -> None:
        speaking = asyncio.create_task(client.call_tool("generate", text))
        await asyncio.to_thread(wait_for, page_lab.status.live)
        speaking.cancel()

    ask(url, leave)
    wait_for(lambda: page_lab.status.current()["status"] == "idle")
    assert page_lab.status.statistics()["cancelled_requests"] == before + 1
    for record in page_lab.history.list()[0]:
        page_lab.library.delete(record["id"])


def test_a_body_that_is_no_message_is_refused(url: str) -> None:
    for body in (b"", b"junk", b"[]", b"{}", b"x" * 1_000_000):
        headers = {"Accept": "application/json, text/event-stream"}
        headers["Content-Type"] = "application/json"
        refused = httpx.post(f"{url}/gradio_api/mcp/", content=body, headers=headers)
        assert refused.status_code == 400 and len(refused.content) < 10_000


def test_on_a_space_a_tool_has_its_name_before_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradio.utils.get_space", lambda: "someone/my.lab")
    with VoiceLab.open(tmp_path, engine="tone", port=0) as lab:
        address = lab.launch(quiet=True).local_url.rstrip("/")
        tools = ask(address, lambda client: client.list_tools()).tools
        assert {tool.name for tool in tools} == {f"my_lab_{name}" for name in TOOLS}
        audio, record = answer(call(address, "my_lab_generate", text="Hello."))
        assert httpx.get(audio).content == lab.library.audio_path(record["id"]).read_bytes()


def test_behind_the_lock_the_tools_want_the_key(tmp_path: Path) -> None:
    key = {"Authorization": "Bearer a key of some length"}
    refused: list[int] = []

    async def on_response(response: httpx.Response) -> None:
        refused.append(response.status_code)

    settings: dict[str, Any] = {"engine": "tone", "port": 0, "api_key": "a key of some length"}
    with VoiceLab.open(tmp_path, **settings) as lab:
        address = lab.launch(quiet=True).local_url.rstrip("/")
        audio, record = answer(call(address, "generate", key, text="Hello."))
        assert record["status"] == "completed" and record["id"] in audio
        assert httpx.get(audio).status_code == 401
        assert (
            httpx.get(audio, headers=key).content
            == lab.library.audio_path(record["id"]).read_bytes()
        )
        for headers in (None, {"Authorization": "Bearer wrong"}):
            refused.clear()
            with pytest.raises(BaseExceptionGroup, match="unhandled errors"):
                call(address, "delete", headers, on_response, id=record["id"])
            assert set(refused) == {401}
        assert lab.history.list()[1] == 1
        assert answer(call(address, "delete", key, id=record["id"]))
        assert lab.history.list()[1] == 0
