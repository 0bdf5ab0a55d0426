"""The voice library of the Chatterbox TTS API; its voices are profiles, their files the clips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import File, Form, UploadFile
from pydantic import AfterValidator
from starlette.responses import Response

from voicelab.audio import CLIP_RATE, to_pcm16, wav_bytes
from voicelab.errors import BadClip, NotFound
from voicelab.lab import VoiceLab
from voicelab.library import default_voice, library_item
from voicelab.rest.dialects.chatterbox import models
from voicelab.rest.json import Json
from voicelab.rest.openapi import files
from voicelab.rest.security.exposure import owner_only
from voicelab.rest.uploads import attachment, clip_file

__all__ = ["add_routes"]

ALL_NAMES = "all-names"
"""Reserved: /voices/all-names is a route, so no voice can have this name."""


def _reachable(name: str) -> str:
    if "/" in name or "\\" in name or name.strip() == ALL_NAMES:
        raise ValueError("a name here has no slash, and is not 'all-names'")
    return name


Name = Annotated[str, Form(min_length=1, max_length=100)]
NewName = Annotated[Name, AfterValidator(_reachable)]
Add = Callable[..., None]


def add_routes(lab: VoiceLab, add: Add) -> None:
    """Add the routes by `add(method, path, endpoint)`."""
    _default(lab, add)
    _voices(lab, add)
    _one_voice(lab, add)
    _aliases(lab, add)


def _item(lab: VoiceLab, profile: dict[str, Any]) -> dict[str, Any]:
    return profile | library_item(profile, lab.library.profiles.samples(profile["id"]))


def _default(lab: VoiceLab, add: Add) -> None:
    def default_body(profile: dict[str, Any]) -> dict[str, Any]:
        if not profile["is_default_voice"]:
            return {"default_voice": None, "source": "engine", "path": None}
        item = _item(lab, profile)
        return {"default_voice": item["name"], "source": "voice_library", "voice_info": item}

    def get_default() -> Response:
        """Return the voice used when a request names none; null is the engine's own."""
        return Json(default_body(default_voice(lab.library.profiles.list())))

    def set_default(voice_name: Name) -> Response:
        """Set the voice used when a request names none."""
        profile = lab.library.profiles.choose_default(lab.library.profiles.voice(voice_name)["id"])
        return Json({"message": "Default voice updated successfully"} | default_body(profile))

    def reset_default() -> Response:
        """Make the engine's own voice the default again."""
        profile = lab.library.profiles.choose_default(None)
        return Json({"message": "Default voice reset to system default"} | default_body(profile))

    owner = owner_only(lab.settings)
    add("GET", "/voices/default", get_default, response_model=models.DefaultVoice)
    add("POST", "/voices/default", set_default, response_model=models.DefaultVoice)
    add(
        "DELETE",
        "/voices/default",
        reset_default,
        response_model=models.DefaultVoice,
        dependencies=owner,
    )


def _voices(lab: VoiceLab, add: Add) -> None:
    def add_voice(
        voice_name: NewName,
        voice_file: Annotated[UploadFile, File(description="2-30 s of one voice")],
        language: Annotated[str, Form(min_length=2, max_length=20)] = "en",
    ) -> Response:
        """Create a voice from an uploaded clip."""
        lab.registry.check_language(language)
        with clip_file(voice_file) as path:
            if path is None:
                raise BadClip("There is no clip in the request.", param="voice_file")
            profile = lab.library.profiles.create_from_clip(voice_name, path, language)
        body = {"message": "Voice uploaded successfully", "voice": _item(lab, profile)}
        return Json(body, 201)

    def all_names() -> Response:
        """List the names and aliases of all voices."""
        profiles = lab.library.profiles.list()
        names = [name for p in profiles for name in (p["name"], *p["aliases"])]
        return Json({"voice_names": names, "count": len(names)})

    add("POST", "/voices", add_voice, response_model=models.NewVoice, status_code=201)
    add("GET", "/voices/all-names", all_names, response_model=models.AllNames)


def _one_voice(lab: VoiceLab, add: Add) -> None:
    def get_voice(voice_name: str) -> Response:
        """Return a voice by name or alias."""
        return Json({"voice": _item(lab, lab.library.profiles.voice(voice_name))})

    def rename_voice(voice_name: str, new_name: NewName) -> Response:
        """Rename a voice."""
        profile = lab.library.profiles.voice(voice_name)
        renamed = lab.library.profiles.update(profile["id"], {"name": new_name})
        body = {"message": "Voice renamed successfully", "old_name": profile["name"]}
        return Json(body | {"new_name": renamed["name"]})

    def delete_voice(voice_name: str) -> Response:
        """Delete a voice with its clips; its takes are kept, unassigned."""
        profile = lab.library.profiles.voice(voice_name)
        gone = lab.library.delete_profile(profile["id"], keep_generations=True)
        body = {"message": "Voice deleted successfully", "voice_name": profile["name"]}
        return Json(body | gone)

    def download_voice(voice_name: str) -> Response:
        """Download the clips of a voice as one WAV."""
        profile = lab.library.profiles.voice(voice_name)
        samples = lab.library.profiles.reference(profile["id"])
        if samples is None:
            raise NotFound(f"'{profile['name'][:60]}' has no clip.", param="voice_name")
        headers = {"Content-Disposition": attachment(f"{profile['name']}.wav")}
        content = wav_bytes(to_pcm16(samples), CLIP_RATE)
        return Response(content, media_type="audio/wav", headers=headers)

    owner = owner_only(lab.settings)
    add("GET", "/voices/{voice_name}", get_voice, response_model=models.VoiceLine)
    add("PUT", "/voices/{voice_name}", rename_voice, response_model=models.RenamedVoice)
    add(
        "DELETE",
        "/voices/{voice_name}",
        delete_voice,
        response_model=models.RemovedVoice,
        dependencies=owner,
    )
    add("GET", "/voices/{voice_name}/download", download_voice, **files("audio/wav"))


def _aliases(lab: VoiceLab, add: Add) -> None:
    def alias_body(profile: dict[str, Any], **fields: Any) -> dict[str, Any]:
        aliases = profile["aliases"]
        return {"voice_name": profile["name"], "aliases": aliases, "count": len(aliases)} | fields

    def list_aliases(voice_name: str) -> Response:
        """List the aliases of a voice."""
        return Json(alias_body(lab.library.profiles.voice(voice_name)))

    def add_alias(voice_name: str, alias: NewName) -> Response:
        """Add an alias to a voice."""
        id = lab.library.profiles.voice(voice_name)["id"]
        profile = lab.library.profiles.set_aliases(id, lambda known: [*known, alias])
        body = alias_body(profile, alias=profile["aliases"][-1], message="Alias added successfully")
        return Json(body, 201)

    def remove_alias(voice_name: str, alias: str) -> Response:
        """Remove an alias from a voice."""
        profile = lab.library.profiles.voice(voice_name)
        if alias not in profile["aliases"]:
            raise NotFound(f"'{profile['name'][:60]}' has no such alias.", param="alias")
        left = lab.library.profiles.set_aliases(
            profile["id"], lambda known: [each for each in known if each != alias]
        )
        return Json(alias_body(left, alias=alias, message="Alias removed successfully"))

    owner = owner_only(lab.settings)
    add("GET", "/voices/{voice_name}/aliases", list_aliases, response_model=models.Aliases)
    add(
        "POST",
        "/voices/{voice_name}/aliases",
        add_alias,
        response_model=models.ChangedAliases,
        status_code=201,
    )
    add(
        "DELETE",
        "/voices/{voice_name}/aliases/{alias}",
        remove_alias,
        response_model=models.ChangedAliases,
        dependencies=owner,
    )
