"""Request bodies shared by several routes: field names and ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from voicelab.records import MAX_SEED, RANDOM_SEED, GenerationRequest
from voicelab.rest.warnings import unknown_fields

__all__ = [
    "Body",
    "BulkPatch",
    "ErrorBody",
    "GenerateBody",
    "GenerationPatch",
    "Ids",
    "PlainBody",
    "SeedBody",
    "SpeechBody",
    "SpeechOptions",
    "StrictBody",
]

FormatName = Literal["wav", "mp3", "flac", "opus", "ogg", "aac", "pcm"]

MAX_CHUNK_CHARS = 1000
NOTE_ONLY = "{} is kept as a note: no engine here follows it."


def _refuse_boolean(given: Any) -> Any:
    if isinstance(given, bool):
        raise ValueError("a number is wanted, not true or false")
    return given


Seed = Annotated[
    int | None,
    BeforeValidator(_refuse_boolean),
    Field(ge=RANDOM_SEED, le=MAX_SEED, description="0 to 2**32 - 1; drawn if null or -1"),
]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ErrorBody(BaseModel):
    """The one error shape; the voice studio's routes have the message at `detail` too."""

    error: ErrorDetail
    detail: str | None = None


def _nullable(schema: dict[str, Any]) -> None:
    """Say in a JSON schema that null is allowed wherever a field may be left out."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        kinds = [kind.get("type") for kind in field.get("anyOf", ())]
        if name in required or "null" in kinds:
            continue
        shown = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
        kinds = field.pop("anyOf", [dict(field)])
        field.clear()
        field |= {"anyOf": [*kinds, {"type": "null"}]} | shown


class Body(BaseModel):
    """A request body: null means the default; unknown fields become `warnings`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, json_schema_extra=_nullable)

    keeps_null: ClassVar[bool] = False
    """Whether null is a value, as in a patch where it clears a field."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_for_null(cls, given: Any) -> Any:
        if not isinstance(given, dict) or cls.keeps_null:
            return given
        needed = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {key: value for key, value in given.items() if value is not None or key in needed}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about unknown fields; see `voicelab.rest.warnings`."""
        return unknown_fields(self.model_extra or ())

    def values(self) -> dict[str, Any]:
        """The declared fields with their values, without unknown ones."""
        return self.model_dump(include=set(type(self).model_fields))


class SpeechOptions(Body):
    """The fields of every body that is spoken; `with_parameters` adds the engines' parameters."""

    parameter_names: ClassVar[tuple[str, ...]] = ()

    language: str | None = Field(None, max_length=20)
    seed: Seed = None
    engine: str | None = Field(None, max_length=60)
    max_chunk_chars: int | None = Field(
        None, ge=100, le=1000, validation_alias=AliasChoices("max_chunk_chars", "max_chunk_length")
    )
    crossfade_ms: int | None = Field(None, ge=0, le=500)
    gap_ms: int | None = Field(None, ge=0, le=5000)
    normalize: bool = False
    effects_chain: list[dict[str, Any]] | None = Field(
        None, max_length=20, description="see /effects/available; null takes the profile's"
    )
    based_on: str | None = Field(
        None,
        max_length=100,
        description="a take whose text was edited: sentences that stayed are not spoken again",
    )

    def _common(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.parameter_names}
        return {
            "language": self.language,
            "seed": self.seed,
            "engine": self.engine,
            "max_chunk_chars": self.max_chunk_chars,
            "crossfade_ms": self.crossfade_ms,
            "gap_ms": self.gap_ms,
            "normalize": self.normalize,
            "effects_chain": self.effects_chain,
            "based_on": self.based_on,
            "parameters": {name: value for name, value in values.items() if value is not None},
            "source": "rest",
            "warnings": self.warnings,
        }


VOICE_OBJECT = {
    "type": "object",
    "properties": {"id": {"type": "string"}},
    "required": ["id"],
}


def _voice_id(given: Any) -> Any:
    """The id of a voice: OpenAI's clients send a name, or an object with an id."""
    return given["id"] if isinstance(given, dict) and "id" in given else given


class SpeechBody(SpeechOptions):
    """POST /v1/audio/speech: OpenAI's fields, the engines' parameters, and further ones."""

    input: str = Field(description="the text; 1 character up to VOICELAB_MAX_TEXT")
    voice: Annotated[str | None, BeforeValidator(_voice_id)] = Field(
        None,
        max_length=200,
        description="a profile, or an OpenAI name",
        json_schema_extra={"anyOf": [{"type": "string"}, VOICE_OBJECT, {"type": "null"}]},
    )
    model: str | None = Field(
        None, max_length=200, description="an engine; ignored with a warning when it is none"
    )
    response_format: FormatName | None = Field(None, description="--default-format if null")
    speed: float = Field(1.0, ge=0.25, le=4)
    stream_format: Literal["audio", "sse"] = "audio"
    profile_id: str | None = Field(None, max_length=100)
    instructions: str | None = Field(None, max_length=2000)
    store: bool = True
    stream: bool | None = Field(
        None, description="true: from the first sample on; false: one body; null: as it comes"
    )
    lang_code: str | None = Field(None, max_length=20, description="Kokoro's code of a language")
    volume_multiplier: float = Field(1.0, ge=0.01, le=100, description="a gain effect at the end")

    @property
    def warnings(self) -> tuple[str, ...]:
        """As `Body.warnings`, and that no engine follows `instructions`."""
        warnings = super().warnings
        return (
            warnings if self.instructions is None else (*warnings, NOTE_ONLY.format("instructions"))
        )

    def request(self, clip: Path | None = None) -> GenerationRequest:
        """The body as a GenerationRequest."""
        return GenerationRequest(
            text=self.input,
            voice=self.profile_id or self.voice,
            voice_clip=clip,
            speed=self.speed,
            instruct=self.instructions,
            store=self.store,
            listening=self.stream_format == "sse",
            **self._common(),
        )


class GenerateBody(SpeechOptions):
    """POST /generate: the voice studio's fields, and further ones."""

    text: str
    profile_id: str | None = Field(None, max_length=100)
    model_size: str | None = Field(None, max_length=60)
    instruct: str | None = Field(None, max_length=2000)
    max_chunk_chars: int | None = Field(
        None,
        ge=100,
        le=5000,
        validation_alias=AliasChoices("max_chunk_chars", "max_chunk_length"),
        description="the studio's clients send up to 5000; at most 1000 are used",
    )

    @property
    def warnings(self) -> tuple[str, ...]:
        """As `Body.warnings`, and the studio's fields that are not used."""
        warnings = list(super().warnings)
        if (self.max_chunk_chars or 0) > MAX_CHUNK_CHARS:
            warnings.append(
                f"max_chunk_chars is {self.max_chunk_chars}; {MAX_CHUNK_CHARS} are used."
            )
        if self.model_size is not None:
            warnings.append("model_size is not used: an engine here has one size.")
        if self.instruct is not None:
            warnings.append(NOTE_ONLY.format("instruct"))
        return tuple(warnings)

    def request(self) -> GenerationRequest:
        """The body as a GenerationRequest."""
        common = self._common()
        if self.max_chunk_chars is not None:
            common["max_chunk_chars"] = min(self.max_chunk_chars, MAX_CHUNK_CHARS)
        return GenerationRequest(
            text=self.text, voice=self.profile_id, instruct=self.instruct, **common
        )


class SeedBody(Body):
    """POST .../regenerate: the seed to use."""

    seed: Seed = None


class PlainBody(Body):
    """A body whose unknown fields are listed in X-Warnings only."""

    model_config = ConfigDict(extra="ignore")


class StrictBody(Body):
    """A body that refuses unknown fields: for entries of lists and for bulk changes."""

    model_config = ConfigDict(extra="forbid")


class GenerationPatch(StrictBody):
    """PATCH /history/{id}: fields that are sent are set."""

    is_favorited: bool | None = None
    tags: list[Annotated[str, Field(max_length=50)]] | None = Field(None, max_length=50)
    label: str | None = Field(None, max_length=200)


class Ids(StrictBody):
    """Ids of takes."""

    ids: list[Annotated[str, Field(max_length=100)]] = Field(max_length=10_000)


class BulkPatch(Ids):
    """PATCH /history: fields that are sent are set for all takes."""

    is_favorited: bool | None = None
    add_tags: list[Annotated[str, Field(min_length=1, max_length=50)]] | None = Field(
        None, max_length=50
    )
    profile_id: str | None = Field(None, max_length=100)
