"""Response models of profiles, takes, versions, stories, for /docs; responses are not validated.

A field without a default is always present. Clients must expect further fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from voicelab.records import Generation, SpokenChunk
from voicelab.rest.reports import FinishedRequest

__all__ = [
    "ActiveTasks",
    "Changed",
    "Deleted",
    "DeletedProfile",
    "Effects",
    "Favorite",
    "GenerationSettings",
    "Imported",
    "LibraryVoice",
    "Message",
    "ModelStates",
    "Preset",
    "PresetVoices",
    "Profile",
    "Sample",
    "Story",
    "StoryItem",
    "StoryLine",
    "TakeItem",
    "TakePage",
    "TakeRecord",
    "Version",
    "Voices",
]


class Message(BaseModel):
    """A message about what was done."""

    message: str
    id: str = ""


class Deleted(BaseModel):
    """Number of takes deleted."""

    deleted: int


class Changed(BaseModel):
    """Number of takes changed."""

    changed: int


class Favorite(BaseModel):
    """Whether the take is a favourite now."""

    is_favorited: bool


class DeletedProfile(Message):
    """What was deleted with a profile, and how many takes became unassigned."""

    generations: int
    samples: int
    moved: int


class Effect(BaseModel):
    """One effect of a chain; see /effects/available."""

    type: str
    enabled: bool
    params: Mapping[str, float]


class EffectParameter(BaseModel):
    """A numeric parameter of an effect."""

    name: str
    label: str
    default: float
    minimum: float
    maximum: float
    step: float
    unit: str


class EffectKind(BaseModel):
    """A type of effect."""

    type: str
    label: str
    description: str
    parameters: list[EffectParameter]


class Effects(BaseModel):
    """All types of effects."""

    effects: list[EffectKind]


class Preset(BaseModel):
    """A named chain of effects."""

    id: str
    name: str
    description: str
    effects_chain: list[Effect]
    is_builtin: bool
    created_at: str | None


class Profile(BaseModel):
    """A voice profile."""

    id: str
    name: str
    description: str
    language: str
    voice_type: Literal["default", "cloned", "preset"]
    default_engine: str | None
    effects_chain: list[Effect] | None
    avatar_path: str | None
    aliases: list[str]
    is_default_voice: bool
    created_at: str
    updated_at: str
    generation_count: int
    sample_count: int
    warnings: list[str] = []


class LibraryVoice(Profile):
    """A profile as a voice file; fields of the file are empty for a profile without a clip."""

    filename: str
    original_filename: str
    file_extension: str
    file_size: int
    upload_date: str
    path: str
    exists: bool


class CatalogVoice(LibraryVoice):
    """A voice in the catalog."""

    object: Literal["voice"]


class Voices(BaseModel):
    """The profiles, in the shapes of both servers."""

    voices: list[CatalogVoice]
    data: list[CatalogVoice]
    count: int
    default_voice: str
    openai_aliases: list[str]


class Sample(BaseModel):
    """A clip of a profile; its duration is in seconds."""

    id: str
    profile_id: str
    audio_path: str
    reference_text: str
    duration: float
    created_at: str
    warnings: list[str] = []


class VersionLine(BaseModel):
    """A version of a take in a list; durations are in seconds."""

    id: str
    generation_id: str
    label: str
    audio_path: str
    effects_chain: list[Effect] | None
    source_version_id: str | None
    is_default: bool
    created_at: str
    duration: float
    size_bytes: int


class Version(VersionLine):
    """A version of a take."""

    seed: int | None
    chunks: list[SpokenChunk]


@dataclass(frozen=True, kw_only=True)
class TakeItem(Generation):
    """A take in a list; its duration is in seconds."""

    __pydantic_config__: ClassVar = ConfigDict(json_schema_serialization_defaults_required=True)

    profile_name: str


@dataclass(frozen=True, kw_only=True)
class TakeRecord(TakeItem):
    """A take with its versions, oldest first."""

    versions: list[Version]


@dataclass(frozen=True, kw_only=True)
class TakeLine(TakeItem):
    """A take in a list with its versions, oldest first."""

    versions: list[VersionLine]


class TakePage(BaseModel):
    """A page of takes, and of finished requests."""

    items: list[TakeLine]
    total: int
    limit: int
    request_history: list[FinishedRequest]
    total_records: int


class ImportedTake(BaseModel):
    """An imported take."""

    id: str
    profile_id: str
    profile_name: str
    text: str


class Imported(ImportedTake):
    """The first take of an archive, and all of its takes."""

    message: str
    imported: list[ImportedTake]


class StoryLine(BaseModel):
    """A story in a list."""

    id: str
    name: str
    description: str
    created_at: str
    updated_at: str
    item_count: int


class StoryItem(BaseModel):
    """A take in a story."""

    id: str
    story_id: str
    generation_id: str
    version_id: str | None
    start_time_ms: int
    track: int
    trim_start_ms: int
    trim_end_ms: int
    volume: float
    fade_in_ms: int
    fade_out_ms: int
    created_at: str
    text: str
    profile_id: str
    profile_name: str
    engine: str
    language: str
    audio_path: str
    duration: float
    seed: int | None
    instruct: str | None
    generation_created_at: str
    versions: list[VersionLine]
    active_version_id: str
    source_duration_ms: int
    duration_ms: int


class ActiveTake(BaseModel):
    """A take that waits or is being made."""

    task_id: str
    profile_id: str
    text_preview: str
    started_at: str


class ActiveTasks(BaseModel):
    """The studio's GET /tasks/active."""

    downloads: list[str]
    generations: list[ActiveTake]


class ModelStatus(BaseModel):
    """An engine in the studio's shape of a model."""

    model_name: str
    display_name: str
    hf_repo_id: str | None
    downloaded: bool
    downloading: bool
    size_mb: float | None
    loaded: bool


class ModelStates(BaseModel):
    """The studio's GET /models/status."""

    models: list[ModelStatus]


class GenerationSettings(BaseModel):
    """The studio's GET and PUT /settings/generation."""

    max_chunk_chars: int
    crossfade_ms: int
    normalize_audio: bool
    autoplay_on_generate: bool
    warnings: list[str] = []


class PresetVoice(BaseModel):
    """The voice of an engine without a clip; the gender is empty when unknown."""

    voice_id: str
    name: str
    gender: str
    language: str


class PresetVoices(BaseModel):
    """The studio's GET /profiles/presets/{engine}."""

    engine: str
    voices: list[PresetVoice]


class Story(StoryLine):
    """A story with its items in order of time."""

    duration_ms: int
    items: list[StoryItem]
