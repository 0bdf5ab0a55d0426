"""Routes for live status, statistics, the request log, health and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

import voicelab
from voicelab.generation import memory_info
from voicelab.lab import VoiceLab
from voicelab.rest.catalog import transfer_body
from voicelab.rest.json import Json
from voicelab.rest.listeners import HEARTBEAT, Listeners
from voicelab.rest.models import Message
from voicelab.rest.openapi import files
from voicelab.rest.reports import (
    Cleared,
    Health,
    Info,
    Progress,
    Request,
    RequestLog,
    RequestStatus,
    Statistics,
)
from voicelab.rest.routing import Router
from voicelab.rest.security.exposure import owner_only

__all__ = ["router"]

IncludeMemory = Annotated[bool, Query(description="add memory_info")]
Aliases = tuple[str, ...]


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    routes = Router(tags=["status"])
    table: list[tuple[str, Aliases, Callable[..., Any], dict[str, Any]]] = [
        (
            "/status",
            ("/v1/status", "/processing", "/processing/status"),
            _status(lab),
            _json(RequestStatus),
        ),
        ("/status/progress", ("/v1/status/progress", "/progress"), _progress(lab), _json(Progress)),
        (
            "/status/statistics",
            ("/v1/status/statistics", "/stats"),
            _statistics(lab),
            _json(Statistics),
        ),
        ("/status/history", ("/v1/status/history",), _history(lab), _json(RequestLog)),
        ("/status/stream", ("/v1/status/stream",), _stream(lab), files("text/event-stream")),
        ("/info", ("/v1/info", "/api/info"), _info(lab), _json(Info)),
        ("/health", ("/v1/health",), _health(lab), _json(Health)),
        ("/metrics", (), _metrics(lab), files("text/plain")),
    ]
    for path, aliases, endpoint, documentation in table:
        for each in (path, *aliases):
            shown = each == path or each.startswith("/v1/")
            routes.add_api_route(each, endpoint, include_in_schema=shown, **documentation)
    for path in ("/status/history/clear", "/v1/status/history/clear"):
        routes.add_api_route(
            path,
            _clear(lab),
            methods=["POST"],
            response_model=Cleared,
            dependencies=owner_only(lab.settings),
        )
    _one_request(routes, lab)
    return routes


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"response_model": model}


def _status(lab: VoiceLab) -> Callable[..., Any]:
    def status(
        include_memory: IncludeMemory = False,
        include_history: bool = False,
        include_stats: bool = False,
        history_limit: Annotated[int, Query(ge=1, le=20)] = 5,
    ) -> Response:
        """Return the request that has run longest, or idle."""
        body = lab.status.current()
        if include_memory:
            body["memory_info"] = memory_info()
        if include_history:
            body["request_history"] = lab.status.history(history_limit)["request_history"]
        if include_stats:
            body["statistics"] = lab.status.statistics()
        return Json(body)

    return status


def _progress(lab: VoiceLab) -> Callable[..., Any]:
    async def progress(
        request_id: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Response:
        """Return the progress of a request in a small body, for polling."""
        return Json(lab.status.progress(request_id))

    return progress


def _statistics(lab: VoiceLab) -> Callable[..., Any]:
    def statistics(include_memory: IncludeMemory = False) -> Response:
        """Return totals of all requests ever recorded."""
        body = lab.status.statistics()
        if include_memory:
            body["current_memory"] = memory_info()
        return Json(body)

    return statistics


def _history(lab: VoiceLab) -> Callable[..., Any]:
    def request_history(limit: Annotated[int, Query(ge=1, le=50)] = 10) -> Response:
        """List finished requests, newest first."""
        return Json(lab.status.history(limit))

    return request_history


def _clear(lab: VoiceLab) -> Callable[..., Any]:
    def clear_request_history(confirm: bool = False) -> Response:
        """Delete the log of finished requests with confirm=true; totals are kept."""
        if not confirm:
            return Json(
                {
                    "message": "Nothing was cleared.",
                    "warning": "Add ?confirm=true to clear the request history.",
                }
            )
        count = lab.status.clear_history()
        return Json({"success": True, "message": f"{count} finished requests were cleared."})

    return clear_request_history


def _info(lab: VoiceLab) -> Callable[..., Any]:
    def info() -> Response:
        """Return status, statistics, memory and the last three requests in one body."""
        statistics = lab.status.statistics()
        return Json(
            {
                "api_name": "Chatterbox TTS API",
                "version": voicelab.__version__,
                "status": (lab.library.storage.trouble() or ("operational",))[0],
                "tts_status": lab.status.current(),
                "statistics": statistics,
                "memory_info": memory_info(),
                "recent_requests": lab.status.history(3)["request_history"],
                "uptime_info": {
                    "total_requests": statistics["total_requests"],
                    "success_rate": statistics["success_rate"],
                    "is_processing": statistics["is_processing"],
                    "uptime_seconds": round(lab.status.clock() - lab.status.started, 1),
                },
            }
        )

    return info


def _health(lab: VoiceLab) -> Callable[..., Any]:
    async def health() -> Response:
        """Return whether the server can speak and store takes, and which engine it uses and why."""
        state = lab.registry.state()
        storage, reason = lab.library.storage.trouble() or (None, None)
        speaker = lab.registry.speaker()
        words = {"not_started": "starting", "ready": "healthy"}
        if speaker != lab.registry.default:  # it speaks, with another voice than it should
            words["error"] = "degraded"
        return Json(
            {
                "status": storage or words.get(state.state, state.state),
                "model_loaded": state.state == "ready",
                "device": lab.registry.device(),
                "config": {
                    "engine": lab.registry.default,
                    "engine_reason": lab.registry.reason,
                    "speaker": speaker,
                    "version": voicelab.__version__,
                    "max_text": lab.settings.max_text,
                    "max_chunk_chars": lab.settings.max_chunk_chars,
                },
                "memory_info": memory_info(),
                "initialization_state": state.state,
                "initialization_progress": state.line,
                "initialization_error": state.error,
                "transfer": transfer_body(state.transfer),
                "storage_error": reason,
                "broken": [asdict(each) for each in lab.registry.broken],
            }
        )

    return health


def _metrics(lab: VoiceLab) -> Callable[..., Any]:
    class StatusCollector:
        """Prometheus collector of the statistics and the memory in use."""

        def collect(self) -> Iterator[Metric]:
            for name, value in lab.status.statistics().items():
                yield GaugeMetricFamily(f"voicelab_{name}", name.replace("_", " "), value)
            for name, value in memory_info().items():
                yield GaugeMetricFamily(f"voicelab_{name}", name.replace("_", " "), value)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector())  # pyright: ignore[reportArgumentType]

    def metrics() -> Response:
        """Return the statistics and the memory in use in Prometheus' text format."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return metrics


def _stream(lab: VoiceLab) -> Callable[..., Any]:
    listeners = Listeners(lab.status)

    async def stream() -> StreamingResponse:
        """Stream `progress` events at every change, with a heartbeat every 15 s."""
        return StreamingResponse(
            _events(lab, listeners),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    return stream


async def _events(lab: VoiceLab, listeners: Listeners) -> AsyncIterator[bytes]:
    changed = True
    while not lab.ending.is_set():
        version = lab.status.version
        yield b"event: progress\ndata: %b\n\n" % lab.status.body() if changed else HEARTBEAT
        changed = await listeners.wait(version)


def _one_request(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/status/{request_id}", response_model=Request)
    def request_status(request_id: str) -> Response:
        """Return a request, running or finished."""
        return Json(lab.status.request(request_id))

    @routes.post("/status/{request_id}/cancel", response_model=Message)
    def cancel_request(request_id: str) -> Response:
        """Cancel a request within one decoding step; 409 when it has ended."""
        lab.cancel(request_id)
        return Json({"message": f"Request {request_id} is being cancelled."})
