"""Requests and stored records as frozen dataclasses, with units in the names of fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = [
    "DEFAULT_PROFILE",
    "MAX_SEED",
    "RANDOM_SEED",
    "Generation",
    "GenerationRequest",
    "SpokenChunk",
    "now",
]

DEFAULT_PROFILE = "default"
"""Id of the built-in profile, with the engine's own voice."""

MAX_SEED = 2**32 - 1

RANDOM_SEED = -1
"""The seed that many clients send to ask for a random one."""


def now() -> str:
    """The current time in UTC as ISO 8601 with microseconds and Z, for `created_at`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class GenerationRequest:
    """A request for speech, from any interface.

    Attributes:
        text: what to say; see `voicelab.text.chunks` for tags and pauses.
        voice: name or id of a profile, or an OpenAI voice name; None is the default.
        voice_clip: a reference clip to speak like, instead of `voice`.
        engine: None takes the lab's.
        language: BCP 47 code; None takes the engine's first.
        seed: 0 .. 2**32 - 1; None or -1 draws one. Chunk i is spoken with seed + i.
        parameters: the engine's own; those left out take their defaults.
        speed: 0.25-4, the pitch kept.
        max_chunk_chars: 100-1000; None takes the setting.
        first_chunk_chars: 20-1000; where a longer first sentence is cut, so that its sound comes
            early. None: 80 when somebody listens to an engine that computes, else not at all.
        listening: a client plays it while it is made: its first chunk is spoken first.
        gap_ms: 0-5000 of silence between sentences; None takes the setting.
        crossfade_ms: 0-500, used when `gap_ms` is 0; None takes the setting.
        normalize: bring every chunk to the same loudness.
        instruct: a note on how to speak, kept in the record.
        effects_chain: see `voicelab.audio.effects.check_chain`; None takes the profile's, an empty
            one none. The clean take is kept beside the processed one.
        based_on: id of a take whose text was edited: sentences that stayed keep its seeds, so
            they need not be spoken again. `seed` None takes its seed, too.
        source: the interface: ui, rest, notebook, client, cli.
        response_format: for whoever fetches the sound later; kept in the record.
        store: keep the take; False speaks it without a record.
        warnings: of the interface; they come first in the record's warnings.
    """

    text: str
    voice: str | None = None
    voice_clip: Path | None = None
    engine: str | None = None
    language: str | None = None
    seed: int | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    speed: float = 1.0
    max_chunk_chars: int | None = None
    first_chunk_chars: int | None = None
    listening: bool = False
    gap_ms: int | None = None
    crossfade_ms: int | None = None
    normalize: bool = False
    instruct: str | None = None
    effects_chain: Sequence[Mapping[str, Any]] | None = None
    based_on: str | None = None
    source: str = "notebook"
    response_format: str | None = None
    store: bool = True
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class SpokenChunk:
    """One chunk of a finished take."""

    index: int
    text: str
    start_s: float
    duration_s: float
    seed: int


@dataclass(frozen=True)
class Generation:
    """The record of a take; the order of the fields is their order in every response.

    `seed` is None only for imported takes whose archive has none. `replica` is the process that
    makes the take, where several share the records. `resumptions` counts the automatic resumptions
    after a crash.
    """

    id: str
    profile_id: str
    text: str
    language: str
    audio_path: str | None
    duration: float | None
    seed: int | None
    instruct: str | None
    engine: str
    model_size: str | None
    status: str
    error: str | None
    is_favorited: bool
    created_at: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    chunks: tuple[SpokenChunk, ...] = ()
    request_id: str | None = None
    elapsed_s: float | None = None
    real_time_factor: float | None = None
    sample_rate: int | None = None
    size_bytes: int = 0
    source: str = "rest"
    tags: tuple[str, ...] = ()
    label: str | None = None
    voice: str = "Default"
    voice_source: str = "default"
    clip: str | None = None
    warnings: tuple[str, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    effects_chain: Sequence[Mapping[str, Any]] | None = None
    active_version_id: str | None = None
    replica: str | None = None
    response_format: str | None = None
    resumptions: int = 0

    def document(self) -> dict[str, Any]:
        """The record as a JSON document; raises ValueError for NaN or infinity."""
        document = asdict(self)
        for key in ("chunks", "tags", "warnings"):
            document[key] = list(document[key])
        for value in (self.duration, self.elapsed_s, self.real_time_factor):
            if value is not None and not math.isfinite(value):
                raise ValueError("a record holds a number that is not finite")
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Generation:
        """The record of a stored document; keys unknown to this version are dropped."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in document.items() if key in known}
        chunks = tuple(SpokenChunk(**chunk) for chunk in values.pop("chunks", ()))
        for key in ("tags", "warnings"):
            values[key] = tuple(values.get(key, ()))
        return cls(**values, chunks=chunks)
