"""What its routes of voices and memory answer. For /docs; answers are not validated.

A field without a default is always there. Clients must expect further fields.
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
    """There is a server."""

    status: str
    message: str


class Alert(BaseModel):
    """More memory is in use than a threshold allows."""

    type: str
    level: str
    message: str
    threshold: float
    current: float


class Alerts(BaseModel):
    """All of them."""

    has_alerts: bool
    alert_count: int
    alerts: list[Alert]


class Memory(BaseModel):
    """Memory in use; the last two fields after a clean-up."""

    memory_info: MemoryInfo
    request_counter: int
    cleanup_performed: bool
    cuda_cache_cleared: bool
    alerts: Alerts | None = None
    collected_objects: int = 0
    memory_info_after_cleanup: MemoryInfo | None = None


class MemoryReset(BaseModel):
    """The counter of requests was set to zero."""

    status: str
    previous_request_counter: int
    collected_objects: int
    cuda_stats_reset: bool
    memory_info: MemoryInfo


class MemoryLimits(BaseModel):
    """How often memory is cleaned up, 0 for only when asked for, and how long texts may be."""

    memory_cleanup_interval: int
    cuda_cache_clear_interval: int
    enable_memory_monitoring: bool
    max_chunk_length: int
    max_total_length: int


class AlertThresholds(BaseModel):
    """Where alerts begin."""

    cpu_memory_percent: float
    gpu_memory_mb: float


class Device(BaseModel):
    """The GPU."""

    cuda_available: bool
    cuda_device_count: int
    current_device: int | None


class MemoryConfig(BaseModel):
    """Limits, thresholds and the device."""

    config: MemoryLimits
    alert_thresholds: AlertThresholds
    device_info: Device


class Thresholds(BaseModel):
    """The thresholds before and after."""

    status: str
    message: str
    old_thresholds: AlertThresholds
    new_thresholds: AlertThresholds


class Advice(BaseModel):
    """What to do about an alert."""

    type: str
    priority: str
    title: str
    description: str
    actions: list[str]


class MemoryAdvice(BaseModel):
    """What to do about all alerts."""

    memory_info: MemoryInfo
    request_counter: int
    recommendations: list[Advice]
    recommendation_count: int
    has_critical_issues: bool


class VoiceLine(BaseModel):
    """One voice."""

    voice: LibraryVoice


class NewVoice(VoiceLine):
    """A voice that was added."""

    message: str


class DefaultVoice(BaseModel):
    """The voice of requests that name none; null is the engine's own, which has no file."""

    default_voice: str | None
    source: Literal["engine", "voice_library"]
    path: None = None
    voice_info: LibraryVoice | None = None
    message: str = ""


class PredefinedVoice(BaseModel):
    """A voice as SillyTavern's provider reads it."""

    display_name: str
    filename: str
    voice_id: str
    language: str


class AllNames(BaseModel):
    """Names and aliases of all voices."""

    voice_names: list[str]
    count: int


class RenamedVoice(BaseModel):
    """Its name before and after."""

    message: str
    old_name: str
    new_name: str


class RemovedVoice(BaseModel):
    """What went with it, and how many takes were moved."""

    message: str
    voice_name: str
    generations: int
    samples: int
    moved: int


class Aliases(BaseModel):
    """Further names of a voice."""

    voice_name: str
    aliases: list[str]
    count: int


class ChangedAliases(Aliases):
    """One more or one less."""

    alias: str
    message: str
