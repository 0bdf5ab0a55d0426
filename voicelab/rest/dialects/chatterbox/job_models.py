"""Response models of long-text jobs, for /docs; responses are not validated.

A field without a default is always present. Clients must expect further fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

__all__ = [
    "BulkDone",
    "ClearedJobs",
    "Job",
    "JobDetails",
    "JobPage",
    "JobTotals",
    "StartedJob",
    "UpdatedJob",
    "WorkDone",
]

JobStatus = Literal["pending", "processing", "paused", "completed", "failed", "cancelled"]


class JobParameters(BaseModel):
    """Parameters of a job, as its engine was given them."""

    exaggeration: float | None = None
    cfg_weight: float | None = None
    temperature: float | None = None
    output_format: str | None
    language: str


class JobLine(BaseModel):
    """A job in a list."""

    job_id: str
    status: JobStatus
    text_preview: str
    text_length: int
    progress_percentage: float
    created_at: str
    updated_at: str
    completed_at: str | None
    completion_timestamp: str | None
    download_url: str | None
    can_resume: bool
    voice: str
    estimated_remaining_seconds: int | None
    total_duration_seconds: float | None
    audio_file_size: int | None
    retry_count: int
    is_archived: bool
    display_name: str | None
    tags: list[str]
    last_accessed: str | None
    parameters: JobParameters


class JobPage(BaseModel):
    """A page of jobs, their total number, and counts by status within the page."""

    jobs: list[JobLine]
    total_jobs: int
    total_count: int
    active_jobs: int
    completed_jobs: int


class StartedJob(BaseModel):
    """A job that was started; its duration is not estimated."""

    job_id: str
    status: JobStatus
    message: str
    estimated_processing_time_seconds: int | None
    total_chunks: int
    status_url: str
    sse_url: str
    warnings: list[str] = []


class JobChunk(BaseModel):
    """A spoken chunk."""

    index: int
    text: str
    text_preview: str
    character_count: int
    char_count: int
    duration_ms: int
    status: str
    error: str | None


class CurrentChunk(BaseModel):
    """The chunk that is being spoken."""

    index: int
    text_preview: str
    progress: int


class JobProgress(BaseModel):
    """Progress of a job."""

    job_id: str
    overall_progress: float
    current_chunk: CurrentChunk | None
    completed_chunks: list[JobChunk]
    chunks_completed: list[JobChunk]
    estimated_remaining_seconds: int | None
    status: JobStatus
    error: str | None


class ChunkCounts(BaseModel):
    """Numbers of chunks: total, completed, failed."""

    total: int
    completed: int
    failed: list[int]


class JobTimes(BaseModel):
    """When a job was started and completed."""

    started_at: str
    completed_at: str | None
    total_processing_time_ms: int


class JobOutput(BaseModel):
    """Format, size and duration of a job's audio."""

    format: str
    size_bytes: int | None
    duration_seconds: float | None


class JobMetadata(JobLine):
    """Everything known about a job."""

    text_hash: str
    total_chunks: int
    completed_chunks: int
    failed_chunks: list[int]
    current_chunk: int | None
    chunks: ChunkCounts
    processing: JobTimes
    processing_started_at: str
    processing_completed_at: str | None
    total_processing_time_ms: int
    output: JobOutput
    output_format: str
    output_size_bytes: int | None
    output_duration_seconds: float | None
    error: str | None


class Job(BaseModel):
    """A job, and the actions that are possible."""

    job_id: str
    status: JobStatus
    progress: JobProgress
    metadata: JobMetadata
    job: JobMetadata
    created_at: str
    updated_at: str
    download_url: str | None
    can_pause: bool
    can_resume: bool
    can_cancel: bool


class JobSpeed(BaseModel):
    """Processing time of a job."""

    total_processing_time_ms: int
    avg_chunk_time_ms: float
    average_chunk_time_ms: float
    success_rate: float


class JobDetails(BaseModel):
    """Text, chunks and processing time of a job."""

    metadata: JobMetadata
    job: JobMetadata
    progress: JobProgress
    chunks: list[JobChunk]
    input_text: str
    error_log: list[str]
    performance_metrics: JobSpeed


class DateRange(BaseModel):
    """Dates of the first and the last job."""

    earliest_job: str
    latest_job: str


class JobTotals(BaseModel):
    """Totals of all jobs; success in percent."""

    total_jobs: int
    completed_jobs: int
    failed_jobs: int
    total_audio_duration_seconds: float
    total_characters_processed: int
    total_storage_bytes: int
    total_storage_used_bytes: int
    success_rate_percentage: float
    most_used_voice: str | None
    jobs_by_month: Mapping[str, int]
    date_range: DateRange | None


class ClearedJobs(BaseModel):
    """Number of jobs deleted."""

    message: str
    cleared_count: int
    deleted_count: int
    failed_count: int


class JobResult(BaseModel):
    """Result of a bulk action for one job."""

    job_id: str
    success: bool
    error: str | None


class BulkDone(BaseModel):
    """Results of a bulk action."""

    success_count: int
    failed_count: int
    total_count: int
    failed_jobs: list[str]
    results: list[JobResult]
    message: str
    warnings: list[str] = []


class UpdatedJob(BaseModel):
    """A job whose name, tags or archive flag was changed."""

    success: bool
    message: str
    status: JobStatus
    warnings: list[str] = []


class WorkDone(BaseModel):
    """Result of an action on a job, and its status, unless it was deleted or cancelled."""

    message: str
    status: JobStatus | None = None
