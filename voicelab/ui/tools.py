"""The named endpoints as MCP tools, if the package `mcp` is installed."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from anyio import CancelScope, CapacityLimiter, to_thread

from voicelab.errors import InvalidInput, NotFound, VoicelabError

if TYPE_CHECKING:
    from gradio.mcp import GradioMCPServer
    from mcp import types
    from starlette.requests import Request

__all__ = ["installed", "numbers", "ready"]

log = logging.getLogger(__name__)

TOOLS = frozenset(
    (
        *("generate", "history", "history_item", "stats", "status", "voices"),
        *("cancel", "favorite", "delete"),
    )
)
"""Endpoints offered as tools; the others transfer files, which tools cannot."""

MAX_MESSAGE_CHARS = 400
"""Longest validation message, which quotes the argument."""


def numbers(label: str) -> gr.JSON:
    """A JSON component for numbers by name.

    Gradio's JSON schema has no type, so that MCP clients cannot call a tool with it. It is no
    subclass, since Gradio writes an interface file beside the source of each component class.
    """
    component = gr.JSON(label=label)
    schema = {"type": "object", "additionalProperties": {"type": "number"}}
    component.api_info = schema.copy
    return component


@dataclass(frozen=True)
class _Tool:
    """A named endpoint as a tool: its function, and the JSON schema of its arguments."""

    endpoint: str
    function: Callable[..., Any]
    description: str
    schema: Mapping[str, Any]


def installed() -> bool:
    """Whether MCP tools can be served."""
    return importlib.util.find_spec("mcp") is not None


def ready(server: GradioMCPServer, max_queue: int) -> None:
    """Register the tools with Gradio's MCP server; they call the endpoints' functions directly.

    Gradio's own tools call its HTTP server, without the caller's key or login, and block worker
    threads that the response needs.

    Args:
        server: as created by Gradio, before its first request.
        max_queue: how many calls may wait or run at once.
    """
    from mcp import types  # of the extra mcp

    tools = dict(_tools(server))
    listed = [
        types.Tool(name=name, description=tool.description, inputSchema=dict(tool.schema))
        for name, tool in tools.items()
    ]
    threads = CapacityLimiter(max_queue + 1)

    @server.mcp_server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return listed

    @server.mcp_server.call_tool(validate_input=False)
    async def call_tool(name: str, arguments: dict[str, Any]) -> list[types.TextContent]:
        values = await _tool_result(server, tools, name, arguments, threads)
        return [types.TextContent(type="text", text=_text(value)) for value in values]


async def _tool_result(
    server: GradioMCPServer,
    tools: Mapping[str, _Tool],
    name: str,
    arguments: Mapping[str, Any],
    threads: CapacityLimiter,
) -> tuple[Any, ...]:
    """The result of a tool call; errors are raised with a message for the caller."""
    try:
        if name not in tools:
            raise NotFound(f"There is no tool '{name[:40]}'; there are {', '.join(tools)}.")
        _check(tools[name], arguments)
        value = await _call_endpoint(server, tools[name].function, arguments, threads)
    except gr.Error as error:
        raise InvalidInput(error.message) from error
    except VoicelabError:
        raise
    except Exception as error:
        log.exception("unexpected error in the tool %s", name)
        raise VoicelabError("Something went wrong on the server; see its log.") from error
    if tools[name].endpoint != "generate":  # on a Space its name begins with the Space's
        return (value,)
    return _address(server.mcp_server.request_context.request, value[1]), value[1]


def _tools(server: GradioMCPServer) -> Iterator[tuple[str, _Tool]]:
    for name, endpoint in server.tool_to_endpoint.items():
        block: Any = server.get_block_fn_from_endpoint_name(endpoint)
        endpoint_name = endpoint.strip("/")
        if endpoint_name in TOOLS:
            description, parameters = server.get_fn_description(block, name)
            schema, files = server.get_input_schema(name, parameters)
            file_fields = {str(path[-1]) for path in files}
            fields = {k: v for k, v in schema["properties"].items() if k not in file_fields}
            description = description.split(" If a user passes a file")[0]
            yield name, _Tool(endpoint_name, block.fn, description, _schema(block.fn, fields))


def _schema(function: Callable[..., Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of the arguments; Gradio 6.8 does not mark the required ones."""
    arguments = inspect.signature(function).parameters.values()
    required = [
        each.name for each in arguments if each.default is each.empty and each.name in fields
    ]
    return {"type": "object", "properties": dict(fields), "required": required}


def _check(tool: _Tool, arguments: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator  # of the extra mcp

    fields = tool.schema["properties"]
    unknown = sorted(set(arguments) - set(fields))
    if unknown:
        known = ", ".join(fields) or "none"
        raise InvalidInput(f"There is no argument '{unknown[0][:40]}'; there are: {known}.")
    values = {name: value for name, value in arguments.items() if value is not None}
    for error in Draft202012Validator(dict(tool.schema)).iter_errors(values):
        where = ".".join(map(str, error.absolute_path))
        message = (
            error.message
            if len(error.message) < MAX_MESSAGE_CHARS
            else f"not a {error.validator_value}"
        )
        raise InvalidInput(f"{where[:80]}: {message}" if where else message)


async def _call_endpoint(
    server: GradioMCPServer,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    threads: CapacityLimiter,
) -> Any:
    """The last value of an endpoint; it is stopped when the caller disconnects."""
    value = await to_thread.run_sync(lambda: function(**arguments), limiter=threads)
    if not isinstance(value, Iterator):
        return value
    try:
        last: Any = None
        while (each := await to_thread.run_sync(next, value, None, limiter=threads)) is not None:
            last = each
            await _report_progress(server, last[1])
        return last
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(value.close)  # pyright: ignore[reportAttributeAccessIssue]


async def _report_progress(server: GradioMCPServer, description: Mapping[str, Any]) -> None:
    """Send the progress of a request, if the caller asked for it."""
    context = server.mcp_server.request_context
    progress = description.get("progress")
    if context.meta is None or context.meta.progressToken is None or not progress:
        return
    await context.session.send_progress_notification(
        context.meta.progressToken,
        progress["current_chunk"],
        progress["total_chunks"],
        progress["current_step"],
        related_request_id=str(context.request_id),
    )


def _address(request: Request | None, record: Mapping[str, Any]) -> str:
    """URL of the audio of a take."""
    return f"{request.base_url if request else '/'}audio/{record['id']}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
