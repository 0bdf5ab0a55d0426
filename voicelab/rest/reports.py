"""Response models of status, health and engines, for /docs; responses are not validated.

A field without a default is always present. Clients must expect further fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = [
    "Cleared",
    "Config",
    "EngineState",
    "FinishedRequest",
    "Health",
    "Info",
    "Languages",
    "MemoryInfo",
    "Models",
    "Progress",
    "Request",
    "RequestLog",
    "RequestStatus",
    "Statistics",
]


class MemoryInfo(BaseModel):
    """Memory of this process and of the GPU that torch uses."""

    cpu_memory_mb: float
    cpu_memory_percent: float
    gpu_memory_allocated_mb: float
    gpu_memory_reserved_mb: float
    gpu_memory_max_allocated_mb: float


class ChunkProgress(BaseModel):
    """Progress of a request; times are Unix time in seconds."""

    current_chunk: int
    total_chunks: int
    current_step: str
    progress_percentage: float
    estimated_completion: float | None


class _Request(BaseModel):
    status: str
    is_processing: bool
    request_id: str
    start_time: float
    duration_seconds: float
    text_length: int
    text_preview: str
    progress: ChunkProgress
    error_message: str | None
    memory_usage: Any
    voice: str
    voice_source: str
    parameters: Mapping[str, Any]
    source: str
    engine: str
    generation_id: str | None = None
    audio_seconds: float | None = None
    elapsed_seconds: float | None = None


class Request(_Request):
    """A request, live or finished; start and end are Unix time in seconds."""

    end_time: float | None = None
    cancelled: bool = False


class FinishedRequest(_Request):
    """A request of the log."""

    end_time: float
    cancelled: bool


class Statistics(BaseModel):
    """Totals of all requests ever recorded; success in percent."""

    total_requests: int
    completed_requests: int
    error_requests: int
    cancelled_requests: int
    active_requests: int
    queued_requests: int
    success_rate: float
    average_duration_seconds: float
    average_text_length: float
    is_processing: bool
    current_memory: MemoryInfo | None = None


class RequestStatus(BaseModel):
    """The request that has run longest, or idle with null in its fields."""

    status: str
    is_processing: bool
    request_id: str | None
    start_time: float | None
    duration_seconds: float | None
    text_length: int | None
    text_preview: str | None
    voice: str | None
    voice_source: str | None
    parameters: Mapping[str, Any] | None
    progress: ChunkProgress | None
    error_message: str | None
    memory_usage: Any
    message: str | None
    source: str | None = None
    engine: str | None = None
    total_requests: int
    active_requests: int
    queued_requests: int
    memory_info: MemoryInfo | None = None
    request_history: list[FinishedRequest] | None = None
    statistics: Statistics | None = None


class Progress(BaseModel):
    """Progress for polling; when idle, only the first two fields and a message."""

    is_processing: bool
    status: str
    message: str = ""
    request_id: str = ""
    duration_seconds: float = 0.0
    text_preview: str = ""
    current_chunk: int = 0
    total_chunks: int = 0
    current_step: str = ""
    progress_percentage: float = 0.0
    estimated_completion: float | None = None


class RequestLog(BaseModel):
    """Finished requests, newest first."""

    request_history: list[FinishedRequest]
    total_records: int
    limit: int


class Cleared(BaseModel):
    """Result of clearing the log, or how to confirm it."""

    message: str
    success: bool = False
    warning: str = ""


class Uptime(BaseModel):
    """Figures since the server started."""

    total_requests: int
    success_rate: float
    is_processing: bool
    uptime_seconds: float


class Info(BaseModel):
    """All status routes in one body."""

    api_name: str
    version: str
    status: str
    tts_status: RequestStatus
    statistics: Statistics
    memory_info: MemoryInfo
    recent_requests: list[FinishedRequest]
    uptime_info: Uptime


class HealthConfig(BaseModel):
    """The engine in use, and limits."""

    engine: str
    engine_reason: str
    speaker: str = Field(description="the engine that speaks while that one cannot")
    version: str
    max_text: int
    max_chunk_chars: int


class BrokenEngine(BaseModel):
    """An entry point of another package that could not be loaded, and why."""

    entry_point: str
    source: str
    reason: str


class TransferState(BaseModel):
    """How far the weights of an engine are fetched."""

    bytes_done: int
    bytes_total: int
    bytes_per_second: int = Field(description="over the last ten seconds")
    seconds_left: float | None


class Health(BaseModel):
    """Whether the server can speak and store takes."""

    status: str
    model_loaded: bool
    device: str
    config: HealthConfig
    memory_info: MemoryInfo
    initialization_state: str
    initialization_progress: str | None
    initialization_error: str | None
    transfer: TransferState | None = Field(description="null while nothing is fetched")
    storage_error: str | None
    broken: list[BrokenEngine] = Field(description="engines of other packages that are left out")


class Model(BaseModel):
    """An engine, in OpenAI's shape."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: str


class Models(BaseModel):
    """The engines: `data` for OpenAI's clients, `models` for Open WebUI."""

    object: Literal["list"]
    data: list[Model]
    models: list[Model]


class Config(BaseModel):
    """Defaults and limits."""

    version: str
    engine: str
    engine_reason: str
    device: str
    sample_rate: int
    max_text: int
    max_chunk_chars: int
    gap_ms: int
    crossfade_ms: int
    response_formats: list[str]
    defaults: Mapping[str, float]


class Language(BaseModel):
    """A language by its BCP 47 code."""

    code: str
    name: str


class Languages(BaseModel):
    """The languages of the default engine."""

    languages: list[Language]
    count: int
    engine: str
    model_type: str


class EngineParameter(BaseModel):
    """A numeric parameter of an engine."""

    name: str
    label: str
    default: float
    minimum: float
    maximum: float
    step: float
    help: str


class EngineState(BaseModel):
    """An engine, and whether it can be used here."""

    name: str
    label: str
    description: str
    default: bool
    installed: bool
    weights_present: bool
    reason: str
    download_mb: int = Field(description="megabytes fetched when it first speaks")
    state: str
    error: str | None
    transfer: TransferState | None = Field(description="null while nothing is fetched")
    languages: Mapping[str, str]
    sample_rate: int
    clones_voices: bool
    event_tags: list[str]
    parameters: list[EngineParameter]
    source: str = Field(description="built in, or the name and version of its package")
