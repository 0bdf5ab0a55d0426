"""/audio/speech/long: texts spoken in the background as jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from anyio import to_thread
from fastapi import Body, Depends, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from voicelab.errors import Conflict, InvalidInput, NotFound, VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.rest import schemas
from voicelab.rest.background import Background
from voicelab.rest.dialects.chatterbox import job_models as models
from voicelab.rest.dialects.chatterbox.jobs import SOURCE, Jobs
from voicelab.rest.dialects.chatterbox.lists import SORTS, JobLists
from voicelab.rest.history import download, utc_string
from voicelab.rest.json import Json
from voicelab.rest.listeners import HEARTBEAT, Listeners
from voicelab.rest.openapi import AUDIO_TYPES, files
from voicelab.rest.parameters import taking, with_parameters
from voicelab.rest.security.exposure import refuse_when_exposed

__all__ = ["add_routes"]

LONG = "/audio/speech/long"
ENDED = ("completed", "failed", "cancelled", "paused")

Add = Callable[..., None]
Record = dict[str, Any]
StatusName = Literal["pending", "processing", "paused", "completed", "failed", "cancelled"]
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=2**53)]
Session = Annotated[str | None, Query(max_length=200, description="not used: all jobs are shown")]


class LongBody(schemas.SpeechBody):
    """POST /audio/speech/long: as for /audio/speech, but mp3 is the default format."""

    response_format: Literal["wav", "mp3", "flac", "opus", "ogg", "aac", "pcm"] = "mp3"
    session_id: str | None = Field(None, max_length=200)


class UpdateBody(schemas.Body):
    """PATCH /audio/speech/long/{job_id}: fields that are sent are set."""

    display_name: str | None = Field(None, max_length=200)
    is_archived: bool | None = None
    tags: list[Annotated[str, Field(max_length=50)]] | None = Field(None, max_length=20)


class RetryBody(schemas.Body):
    """POST .../retry: whether spoken chunks are reused."""

    preserve_chunks: bool = True
    force_restart: bool = False


class BulkBody(schemas.Body):
    """POST /audio/speech/long/bulk."""

    job_ids: list[Annotated[str, Field(max_length=100)]] = Field(min_length=1, max_length=100)
    action: Literal["delete", "archive", "unarchive", "retry"]
    confirm: bool = False


def add_routes(lab: VoiceLab, add: Add) -> None:
    """Add the routes by `add(method, path, endpoint)`."""
    jobs = Jobs(lab)
    lists = JobLists(lab, jobs)
    _add_start_route(lab, jobs, add)
    _add_list_routes(lists, add)
    _add_bulk_routes(lab, jobs, lists, add)
    _add_job_routes(lab, jobs, add)
    _add_action_routes(lab, jobs, add)


def _started(jobs: Jobs, record: Record, message: str, warnings: Sequence[str]) -> Response:
    return Json(
        {
            "job_id": record["id"],
            "status": "pending",
            "message": message,
            "estimated_processing_time_seconds": None,
            "total_chunks": max(1, jobs.metadata(record)["total_chunks"]),
            "status_url": f"{LONG}/{record['id']}",
            "sse_url": f"{LONG}/{record['id']}/sse",
        },
        warnings=warnings,
    )


def _add_start_route(lab: VoiceLab, jobs: Jobs, add: Add) -> None:
    def start_job(body: LongBody) -> Response:
        """Start to speak a text in the background and return the job."""
        settings = {"source": SOURCE, "response_format": body.response_format, "store": True}
        record = lab.submit(replace(body.request(), **settings, listening=False))
        return _started(jobs, record, "Job submitted for processing", record["warnings"])

    start = taking(with_parameters(LongBody, lab.registry), start_job)
    add("POST", LONG, start, response_model=models.StartedJob)


def _add_list_routes(lists: JobLists, add: Add) -> None:
    def list_jobs(
        status: StatusName | None = None,
        limit: Limit = 20,
        offset: Offset = 0,
        session_id: Session = None,
    ) -> Response:
        """List jobs, newest first."""
        return Json(lists.page(lists.takes(status=status), limit, offset))

    def list_history(
        status: StatusName | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        min_duration: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
        max_duration: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
        search: Annotated[str | None, Query(max_length=1000)] = None,
        is_archived: bool | None = None,
        sort: Annotated[str, Query(max_length=40)] = "completed_desc",
        limit: Limit = 50,
        offset: Offset = 0,
        session_id: Session = None,
    ) -> Response:
        """List jobs, filtered and sorted."""
        if sort not in SORTS:
            raise InvalidInput(f"sort is one of {', '.join(SORTS)}.", param="sort")
        filters = Filters(
            source=SOURCE,
            search=search,
            created_after=utc_string(start_date),
            created_before=utc_string(end_date),
            min_duration_s=min_duration,
            max_duration_s=max_duration,
        )
        takes = lists.sorted(lists.takes(filters, status, is_archived), sort)
        return Json(lists.page(takes, limit, offset))

    def history_stats(session_id: Session = None) -> Response:
        """Return totals of all jobs."""
        return Json(lists.totals())

    add("GET", LONG, list_jobs, response_model=models.JobPage)
    add("GET", "/audio/speech/long-history", list_history, response_model=models.JobPage)
    add("GET", "/audio/speech/long-history/stats", history_stats, response_model=models.JobTotals)


def _add_bulk_routes(lab: VoiceLab, jobs: Jobs, lists: JobLists, add: Add) -> None:
    refuse = refuse_when_exposed(lab.settings)

    def clear_history(confirm: bool = False, session_id: Session = None) -> Response:
        """Delete all ended jobs, with confirm=true."""
        if not confirm:
            raise InvalidInput("Add ?confirm=true to delete all ended jobs.", param="confirm")
        count = lab.library.delete_many(lists.ended())
        counts = {"cleared_count": count, "deleted_count": count, "failed_count": 0}
        return Json({"message": f"Cleared {count} jobs from history"} | counts)

    def bulk_action(body: BulkBody) -> Response:
        """Delete, archive, unarchive or retry many jobs, with confirm=true."""
        if not body.confirm:
            raise InvalidInput("Bulk operations require confirm: true.", param="confirm")
        if body.action == "delete":
            refuse()
        results = [_bulk_result(lab, jobs, body.action, id) for id in dict.fromkeys(body.job_ids)]
        good = sum(result["success"] for result in results)
        return Json(
            {
                "success_count": good,
                "failed_count": len(results) - good,
                "total_count": len(results),
                "failed_jobs": [each["job_id"] for each in results if not each["success"]],
                "results": results,
                "message": f"Bulk {body.action}: {good}/{len(results)} successful",
            },
            warnings=body.warnings,
        )

    owner = [Depends(refuse)]
    add(
        "DELETE",
        "/audio/speech/long-history",
        clear_history,
        response_model=models.ClearedJobs,
        dependencies=owner,
    )
    add("POST", f"{LONG}/bulk", bulk_action, response_model=models.BulkDone)


def _bulk_result(lab: VoiceLab, jobs: Jobs, action: str, id: str) -> Record:
    """The result of a bulk action for one job; an error does not stop the others."""
    try:
        if action == "delete":
            lab.library.delete(jobs.record(id)["id"])
        elif action == "retry":
            _retry(lab, jobs, id, RetryBody())
        else:
            jobs.change(id, None, None, action == "archive")
    except VoicelabError as error:
        return {"job_id": id, "success": False, "error": error.message}
    return {"job_id": id, "success": True, "error": None}


def _retry(lab: VoiceLab, jobs: Jobs, id: str, body: RetryBody) -> Record:
    record = jobs.record(id)
    if jobs.status(record) in ("completed", "pending", "processing"):
        raise Conflict(f"Cannot retry job in {jobs.status(record)} state.")
    keep = body.preserve_chunks and not body.force_restart
    return lab.submit(lab.resume(id) if keep else lab.retry(id))


def _add_job_routes(lab: VoiceLab, jobs: Jobs, add: Add) -> None:
    background = Background(lab.settings)

    def get_job(job_id: str) -> Response:
        """Return a job: status, progress, possible actions."""
        return Json(jobs.view(jobs.record(job_id)))

    def job_details(job_id: str) -> Response:
        """Return the text and the chunks of a job."""
        return Json(jobs.details(jobs.record(job_id)))

    def update_job(job_id: str, body: UpdateBody) -> Response:
        """Set name, tags or archive flag of a job."""
        record = jobs.change(job_id, body.display_name, body.tags, body.is_archived)
        message = "Job metadata updated successfully"
        answer = {"success": True, "message": message, "status": jobs.status(record)}
        return Json(answer, warnings=body.warnings)

    async def download_job(job_id: str) -> Response:
        """Download the audio of a job in the format it was started with."""
        record = await to_thread.run_sync(jobs.record, job_id)
        if record["status"] != "completed":
            state = await to_thread.run_sync(jobs.status, record)
            raise Conflict(f"Job is not completed (status: {state}).")
        kind = record["response_format"] or "mp3"
        return await background.run(lambda: download(lab, background, record, kind))

    add("GET", f"{LONG}/{{job_id}}", get_job, response_model=models.Job)
    add("PATCH", f"{LONG}/{{job_id}}", update_job, response_model=models.UpdatedJob)
    add("GET", f"{LONG}/{{job_id}}/details", job_details, response_model=models.JobDetails)
    add("GET", f"{LONG}/{{job_id}}/download", download_job, **files(*AUDIO_TYPES))


def _add_action_routes(lab: VoiceLab, jobs: Jobs, add: Add) -> None:
    listeners = Listeners(lab.status)
    refuse = refuse_when_exposed(lab.settings)

    def pause_job(job_id: str) -> Response:
        """Pause a job; it can be resumed with the chunks already spoken."""
        jobs.pause(job_id)
        return Json({"message": f"Job {job_id} paused successfully", "status": "paused"})

    def resume_job(job_id: str) -> Response:
        """Resume a paused job."""
        jobs.resume(job_id)
        return Json({"message": f"Job {job_id} resumed successfully", "status": "processing"})

    def cancel_job(job_id: str, action: Literal["cancel", "delete"] = "cancel") -> Response:
        """Cancel a job; with action=delete its take is deleted, too."""
        if action == "delete":
            lab.library.delete(jobs.record(job_id)["id"])
            return Json({"message": f"Job {job_id} deleted successfully"})
        jobs.cancel(job_id)
        return Json({"message": f"Job {job_id} cancelled successfully"})

    def retry_job(job_id: str, body: Annotated[RetryBody | None, Body()] = None) -> Response:
        """Start a failed, paused or cancelled job again."""
        retry = body or RetryBody()
        record = _retry(lab, jobs, job_id, retry)
        return _started(jobs, record, "Retry job created successfully", retry.warnings)

    async def job_events(job_id: str) -> Response:
        """Stream `progress` events until a job has ended, then `completed` or `error`."""
        await to_thread.run_sync(jobs.record, job_id)
        return StreamingResponse(
            _events(lab, jobs, listeners, job_id),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    add("PUT", f"{LONG}/{{job_id}}/pause", pause_job, response_model=models.WorkDone)
    add("PUT", f"{LONG}/{{job_id}}/resume", resume_job, response_model=models.WorkDone)
    add(
        "DELETE",
        f"{LONG}/{{job_id}}",
        cancel_job,
        response_model=models.WorkDone,
        dependencies=[Depends(refuse)],
    )
    add("POST", f"{LONG}/{{job_id}}/retry", retry_job, response_model=models.StartedJob)
    add("GET", f"{LONG}/{{job_id}}/sse", job_events, **files("text/event-stream"))


async def _events(lab: VoiceLab, jobs: Jobs, listeners: Listeners, id: str) -> AsyncIterator[bytes]:
    before: Record = {}
    while True:
        version = lab.status.version
        try:
            progress = await to_thread.run_sync(lambda: jobs.progress(jobs.record(id)))
        except NotFound as error:  # deleted meanwhile: the stream is open, so say it there
            yield _event("error", {"status": "failed", "message": error.message})
            return
        status = progress["status"]
        shown = {"status": status, "progress": progress["overall_progress"]}
        if shown != before:
            before = shown
            yield _event("progress", shown | {"current_chunk": progress["current_chunk"]})
        if status in ENDED:
            good = status == "completed"
            message = "Job completed successfully" if good else progress["error"]
            kind = "completed" if good else "error"
            yield _event(kind, {"status": status, "message": message})
            return
        if not await listeners.wait(version):
            yield HEARTBEAT


def _event(kind: str, data: Record) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
