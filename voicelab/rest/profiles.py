"""Routes for voice profiles, their clips and their pictures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, UploadFile
from pydantic import Field
from starlette.responses import Response

from voicelab.errors import BadArchive, BadClip, InvalidInput, NotFound
from voicelab.lab import VoiceLab
from voicelab.library import Missing
from voicelab.rest.json import Json
from voicelab.rest.models import DeletedProfile, Message, Profile, Sample
from voicelab.rest.openapi import files
from voicelab.rest.routing import resource
from voicelab.rest.schemas import Body
from voicelab.rest.security.exposure import owner_only
from voicelab.rest.streams import AudioFile
from voicelab.rest.uploads import attachment, clip_file
from voicelab.rest.warnings import missing_header

__all__ = ["router"]


class ProfileBody(Body):
    """POST /profiles."""

    name: str = Field(min_length=1, max_length=100, description="unique")
    description: str = Field("", max_length=500)
    language: str = Field("en", min_length=1, max_length=20)
    default_engine: str | None = Field(None, max_length=60)
    effects_chain: list[dict[str, Any]] | None = Field(None, max_length=20)
    preset_engine: str | None = Field(
        None, max_length=60, description="the studio's name for default_engine, which wins"
    )
    preset_voice_id: Literal["default"] | None = Field(
        None, description="of GET /profiles/presets/{engine}: without a clip it is spoken with"
    )

    def fields(self) -> dict[str, Any]:
        """The arguments of `Profiles.create`."""
        fields = self.values()
        del fields["preset_voice_id"]
        preset_engine = fields.pop("preset_engine")
        return fields | {"default_engine": self.default_engine or preset_engine}


class ProfilePatch(Body):
    """PUT /profiles/{id}: fields that are sent are set."""

    keeps_null = True

    name: str | None = Field(None, min_length=1, max_length=100)
    description: str | None = Field(None, max_length=500)
    language: str | None = Field(None, min_length=1, max_length=20)
    default_engine: str | None = Field(None, max_length=60)
    effects_chain: list[dict[str, Any]] | None = Field(None, max_length=20)


def router(lab: VoiceLab) -> APIRouter:
    """The routes for a lab."""
    return resource("profiles", lab, _samples, _archives, _profiles, _avatars)


def _profiles(routes: APIRouter, lab: VoiceLab) -> None:
    owner = owner_only(lab.settings)

    @routes.get("/profiles", response_model=list[Profile])
    def list_profiles() -> Response:
        """List all profiles, the default profile first."""
        return Json(lab.library.profiles.list())

    @routes.post("/profiles", response_model=Profile)
    def create_profile(body: ProfileBody) -> Response:
        """Create a profile; its clips are added by /profiles/{id}/samples."""
        lab.registry.check_language(body.language)
        fields = body.fields()
        _check_engine(lab, fields["default_engine"])
        return Json(lab.library.profiles.create(**fields), warnings=body.warnings)

    @routes.get("/profiles/{id}", response_model=Profile)
    def get_profile(id: str) -> Response:
        """Return a profile with its numbers of takes and clips."""
        return Json(lab.library.profiles.get(id))

    @routes.put("/profiles/{id}", response_model=Profile)
    def update_profile(id: str, body: ProfilePatch) -> Response:
        """Change the fields of a profile that are sent."""
        if body.language is not None:
            lab.registry.check_language(body.language)
        _check_engine(lab, body.default_engine)
        fields = body.model_dump(exclude_unset=True, include=set(ProfilePatch.model_fields))
        for name in ("name", "language"):
            if name in fields and fields[name] is None:
                del fields[name]
        return Json(lab.library.profiles.update(id, fields), warnings=body.warnings)

    @routes.delete("/profiles/{id}", response_model=DeletedProfile, dependencies=owner)
    def delete_profile(id: str, keep_generations: bool = False) -> Response:
        """Delete a profile with its takes; with keep_generations=true they become unassigned."""
        gone = lab.library.delete_profile(id, keep_generations)
        return Json({"message": "Profile deleted successfully"} | gone)


def _check_engine(lab: VoiceLab, name: str | None) -> None:
    if name is not None:
        lab.registry.info(name)


def _samples(routes: APIRouter, lab: VoiceLab) -> None:
    owner = owner_only(lab.settings)

    @routes.delete("/profiles/samples/{sid}", response_model=Message, dependencies=owner)
    def delete_sample(sid: str) -> Response:
        """Delete a clip."""
        lab.library.profiles.delete_sample(sid)
        return Json({"message": "Sample deleted successfully"})

    @routes.get("/profiles/samples/{sid}/audio", **files("audio/wav"))
    def sample_audio(sid: str) -> Response:
        """Return the audio of a clip: WAV, 24 kHz, mono."""
        path = lab.library.files.path(lab.library.profiles.sample(sid)["audio_path"])
        headers = {"X-Content-Type-Options": "nosniff"}
        return AudioFile(path, media_type="audio/wav", headers=headers)

    @routes.get("/profiles/{id}/samples", response_model=list[Sample])
    def list_samples(id: str) -> Response:
        """List the clips of a profile, oldest first."""
        return Json(lab.library.profiles.samples(id))

    @routes.post("/profiles/{id}/samples", response_model=Sample)
    def add_sample(
        id: str,
        file: Annotated[UploadFile, File(description="2-30 s of one voice")],
        reference_text: Annotated[str, Form(max_length=2000)] = "",
    ) -> Response:
        """Check an uploaded clip and add it to a profile."""
        with clip_file(file) as path:
            if path is None:
                raise BadClip("There is no clip in the request.", param="file")
            return Json(lab.library.profiles.add_sample(id, path, reference_text))


def _archives(routes: APIRouter, lab: VoiceLab) -> None:
    @routes.get("/profiles/{id}/export", **files("application/zip"))
    def export_profile(id: str) -> Response:
        """Export a profile with its clips as a ZIP; this server and the studio can import it."""
        missing = Missing()
        name, content = lab.library.archives.export_profile(id, missing)
        headers = {"Content-Disposition": attachment(name)} | missing_header(missing.ids)
        return Response(content, media_type="application/zip", headers=headers)

    @routes.post("/profiles/import", response_model=Profile)
    def import_profile(file: Annotated[UploadFile, File()]) -> Response:
        """Import the profile of a ZIP."""
        if not file.size:
            raise BadArchive("The file is empty.", param="file")
        return Json(lab.library.archives.import_profile(file.file))


def _avatars(routes: APIRouter, lab: VoiceLab) -> None:
    owner = owner_only(lab.settings)

    @routes.get("/profiles/{id}/avatar", **files("image/png"))
    def get_avatar(id: str) -> Response:
        """Return the picture of a profile as PNG."""
        path = lab.library.profiles.get(id)["avatar_path"]
        if not path:
            raise NotFound("This profile has no avatar.")
        headers = {"X-Content-Type-Options": "nosniff"}
        return AudioFile(lab.library.files.path(path), media_type="image/png", headers=headers)

    @routes.post("/profiles/{id}/avatar", response_model=Profile)
    def set_avatar(id: str, file: Annotated[UploadFile, File()]) -> Response:
        """Upload the picture of a profile."""
        if not file.size:
            raise InvalidInput("The file is empty.", param="file")
        return Json(lab.library.profiles.set_avatar(id, file.file.read()))

    @routes.delete("/profiles/{id}/avatar", response_model=Profile, dependencies=owner)
    def delete_avatar(id: str) -> Response:
        """Delete the picture of a profile."""
        return Json(lab.library.profiles.delete_avatar(id))
