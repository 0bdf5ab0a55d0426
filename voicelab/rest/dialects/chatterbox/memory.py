"""Memory routes of the Chatterbox TTS API: use, alert thresholds, advice; and /ping."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from voicelab.errors import InvalidInput
from voicelab.generation import memory_info
from voicelab.lab import VoiceLab
from voicelab.rest.dialects.chatterbox import models
from voicelab.rest.json import Json

__all__ = ["add_routes"]

CPU_PERCENT, GPU_MB = 85.0, 8192.0
"""Default alert thresholds; /memory/config changes them."""

Facts = dict[str, Any]
Add = Callable[..., None]


class _MemoryMonitor:
    """Alert thresholds of a server, and its number of requests since the last reset."""

    def __init__(self, lab: VoiceLab):
        self._lab = lab
        self._reset_at = 0
        self.thresholds = {"cpu_memory_percent": CPU_PERCENT, "gpu_memory_mb": GPU_MB}

    def requests(self) -> int:
        return self._lab.status.statistics()["total_requests"] - self._reset_at

    def reset(self) -> int:
        """Set the number of requests to zero; the number before."""
        before = self.requests()
        self._reset_at += before
        return before

    def alerts(self, used: Facts) -> Facts:
        limits = self.thresholds
        found = [
            _alert("cpu_memory_high", used["cpu_memory_percent"], limits["cpu_memory_percent"]),
            _alert("gpu_memory_high", used["gpu_memory_allocated_mb"], limits["gpu_memory_mb"]),
        ]
        alerts = [alert for alert in found if alert]
        return {"has_alerts": bool(alerts), "alert_count": len(alerts), "alerts": alerts}

    def advice(self, used: Facts) -> list[Facts]:
        return [
            {
                "type": alert["type"],
                "priority": "high",
                "title": alert["message"],
                "description": f"The threshold is {alert['threshold']:g}.",
                "actions": [
                    "Start with --idle-unload-min to free the weights between requests.",
                    "Let fewer requests wait at once with --max-queue.",
                ],
            }
            for alert in self.alerts(used)["alerts"]
        ]


def add_routes(lab: VoiceLab, add: Add) -> None:
    """Add the routes by `add(method, path, endpoint)`."""
    monitor = _MemoryMonitor(lab)

    async def ping() -> Response:
        """Return that the server runs."""
        return Json({"status": "ok", "message": "Server is running"})

    add("GET", "/ping", ping, response_model=models.Ping)
    _add_memory_routes(monitor, add)
    _add_config_routes(lab, monitor, add)


def _add_memory_routes(monitor: _MemoryMonitor, add: Add) -> None:
    def memory(
        cleanup: Annotated[bool, Query(description="collect garbage")] = False,
        force_cuda_clear: Annotated[bool, Query(description="and free CUDA's cache")] = False,
        include_alerts: bool = True,
    ) -> Response:
        """Return the memory in use, the number of requests, and alerts."""
        used = memory_info()
        body: Facts = {
            "memory_info": used,
            "request_counter": monitor.requests(),
            "cleanup_performed": cleanup,
            "cuda_cache_cleared": False,
        }
        if include_alerts:
            body["alerts"] = monitor.alerts(used)
        if cleanup:
            body["collected_objects"] = gc.collect()
            body["cuda_cache_cleared"] = force_cuda_clear and _clear_cuda_cache()
            body["memory_info_after_cleanup"] = memory_info()
        return Json(body)

    def reset_memory(confirm: bool = False) -> Response:
        """Reset the request counter and collect garbage, with confirm=true."""
        if not confirm:
            raise InvalidInput("Add ?confirm=true to reset the counter.", param="confirm")
        before = monitor.reset()
        body = {
            "status": "reset",
            "previous_request_counter": before,
            "collected_objects": gc.collect(),
            "cuda_stats_reset": _clear_cuda_cache(),
        }
        return Json(body | {"memory_info": memory_info()})

    def recommendations() -> Response:
        """Return recommendations when memory runs short."""
        used = memory_info()
        advice = monitor.advice(used)
        return Json(
            {
                "memory_info": used,
                "request_counter": monitor.requests(),
                "recommendations": advice,
                "recommendation_count": len(advice),
                "has_critical_issues": bool(advice),
            }
        )

    add("GET", "/memory", memory, response_model=models.Memory)
    add("POST", "/memory/reset", reset_memory, response_model=models.MemoryReset)
    add("GET", "/memory/recommendations", recommendations, response_model=models.MemoryAdvice)


def _add_config_routes(lab: VoiceLab, monitor: _MemoryMonitor, add: Add) -> None:
    async def memory_config() -> Response:
        """Return alert thresholds, limits and the device."""
        return Json(
            {
                "config": {
                    # Memory is cleaned up when asked for, not every so many requests.
                    "memory_cleanup_interval": 0,
                    "cuda_cache_clear_interval": 0,
                    "enable_memory_monitoring": True,
                    "max_chunk_length": lab.settings.max_chunk_chars,
                    "max_total_length": lab.settings.max_text,
                },
                "alert_thresholds": monitor.thresholds,
                "device_info": _device(),
            }
        )

    async def set_memory_config(
        cpu_memory_percent: Annotated[float | None, Query(ge=50, le=95)] = None,
        gpu_memory_mb: Annotated[float | None, Query(ge=1024, le=32_768)] = None,
    ) -> Response:
        """Set alert thresholds, until the server stops."""
        before = monitor.thresholds
        given = {"cpu_memory_percent": cpu_memory_percent, "gpu_memory_mb": gpu_memory_mb}
        changed = {key: value for key, value in given.items() if value is not None}
        monitor.thresholds = before | changed
        return Json(
            {
                "status": "success",
                "message": "Memory alert thresholds updated",
                "old_thresholds": before,
                "new_thresholds": monitor.thresholds,
            }
        )

    add("GET", "/memory/config", memory_config, response_model=models.MemoryConfig)
    add("POST", "/memory/config", set_memory_config, response_model=models.Thresholds)


def _alert(kind: str, value: float, threshold: float) -> Facts | None:
    if value <= threshold:
        return None
    device, unit = ("CPU", "%") if kind.startswith("cpu") else ("GPU", " MB")
    return {
        "type": kind,
        "level": "warning",
        "message": f"{device} memory in use is high: {value:.1f}{unit}",
        "threshold": threshold,
        "current": value,
    }


def _cuda() -> Any:
    """torch.cuda, only if an engine has imported torch and there is a GPU."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _clear_cuda_cache() -> bool:
    cuda = _cuda()
    if cuda is None:
        return False
    cuda.empty_cache()
    cuda.reset_peak_memory_stats()
    return True


def _device() -> Facts:
    cuda = _cuda()
    return {
        "cuda_available": cuda is not None,
        "cuda_device_count": cuda.device_count() if cuda else 0,
        "current_device": cuda.current_device() if cuda else None,
    }
