"""Response models of voices and memory, for /docs; responses are not validated.

A field without a default is always present. Clients must expect further fields.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from voicelab.rest.models import LibraryVoice
from voicelab.rest.reports import MemoryInfo

__all__ = [
    "Aliases",
    "AllNames",
    "ChangedAliases",
    "DefaultVoice",
    "Memory",
    "MemoryAdvice",
    "MemoryConfig",
    "MemoryReset",
    "NewVoice",
    "Ping",
    "PredefinedVoice",
    "RemovedVoice",
    "RenamedVoice",
    "Thresholds",
    "VoiceLine",
]


class Ping(BaseModel):
    """The server runs."""

    status: str
    message: str


class Alert(BaseModel):
    """Memory in use above a threshold."""

    type: str
    level: str
    message: str
    threshold: float
    current: float


class Alerts(BaseModel):
    """All alerts."""

    has_alerts: bool
    alert_count: int
    alerts: list[Alert]


class Memory(BaseModel):
    """Memory in use; the last two fields are set after a clean-up."""

    memory_info: MemoryInfo
    request_counter: int
    cleanup_performed: bool
    cuda_cache_cleared: bool
    alerts: Alerts | None = None
    collected_objects: int = 0
    memory_info_after_cleanup: MemoryInfo | None = None


class MemoryReset(BaseModel):
    """The request counter was reset."""

    status: str
    previous_request_counter: int
    collected_objects: int
    cuda_stats_reset: bool
    memory_info: MemoryInfo


class MemoryLimits(BaseModel):
    """Intervals of memory clean-up (0: on request only), and limits of text lengths."""

    memory_cleanup_interval: int
    cuda_cache_clear_interval: int
    enable_memory_monitoring: bool
    max_chunk_length: int
    max_total_length: int


class AlertThresholds(BaseModel):
    """Alert thresholds."""

    cpu_memory_percent: float
    gpu_memory_mb: float


class Device(BaseModel):
    """The CUDA device."""

    cuda_available: bool
    cuda_device_count: int
    current_device: int | None


class MemoryConfig(BaseModel):
    """Limits, thresholds and the device."""

    config: MemoryLimits
    alert_thresholds: AlertThresholds
    device_info: Device


class Thresholds(BaseModel):
    """The thresholds before and after a change."""

    status: str
    message: str
    old_thresholds: AlertThresholds
    new_thresholds: AlertThresholds


class Advice(BaseModel):
    """A recommendation for an alert."""

    type: str
    priority: str
    title: str
    description: str
    actions: list[str]


class MemoryAdvice(BaseModel):
    """Recommendations for all alerts."""

    memory_info: MemoryInfo
    request_counter: int
    recommendations: list[Advice]
    recommendation_count: int
    has_critical_issues: bool


class VoiceLine(BaseModel):
    """A voice."""

    voice: LibraryVoice


class NewVoice(VoiceLine):
    """A voice that was added."""

    message: str


class DefaultVoice(BaseModel):
    """The voice used when a request names none; null is the engine's own, without a file."""

    default_voice: str | None
    source: Literal["engine", "voice_library"]
    path: None = None
    voice_info: LibraryVoice | None = None
    message: str = ""


class PredefinedVoice(BaseModel):
    """A voice as SillyTavern reads it."""

    display_name: str
    filename: str
    voice_id: str
    language: str


class AllNames(BaseModel):
    """Names and aliases of all voices."""

    voice_names: list[str]
    count: int


class RenamedVoice(BaseModel):
    """A voice's name before and after."""

    message: str
    old_name: str
    new_name: str


class RemovedVoice(BaseModel):
    """What was deleted with a voice, and how many takes became unassigned."""

    message: str
    voice_name: str
    generations: int
    samples: int
    moved: int


class Aliases(BaseModel):
    """Aliases of a voice."""

    voice_name: str
    aliases: list[str]
    count: int


class ChangedAliases(Aliases):
    """Aliases of a voice after one was added or removed."""

    alias: str
    message: str
