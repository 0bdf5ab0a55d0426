"""Routes for takes: list, search, change, delete, export, import, audio."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Depends, File, Query, UploadFile
from starlette.responses import Response, StreamingResponse

from voicelab.audio import FORMATS, blocks, encoded
from voicelab.errors import InvalidInput, NotFound
from voicelab.lab import VoiceLab
from voicelab.library import Filters, Missing, archive_name
from voicelab.rest.background import Background
from voicelab.rest.json import Json
from voicelab.rest.models import Changed, Deleted, Favorite, Imported, Message, TakePage, TakeRecord
from voicelab.rest.openapi import AUDIO_TYPES, files
from voicelab.rest.routing import resource
from voicelab.rest.schemas import BulkPatch, GenerationPatch, Ids
from voicelab.rest.security.exposure import owner_only
from voicelab.rest.storage_reports import TakeTotals
from voicelab.rest.streams import AudioFile, IteratorResponse
from voicelab.rest.uploads import attachment, temporary_download
from voicelab.rest.warnings import missing_header

__all__ = ["download", "router", "utc_string"]

FormatName = Literal["wav", "mp3", "flac", "opus", "ogg", "aac", "pcm"]
Text = Annotated[str | None, Query(max_length=1000)]
Short = Annotated[str | None, Query(max_length=100)]
Seconds = Annotated[float | None, Query(ge=0, allow_inf_nan=False)]
CSV_COLUMNS = (
    *("id", "profile_name", "text", "language", "duration", "seed", "instruct", "engine"),
    *("model_size", "status", "error", "is_favorited", "created_at", "tags", "label", "source"),
    *("voice", "size_bytes", "elapsed_s", "real_time_factor", "sample_rate", "parameters"),
    *("audio_path", "profile_id"),
)
Sort = Literal[
    "created_at",
    "-created_at",
    "duration",
    "-duration",
    "text",
    "-text",
    "size_bytes",
    "-size_bytes",
    "real_time_factor",
    "-real_time_factor",
]


def filters(
    profile_id: Short = None,
    search: Text = None,
    status: Literal["pending", "completed", "failed"] | None = None,
    engine: Short = None,
    language: Short = None,
    favorite: bool | None = None,
    source: Short = None,
    tag: Short = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    min_duration: Seconds = None,
    max_duration: Seconds = None,
    sort: Sort = "-created_at",
) -> Filters:
    """The query parameters of a list as `Filters`."""
    return Filters(
        profile_id=profile_id,
        search=search,
        status=status,
        engine=engine,
        language=language,
        favorite=favorite,
        source=source,
        tag=tag,
        created_after=utc_string(created_after),
        created_before=utc_string(created_before),
        min_duration_s=min_duration,
        max_duration_s=max_duration,
        sort=sort,
    )


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    return resource("history", lab, _lists, _many, _deletion, _one, _archives, _sound_files, _audio)


def utc_string(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with Z, as in records; a time without a zone is taken as UTC."""
    if moment is None:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _lists(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/history", response_model=TakePage)
    def list_history(
        chosen: Annotated[Filters, Depends(filters)],
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> Response:
        """List takes, newest first, with the keys of /status/history beside them."""
        items, total = lab.history.list(chosen, limit=limit, offset=offset)
        requests = lab.status.history(min(limit, 50))
        return Json({"items": items, "total": total} | requests | {"limit": limit})

    @routes.get("/history/stats", response_model=TakeTotals)
    def history_stats() -> Response:
        """Return totals of all takes."""
        return Json(lab.history.stats())


def _many(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/history/export", **files("text/csv", "application/jsonl"))
    def export_table(
        chosen: Annotated[Filters, Depends(filters)],
        format: Annotated[Literal["csv", "jsonl"], Query(description="of the table")] = "csv",
    ) -> Response:
        """Export all matching takes as a table (CSV or JSON lines), without audio."""
        rows = lab.history.each(chosen)
        lines = _csv(rows) if format == "csv" else (orjson.dumps(row) + b"\n" for row in rows)
        kind = "text/csv; charset=utf-8" if format == "csv" else "application/jsonl"
        headers = {"Content-Disposition": attachment(f"takes.{format}")}
        return StreamingResponse(lines, media_type=kind, headers=headers)

    @routes.post("/history/export", **files("application/zip"))
    def export_takes(body: Ids) -> Response:
        """Export many takes as one ZIP; X-Missing lists takes without an audio file."""

        def write(path: Path) -> Missing:
            with path.open("wb") as sink:
                return lab.library.archives.export_takes(body.ids, sink)

        return temporary_download(write, "takes.voicebox.zip", "application/zip")

    @routes.patch("/history", response_model=Changed)
    def change_many(body: BulkPatch) -> Response:
        """Set favourite, add tags, or set the profile of many takes."""
        fields = body.model_dump(exclude={"ids"}, exclude_none=True)
        return Json({"changed": lab.history.change_many(body.ids, **fields)})


def _csv(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The lines of the table: a header, then one line for each take."""
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[key]) for key in CSV_COLUMNS])
        yield sink.getvalue()
        sink.seek(0)
        sink.truncate()
    yield sink.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return orjson.dumps(value).decode()
    # A spreadsheet would run what begins like a formula.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def _deletion(routes: APIRouter, lab: VoiceLab) -> None:
    owner = owner_only(lab.settings)

    @routes.delete("/history/failed", response_model=Deleted, dependencies=owner)
    def delete_failed() -> Response:
        """Delete all failed takes."""
        return Json({"deleted": lab.library.delete_many(filters=Filters(status="failed"))})

    @routes.delete("/history", response_model=Deleted, dependencies=owner)
    def delete_many(
        chosen: Annotated[Filters, Depends(filters)],
        confirm: bool = False,
        body: Annotated[Ids | None, Body()] = None,
    ) -> Response:
        """Delete takes by ids, or all that match the filters with confirm=true."""
        if body is not None:
            return Json({"deleted": lab.library.delete_many(ids=body.ids)})
        if not confirm:
            raise InvalidInput("Send ids, or filters with confirm=true.", param="confirm")
        return Json({"deleted": lab.library.delete_many(filters=chosen)})

    @routes.delete("/history/{id}", response_model=Message, dependencies=owner)
    def delete_generation(id: str) -> Response:
        """Delete a take with its files; a running one is cancelled first."""
        lab.library.delete(id)
        return Json({"message": "Generation deleted successfully"})


def _one(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/history/{id}", response_model=TakeRecord)
    def get_generation(id: str) -> Response:
        """Return a take with its versions."""
        return Json(lab.history.get(id))

    @routes.patch("/history/{id}", response_model=TakeRecord)
    def change_generation(id: str, body: GenerationPatch) -> Response:
        """Set favourite, tags or label of a take."""
        return Json(lab.history.change(id, **body.model_dump(exclude_unset=True)))

    @routes.post("/history/{id}/favorite", response_model=Favorite)
    def toggle_favorite(id: str) -> Response:
        """Mark a take as favourite, or remove the mark."""
        return Json({"is_favorited": lab.history.toggle_favorite(id)})


def _archives(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/history/{id}/export", **files("application/zip"))
    def export_generation(id: str) -> Response:
        """Export a take as a ZIP that this server and the voice studio can import."""
        record = lab.history.get(id)
        missing = Missing()
        content = lab.library.archives.export_take(id, missing)
        headers = {"Content-Disposition": attachment(archive_name(record["text"]))}
        headers |= missing_header(missing.ids)
        return Response(content, media_type="application/zip", headers=headers)

    @routes.post("/history/import", response_model=Imported)
    def import_generation(file: Annotated[UploadFile, File()]) -> Response:
        """Import the takes of a ZIP."""
        records = lab.library.archives.import_takes(file.file)
        keys = ("id", "profile_id", "profile_name", "text")
        rows = [{key: record[key] for key in keys} for record in records]
        return Json(rows[0] | {"message": "Generation imported successfully", "imported": rows})


def _sound_files(routes: APIRouter, lab: VoiceLab) -> None:
    background = Background(lab.settings)

    @routes.get("/history/{id}/export-audio", **files(*AUDIO_TYPES))
    def export_audio(
        id: str,
        format: Annotated[FormatName, Query(description="of the file")] = "wav",
    ) -> Response:
        """Download the default version in any format, converted while it is sent."""
        return download(lab, background, lab.history.get(id), format)


def _audio(routes: APIRouter, lab: VoiceLab) -> None:
    def file(relative: str | None) -> Response:
        path = _path(lab, relative)
        headers = {"X-Content-Type-Options": "nosniff"}
        kind = FORMATS[path.suffix.removeprefix(".")].content_type
        return AudioFile(path, media_type=kind, headers=headers)

    @routes.get("/audio/{id}", **files("audio/wav", "audio/flac"))
    def audio(id: str) -> Response:
        """Return the audio of a take's default version; Range requests are supported."""
        return file(lab.history.get(id)["audio_path"])

    @routes.get("/audio/version/{version_id}", **files("audio/wav", "audio/flac"))
    def version_audio(version_id: str) -> Response:
        """Return the audio of a version; Range requests are supported."""
        return file(lab.library.versions.get(version_id)["audio_path"])


def download(
    lab: VoiceLab, background: Background, record: dict[str, Any], format: str
) -> Response:
    """The default version of a take as a download in that format, named after its text.

    Args:
        lab, background: for the files, and for the threads that encode.
        record: of the take.
        format: a key of `FORMATS`.

    Raises:
        NotFound: the take has no audio yet.
    """
    path = _path(lab, record["audio_path"])
    form = FORMATS[format]
    headers = {
        "Content-Disposition": attachment(record["text"][:40].strip() + form.suffix),
        "X-Content-Type-Options": "nosniff",
    }
    if path.suffix == form.suffix:
        return AudioFile(path, media_type=form.content_type, headers=headers)
    sound, rate, frames = blocks(path)
    headers["X-Audio-Seconds"] = str(round(frames / rate, 3))
    parts = encoded(sound, rate, format, frames=frames)
    return IteratorResponse(background, parts, form.content_type, headers)


def _path(lab: VoiceLab, relative: str | None) -> Path:
    if not relative:
        raise NotFound("This take has no audio yet.")
    return lab.library.files.path(relative)
