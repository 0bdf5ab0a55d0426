"""Response models of statistics and storage, for /docs; responses are not validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

__all__ = ["Cleanup", "PolicyInForce", "TakeTotals", "Usage"]


class TakeTotals(BaseModel):
    """Totals of all takes; days are UTC."""

    total_generations: int
    total_duration_seconds: float
    generations_by_profile: Mapping[str, int]
    by_engine: Mapping[str, int]
    by_status: Mapping[str, int]
    by_day: Mapping[str, int]
    by_language: Mapping[str, int]
    total_size_bytes: int
    average_real_time_factor: float


class ProfileUsage(BaseModel):
    """Disk usage of a profile's takes."""

    profile_id: str
    profile_name: str
    takes: int
    size_bytes: int


class AgeUsage(BaseModel):
    """Disk usage of the takes of an age."""

    label: str
    takes: int
    size_bytes: int


class Usage(BaseModel):
    """Disk usage of everything."""

    total_bytes: int
    takes_bytes: int
    clips_bytes: int
    profiles_bytes: int
    cache_bytes: int
    records_bytes: int
    free_bytes: int | None
    takes: int
    orphan_files: int
    orphan_bytes: int
    by_profile: list[ProfileUsage]
    by_age: list[AgeUsage]


class PolicyInForce(BaseModel):
    """The storage policy; null is no limit."""

    max_age_days: float | None
    max_takes: int | None
    max_total_mb: float | None
    quota_mb: float | None
    quota_action: Literal["refuse", "evict"]
    flac_after_days: float | None


class GoneTake(BaseModel):
    """A take that the policy deletes, and the rule that applies."""

    id: str
    created_at: str
    size_bytes: int
    text: str
    reason: str


class CompressedVersion(BaseModel):
    """A version converted to FLAC; the bytes saved are null before the conversion."""

    id: str
    version_id: str
    size_bytes: int
    saved_bytes: int | None


class FailedVersion(BaseModel):
    """A version that could not be converted to FLAC, and why."""

    id: str
    version_id: str
    error: str


class OrphanFile(BaseModel):
    """A file that no record refers to."""

    path: str
    size_bytes: int


class MissingFile(BaseModel):
    """A version whose file is missing."""

    id: str
    generation_id: str
    audio_path: str


class Cleanup(BaseModel):
    """What a clean-up did, or would do."""

    dry_run: bool
    deleted: list[GoneTake]
    compressed: list[CompressedVersion]
    not_compressed: list[FailedVersion]
    orphan_files: list[OrphanFile]
    missing_files: list[MissingFile]
    restored: list[str]
    freed_bytes: int
    audio_files: int
    going_files: int
