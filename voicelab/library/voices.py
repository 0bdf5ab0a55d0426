"""Lookup of profiles by voice name: id, name, alias, or one of OpenAI's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicelab.audio import CLIP_RATE
from voicelab.errors import Conflict, UnknownVoice
from voicelab.records import DEFAULT_PROFILE

__all__ = [
    "OPENAI_VOICES",
    "aliased",
    "check_free",
    "default_voice",
    "find_voice",
    "library_item",
    "unknown_voice",
]

OPENAI_VOICES = frozenset(
    (
        *("alloy", "ash", "ballad", "coral", "echo", "fable", "marin", "cedar", "nova"),
        *("onyx", "sage", "shimmer", "verse"),
    )
)
Record = dict[str, Any]


def find_voice(profiles: Sequence[Record], name: str) -> Record | None:
    """The profile of that id, name or alias; an exact match is preferred to one by case folding."""
    name = name.strip()
    folded = name.casefold()
    for profile in profiles:
        if name in _names(profile):
            return profile
    for profile in profiles:
        if folded in (known.casefold() for known in _names(profile)):
            return profile
    return None


def aliased(aliases: Mapping[str, str], name: str) -> str:
    """The profile name that the settings have for a client's name, or else that name."""
    return aliases.get(name.strip().casefold(), name)


def default_voice(profiles: Sequence[Record]) -> Record:
    """The profile for requests that name no voice, or one of OpenAI's."""
    chosen = (profile for profile in profiles if profile.get("is_default_voice"))
    return next(chosen, profiles[0])


def unknown_voice(name: str, profiles: Sequence[Record]) -> UnknownVoice:
    """The error for an unknown voice name; its message lists the known ones."""
    known = ", ".join(profile["name"] for profile in profiles)
    return UnknownVoice(
        f"There is no voice '{name[:60]}'; there are {known}, and OpenAI's names for the default.",
        param="voice",
    )


def check_free(profiles: Sequence[Record], name: str, own_id: str | None = None) -> None:
    """Check that a name or alias is free for the profile `own_id`.

    Names that differ only in case are different names, as in the studio.

    Raises:
        Conflict: it is taken, or one of OpenAI's.
    """
    if name.casefold() in OPENAI_VOICES:
        raise Conflict(f"'{name}' is one of OpenAI's names for the default voice.")
    reserved = name.casefold() == DEFAULT_PROFILE
    for profile in profiles:
        taken = name in _names(profile) or (reserved and profile["id"] == DEFAULT_PROFILE)
        if taken and profile["id"] != own_id:
            raise Conflict(f"There is a profile '{profile['name'][:100]}' already.")


def library_item(profile: Mapping[str, Any], samples: Sequence[Record]) -> Record:
    """A profile as an item of a library of voice files: its clips as one file."""
    size_bytes = sum(round(sample["duration"] * CLIP_RATE) * 2 + 44 for sample in samples)
    return {
        "filename": f"{profile['name']}.wav" if samples else "",
        "original_filename": f"{profile['name']}.wav" if samples else "",
        "file_extension": ".wav" if samples else "",
        "file_size": size_bytes,
        "upload_date": profile["created_at"],
        "path": f"/voices/{profile['id']}/download" if samples else "",
        "exists": True,
    }


def _names(profile: Mapping[str, Any]) -> tuple[str, ...]:
    return (profile["id"], profile["name"], *profile.get("aliases", ()))
