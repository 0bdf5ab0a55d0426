"""Lists of long-text jobs: takes are filtered and sorted, and one page is converted to jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.rest.dialects.chatterbox.jobs import ARCHIVED, SOURCE, Jobs, preview

__all__ = ["SORTS", "JobLists"]

Record = dict[str, Any]

SORTS: Mapping[str, tuple[Callable[[Record, Jobs], Any], bool]] = MappingProxyType(
    {
        f"{name}_{way}": (key, way == "desc")
        for name, key in (
            ("created", lambda take, jobs: take["created_at"]),
            ("completed", lambda take, jobs: jobs.completed_at(take) or ""),
            ("duration", lambda take, jobs: take["duration"] or 0),
            ("name", lambda take, jobs: (take["label"] or preview(take["text"])).casefold()),
            ("size", lambda take, jobs: take["size_bytes"]),
        )
        for way in ("asc", "desc")
    }
)
"""Name of an order -> (sort key, whether it is descending)."""


class JobLists:
    """Lists and totals of the jobs of a lab."""

    def __init__(self, lab: VoiceLab, jobs: Jobs):
        self._lab = lab
        self._jobs = jobs

    def takes(
        self,
        filters: Filters | None = None,
        status: str | None = None,
        archived: bool | None = None,
    ) -> list[Record]:
        """The takes of jobs, newest first.

        Args:
            filters: of takes; by default all with the jobs' source.
            status: of the job; any when None.
            archived: whether the job is archived; both when None.
        """
        return [
            take
            for take in self._lab.history.each(filters or Filters(source=SOURCE))
            if status in (None, self._jobs.status(take))
            and archived in (None, ARCHIVED in take["tags"])
        ]

    def sorted(self, takes: list[Record], sort: str) -> list[Record]:
        """The takes in one of the SORTS."""
        key, descending = SORTS[sort]
        if sort.startswith("completed"):
            takes = self._with_versions(takes)
        return sorted(takes, key=lambda take: key(take, self._jobs), reverse=descending)

    def page(self, takes: list[Record], limit: int, offset: int) -> Record:
        """A page of takes as jobs, with the total number of takes."""
        shown = self._with_versions(takes[offset : offset + limit])
        items = [self._jobs.item(take) for take in shown]
        counts = Counter(item["status"] for item in items)
        return {
            "jobs": items,
            "total_jobs": len(takes),
            "total_count": len(takes),
            "active_jobs": counts["pending"] + counts["processing"],
            "completed_jobs": counts["completed"],
        }

    def totals(self) -> Record:
        """Totals of all jobs."""
        takes = self.takes()
        statuses = [self._jobs.status(take) for take in takes]
        ended = [t for t, status in zip(takes, statuses, strict=True) if status == "completed"]
        voices = Counter(take["profile_name"] for take in takes).most_common(1)
        dates = sorted(take["created_at"] for take in takes)
        size_bytes = sum(take["size_bytes"] for take in takes)
        return {
            "total_jobs": len(takes),
            "completed_jobs": len(ended),
            "failed_jobs": statuses.count("failed"),
            "total_audio_duration_seconds": sum(take["duration"] or 0 for take in ended),
            "total_characters_processed": sum(len(take["text"]) for take in ended),
            "total_storage_bytes": size_bytes,
            "total_storage_used_bytes": size_bytes,
            "success_rate_percentage": 100 * len(ended) / len(takes) if takes else 0.0,
            "most_used_voice": voices[0][0] if voices else None,
            "jobs_by_month": dict(Counter(date[:7] for date in dates)),
            "date_range": {"earliest_job": dates[0], "latest_job": dates[-1]} if dates else None,
        }

    def ended(self) -> list[str]:
        """Ids of jobs that are completed, failed or cancelled."""
        statuses = ("completed", "failed", "cancelled")
        return [take["id"] for take in self.takes() if self._jobs.status(take) in statuses]

    def _with_versions(self, takes: list[Record]) -> list[Record]:
        """The takes with their versions, for `Jobs.completed_at`, fetched in one query."""
        versions = self._lab.library.versions.listed([take["id"] for take in takes])
        return [take | {"versions": versions[take["id"]]} for take in takes]
