"""Routes for stories: items on tracks, dialogue scripts, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, File, Query, Request, UploadFile
from pydantic import Field
from starlette.responses import Response

from voicelab.audio import EXPORTS
from voicelab.errors import BadArchive, InvalidInput
from voicelab.generation import Dialogue, Line, parse_script
from voicelab.lab import VoiceLab
from voicelab.library import Missing
from voicelab.rest.background import Background
from voicelab.rest.json import Json
from voicelab.rest.models import Message, Story, StoryItem, StoryLine
from voicelab.rest.openapi import files
from voicelab.rest.routing import resource
from voicelab.rest.schemas import PlainBody, StrictBody
from voicelab.rest.security.exposure import owner_only
from voicelab.rest.streams import IteratorResponse
from voicelab.rest.uploads import attachment, temporary_download
from voicelab.rest.warnings import missing_header

__all__ = ["router"]

Milliseconds = Annotated[int, Field(ge=0, le=43_200_000)]
Id = Annotated[str, Field(max_length=100)]


class StoryBody(PlainBody):
    """POST /stories."""

    name: str = Field(min_length=1, max_length=100)
    description: str | None = Field(None, max_length=500)


class StoryPatch(PlainBody):
    """PUT /stories/{id}: fields that are sent are set."""

    name: str | None = Field(None, min_length=1, max_length=100)
    description: str | None = Field(None, max_length=500)


class ItemBody(PlainBody):
    """POST /stories/{id}/items."""

    generation_id: Id
    version_id: Id | None = None
    start_time_ms: Milliseconds | None = Field(None, description="after the track's last if null")
    track: int | None = Field(None, ge=-32, le=31)
    trim_start_ms: Milliseconds | None = None
    trim_end_ms: Milliseconds | None = None
    volume: float | None = Field(None, ge=0, le=2)
    fade_in_ms: int | None = Field(None, ge=0, le=60_000)
    fade_out_ms: int | None = Field(None, ge=0, le=60_000)


class MoveBody(PlainBody):
    """PUT .../move."""

    start_time_ms: Milliseconds
    track: int | None = Field(None, ge=-32, le=31)


class TrimBody(PlainBody):
    """PUT .../trim: milliseconds cut off at each end, and fades."""

    trim_start_ms: Milliseconds | None = None
    trim_end_ms: Milliseconds | None = None
    fade_in_ms: int | None = Field(None, ge=0, le=60_000)
    fade_out_ms: int | None = Field(None, ge=0, le=60_000)


class VolumeBody(PlainBody):
    """PUT .../volume."""

    volume: float = Field(ge=0, le=2, description="0 is silence")


class VersionBody(PlainBody):
    """PUT .../version: id of a version, or null for the take's default."""

    version_id: Id | None


class SplitBody(PlainBody):
    """POST .../split."""

    split_time_ms: Milliseconds = Field(description="after the item's beginning")


class ReorderBody(PlainBody):
    """PUT /stories/{id}/items/reorder."""

    item_ids: list[Id] | None = Field(None, min_length=1, max_length=2000)
    generation_ids: list[Id] | None = Field(
        None, min_length=1, max_length=2000, description="in place of item_ids, over all tracks"
    )


class TimeBody(StrictBody):
    """A take and its start, in PUT /stories/{id}/items/times."""

    generation_id: Id
    start_time_ms: Milliseconds


class TimesBody(PlainBody):
    """PUT /stories/{id}/items/times: takes and where they start."""

    updates: list[TimeBody] = Field(min_length=1, max_length=2000)


class LineBody(StrictBody):
    """One line of a dialogue."""

    profile: str | None = Field(None, max_length=200, description="name or id")
    text: str


class ScriptBody(PlainBody):
    """POST /stories/{id}/generate: lines, or a script of "Name: line" rows."""

    lines: list[LineBody] | None = Field(None, max_length=500)
    script: str | None = Field(None, max_length=200_000)

    def spoken(self) -> list[Line]:
        """The lines to speak: those of `lines`, then those of `script`."""
        given = [Line(line.text, line.profile) for line in self.lines or ()]
        return [*given, *parse_script(self.script or "")]


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    return resource("stories", lab, _stories, _items, _files)


def _stories(routes: APIRouter, lab: VoiceLab) -> None:
    background = Background(lab.settings)
    owner = owner_only(lab.settings)

    @routes.get("/stories", response_model=list[StoryLine])
    def list_stories() -> Response:
        """List all stories, newest first."""
        return Json(lab.library.stories.list())

    @routes.post("/stories", response_model=Story)
    def create_story(body: StoryBody) -> Response:
        """Create a story."""
        return Json(lab.library.stories.create(body.name, body.description or ""))

    @routes.get("/stories/{id}", response_model=Story)
    def get_story(id: str) -> Response:
        """Return a story with its items in order of time."""
        return Json(lab.library.stories.get(id))

    @routes.put("/stories/{id}", response_model=Story)
    def update_story(id: str, body: StoryPatch) -> Response:
        """Change the name or description of a story."""
        return Json(lab.library.stories.update(id, body.name, body.description))

    @routes.delete("/stories/{id}", response_model=Message, dependencies=owner)
    def delete_story(id: str) -> Response:
        """Delete a story; its takes are kept."""
        lab.library.stories.delete(id)
        return Json({"message": "Story deleted successfully"})

    @routes.post("/stories/{id}/generate", response_model=Story)
    async def generate_story(id: str, body: ScriptBody, request: Request) -> Response:
        """Speak a dialogue and append its takes to a story."""
        dialogue = Dialogue(lab, id, body.spoken())
        return Json(await background.wait(request, dialogue.speak, dialogue.cancel))


def _items(routes: APIRouter, lab: VoiceLab) -> None:
    owner = owner_only(lab.settings)

    @routes.post("/stories/{id}/items", response_model=StoryItem)
    def add_item(id: str, body: ItemBody) -> Response:
        """Add a take to a story."""
        return Json(lab.library.stories.add_item(id, **body.model_dump()))

    @routes.put("/stories/{id}/items/reorder", response_model=Story | list[StoryItem])
    def reorder_items(id: str, body: ReorderBody) -> Response:
        """Place the items of a track one after another; with generation_ids, of all tracks."""
        if body.item_ids is not None:
            return Json(lab.library.stories.reorder(id, body.item_ids))
        if body.generation_ids is None:
            raise InvalidInput("Send item_ids, or generation_ids.", param="item_ids")
        return Json(lab.library.stories.reorder_takes(id, body.generation_ids))

    @routes.put("/stories/{id}/items/times", response_model=Message)
    def set_item_times(id: str, body: TimesBody) -> Response:
        """Set the start times of items, which are named by their takes."""
        lab.library.stories.set_times(id, body.model_dump()["updates"])
        return Json({"message": "Item timecodes updated successfully"})

    def change(kind: str, body_type: type[PlainBody], sentence: str) -> None:
        def change_item(id: str, iid: str, body: PlainBody) -> Response:
            fields = body.model_dump(exclude_unset=True)
            if kind != "version":
                fields = {key: value for key, value in fields.items() if value is not None}
            return Json(lab.library.stories.change_item(id, iid, **fields))

        change_item.__annotations__["body"] = body_type
        change_item.__doc__ = sentence
        change_item.__name__ = f"{kind}_item"
        path = f"/stories/{{id}}/items/{{iid}}/{kind}"
        routes.add_api_route(path, change_item, methods=["PUT"], response_model=StoryItem)

    change("move", MoveBody, "Move an item to another start time or track.")
    change("trim", TrimBody, "Trim an item at either end, and fade it in and out.")
    change(
        "volume",
        VolumeBody,
        "Set the volume of an item: 0 is silence, 1 unchanged, 2 twice the amplitude.",
    )
    change("version", VersionBody, "Choose a fixed version of the take, or its default version.")

    @routes.post("/stories/{id}/items/{iid}/split", response_model=list[StoryItem])
    def split_item(id: str, iid: str, body: SplitBody) -> Response:
        """Split an item in two and return both."""
        return Json(lab.library.stories.split(id, iid, body.split_time_ms))

    @routes.post("/stories/{id}/items/{iid}/duplicate", response_model=StoryItem)
    def duplicate_item(id: str, iid: str) -> Response:
        """Copy an item to the end of its track."""
        return Json(lab.library.stories.duplicate(id, iid))

    @routes.delete("/stories/{id}/items/{iid}", response_model=Message, dependencies=owner)
    def remove_item(id: str, iid: str) -> Response:
        """Remove an item from a story; its take is kept."""
        lab.library.stories.remove_item(id, iid)
        return Json({"message": "Item removed successfully"})


def _files(routes: APIRouter, lab: VoiceLab) -> None:
    background = Background(lab.settings)

    @routes.get("/stories/{id}/export-audio", **files(*EXPORTS.values()))
    def export_story_audio(
        id: str,
        format: Annotated[
            Literal["wav", "mp3", "flac", "m4b", "srt", "vtt"],
            Query(description="mp3 and m4b have chapters; srt and vtt are captions"),
        ] = "wav",
    ) -> Response:
        """Export a story as one audio file, or its captions, sent while it is encoded."""
        missing = Missing()
        parts = lab.library.stories.streamed(id, format, missing)
        story = lab.library.stories.get(id)
        there = [i for i in story["items"] if i["id"] not in missing.ids]
        seconds = max(i["start_time_ms"] + i["duration_ms"] for i in there) / 1000
        headers = {
            "Content-Disposition": attachment(f"{story['name'][:60]}.{format}"),
            "X-Audio-Seconds": str(seconds),
        } | missing_header(missing.ids)
        return IteratorResponse(background, parts, EXPORTS[format], headers)

    @routes.get("/stories/{id}/export", **files("application/zip"))
    def export_story(id: str) -> Response:
        """Export a story with its takes as a ZIP."""
        name = f"story-{lab.library.stories.get(id)['name'][:30].strip()}.voicelab.zip"

        def write(path: Path) -> Missing:
            with path.open("wb") as sink:
                return lab.library.archives.export_story(id, sink)

        return temporary_download(write, name, "application/zip")

    @routes.post("/stories/import", response_model=Story)
    def import_story(file: Annotated[UploadFile, File()]) -> Response:
        """Import the story of a ZIP with its takes."""
        if not file.size:
            raise BadArchive("The file is empty.", param="file")
        return Json(lab.library.archives.import_story(file.file))
