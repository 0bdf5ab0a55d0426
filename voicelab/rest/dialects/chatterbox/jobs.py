"""Long-text jobs of the Chatterbox TTS API, each a take made in the background."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from voicelab.errors import Conflict, NotFound
from voicelab.lab import VoiceLab

__all__ = ["ARCHIVED", "SOURCE", "Jobs", "preview"]

SOURCE = "long"
"""`source` of takes that are jobs."""

ARCHIVED = "archived"
"""Tag of a job that its user has is_archived away."""

PAUSED = "paused"
STATUSES: Mapping[str, str] = MappingProxyType(
    # A take interrupted by a stop of the server can be resumed like a paused one.
    {PAUSED: PAUSED, "interrupted": PAUSED, "cancelled": "cancelled"}
)
ACTIVE = ("pending", "processing")
SHOWN = ("exaggeration", "cfg_weight", "temperature")
Record = dict[str, Any]


class Jobs:
    """The jobs of a lab."""

    def __init__(self, lab: VoiceLab):
        self._lab = lab

    def record(self, id: str) -> Record:
        """The record of a job's take; raises NotFound."""
        record = self._lab.history.get(id)
        if record["source"] != SOURCE:
            raise NotFound(f"Job {id[:40]} not found.", param="job_id")
        return record

    def status(self, record: Record) -> str:
        """pending, processing, paused, completed, failed or cancelled."""
        if self._lab.status.is_live(record["request_id"]):
            state = self._request(record).get("status")
            return "pending" if state == "initializing" else "processing"
        if record["status"] == "failed":
            return STATUSES.get(record["error"], "failed")
        return "processing" if record["status"] == "pending" else record["status"]

    def pause(self, id: str) -> None:
        """Stop a job so that it can be resumed with the chunks already spoken.

        Raises:
            NotFound: no such job.
            Conflict: it is not being made by this process.
        """
        record = self.record(id)
        if not self._lab.status.is_live(record["request_id"]):
            raise Conflict(f"Cannot pause job in {self.status(record)} state.")
        self._lab.status.stop(record["request_id"], PAUSED)

    def resume(self, id: str) -> None:
        """Continue a paused or interrupted job; raises NotFound, Conflict."""
        record = self.record(id)
        if self.status(record) != PAUSED:
            raise Conflict(f"Cannot resume job in {self.status(record)} state.")
        self._lab.submit(self._lab.resume(id))

    def cancel(self, id: str) -> None:
        """Cancel a job for good; raises NotFound, or Conflict when it has ended."""
        record = self.record(id)
        if self._lab.status.is_live(record["request_id"]):
            self._lab.status.stop(record["request_id"], "cancelled")
        elif self.status(record) == PAUSED:
            self._lab.history.patch(id, error="cancelled")
        else:
            raise Conflict(f"Cannot cancel job in {self.status(record)} state.")

    def change(
        self, id: str, name: str | None, tags: list[str] | None, is_archived: bool | None
    ) -> Record:
        """Set name, tags and archive flag, those that are not None; the record of the take."""
        record = self.record(id)
        new_tags = _tags(record) if tags is None else tags
        archive = ARCHIVED in record["tags"] if is_archived is None else is_archived
        new_tags = [*(tag for tag in new_tags if tag != ARCHIVED), *([ARCHIVED] if archive else [])]
        return self._lab.history.change(id, tags=new_tags, label=name)

    def item(self, record: Record) -> Record:
        """A job as an entry of a list."""
        progress = self._progress(record)
        status, ended_at = self.status(record), self.completed_at(record)
        return {
            "job_id": record["id"],
            "status": status,
            "text_preview": preview(record["text"]),
            "text_length": len(record["text"]),
            "progress_percentage": progress["progress_percentage"],
            "created_at": record["created_at"],
            "updated_at": ended_at or record["created_at"],
            "completed_at": ended_at,
            "completion_timestamp": ended_at,
            "download_url": _url(record, "/download") if record["audio_path"] else None,
            "can_resume": status == PAUSED,
            "voice": record["profile_name"],
            "estimated_remaining_seconds": self._remaining_s(progress),
            "total_duration_seconds": record["duration"],
            "audio_file_size": record["size_bytes"] or None,
            "retry_count": 0,
            "is_archived": ARCHIVED in record["tags"],
            "display_name": record["label"],
            "tags": _tags(record),
            "last_accessed": None,
            "parameters": self._parameters(record),
        }

    def view(self, record: Record) -> Record:
        """A job in full; `job` repeats the metadata for the server's own page."""
        status, metadata = self.status(record), self.metadata(record)
        return {
            "job_id": record["id"],
            "status": status,
            "progress": self.progress(record),
            "metadata": metadata,
            "job": metadata,
            "created_at": record["created_at"],
            "updated_at": metadata["updated_at"],
            "download_url": _url(record, "/download") if record["audio_path"] else None,
            "can_pause": status in ACTIVE,
            "can_resume": status == PAUSED,
            "can_cancel": status in (*ACTIVE, PAUSED),
        }

    def metadata(self, record: Record) -> Record:
        """The metadata of a job."""
        progress, item = self._progress(record), self.item(record)
        elapsed_ms = round(1000 * (record["elapsed_s"] or 0))
        total, done = progress["total_chunks"], progress["completed_chunks"]
        output = {
            "format": record["response_format"] or "mp3",
            "size_bytes": item["audio_file_size"],
            "duration_seconds": record["duration"],
        }
        processing = {
            "started_at": record["created_at"],
            "completed_at": item["completed_at"],
            "total_processing_time_ms": elapsed_ms,
        }
        return item | {
            "text_hash": hashlib.sha256(record["text"].encode()).hexdigest(),
            "total_chunks": total,
            "completed_chunks": done,
            "failed_chunks": [],
            "current_chunk": progress["current_chunk"] or None,
            "chunks": {"total": total, "completed": done, "failed": []},
            "processing": processing,
            "processing_started_at": processing["started_at"],
            "processing_completed_at": processing["completed_at"],
            "total_processing_time_ms": elapsed_ms,
            "output": output,
            "output_format": output["format"],
            "output_size_bytes": output["size_bytes"],
            "output_duration_seconds": output["duration_seconds"],
            "error": record["error"],
        }

    def progress(self, record: Record) -> Record:
        """The progress of a job."""
        progress = self._progress(record)
        return {
            "job_id": record["id"],
            "overall_progress": progress["progress_percentage"],
            "current_chunk": self._current(record, progress),
            "completed_chunks": [self._chunk(chunk) for chunk in record["chunks"]],
            "chunks_completed": [self._chunk(chunk) for chunk in record["chunks"]],
            "estimated_remaining_seconds": self._remaining_s(progress),
            "status": self.status(record),
            "error": record["error"],
        }

    def details(self, record: Record) -> Record:
        """Text, chunks and processing time of a job."""
        metadata = self.metadata(record)
        elapsed_ms, total = metadata["total_processing_time_ms"], metadata["total_chunks"]
        return {
            "metadata": metadata,
            "job": metadata,
            "progress": self.progress(record),
            "chunks": [self._chunk(chunk) for chunk in record["chunks"]],
            "input_text": record["text"],
            "error_log": [record["error"]] if record["error"] else [],
            "performance_metrics": {
                "total_processing_time_ms": elapsed_ms,
                "avg_chunk_time_ms": elapsed_ms / total if total else 0,
                "average_chunk_time_ms": elapsed_ms / total if total else 0,
                "success_rate": metadata["completed_chunks"] / total if total else 0,
            },
        }

    def completed_at(self, record: Record) -> str | None:
        """When the take was completed: creation time of its first version; None before."""
        if record["status"] != "completed":
            return None
        versions = record.get("versions") or self._lab.library.versions.of(record["id"])
        return versions[0]["created_at"] if versions else record["created_at"]

    def _request(self, record: Record) -> Record:
        try:
            return self._lab.status.request(record["request_id"] or "")
        except NotFound:  # the log of requests has forgotten it
            return {}

    def _progress(self, record: Record) -> Record:
        """Chunk counts and percentage of the last request, or of the finished take."""
        live = self._lab.status.is_live(record["request_id"])
        if record["status"] == "completed" and not live:
            total = len(record["chunks"])
            shown = {"current_chunk": 0, "total_chunks": total, "progress_percentage": 100.0}
            return shown | {"completed_chunks": total, "estimated_completion": None}
        shown = self._request(record).get("progress") or {}
        current, total = shown.get("current_chunk", 0), shown.get("total_chunks", 0)
        percentage = shown.get("progress_percentage", 0.0)
        done = total if percentage >= 99.9 else max(0, current - 1)
        return {
            "current_chunk": current if live else 0,
            "total_chunks": total,
            "progress_percentage": percentage,
            "completed_chunks": done,
            "estimated_completion": shown.get("estimated_completion") if live else None,
        }

    def _remaining_s(self, progress: Record) -> int | None:
        end = progress["estimated_completion"]
        return None if end is None else max(0, round(end - self._lab.status.clock()))

    def _current(self, record: Record, progress: Record) -> Record | None:
        if not progress["current_chunk"]:
            return None
        # Its page shows the text only as a hint: the chunks are in the record when all are spoken.
        shown = preview(record["text"], 50)
        return {"index": progress["current_chunk"] - 1, "text_preview": shown, "progress": 0}

    def _chunk(self, chunk: Record) -> Record:
        return {
            "index": chunk["index"],
            "text": chunk["text"],
            "text_preview": preview(chunk["text"], 50),
            "character_count": len(chunk["text"]),
            "char_count": len(chunk["text"]),
            "duration_ms": round(1000 * chunk["duration_s"]),
            "status": "completed",
            "error": None,
        }

    def _parameters(self, record: Record) -> Record:
        logged = self._request(record).get("parameters") or record["parameters"]
        shown = {name: logged[name] for name in SHOWN if name in logged}
        return shown | {"output_format": record["response_format"], "language": record["language"]}


def _tags(record: Record) -> list[str]:
    return [tag for tag in record["tags"] if tag != ARCHIVED]


def preview(text: str, chars: int = 100) -> str:
    """The first `chars` characters of a text."""
    return text[:chars] + ("..." if len(text) > chars else "")


def _url(record: Record, what: str = "") -> str:
    return f"/audio/speech/long/{record['id']}{what}"
