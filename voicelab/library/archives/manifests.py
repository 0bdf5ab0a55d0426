"""Models of the manifests of archives, with the bounds of their fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voicelab.library.archives.zips import ManifestModel
from voicelab.records import MAX_SEED

__all__ = ["Manifest", "ManifestTake", "ManifestVersion", "PageManifest"]

Text = Annotated[str, Field(min_length=1, max_length=200_000, pattern=r"^[^\x00]*\z")]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*\z")]
Short = Annotated[str, Field(max_length=2000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Chunk(ManifestModel):
    index: int = Field(ge=0)
    text: str = Field(max_length=10_000)
    start_s: float = Field(ge=0)
    duration_s: float = Field(ge=0)
    seed: int = Field(ge=0, le=MAX_SEED)


Chunks = Annotated[list[_Chunk], Field(max_length=20_000)]


class ManifestTake(ManifestModel):
    """A take in a manifest."""

    text: Text
    language: Annotated[str, Field(max_length=20)] = "en"
    duration: Annotated[float, Field(ge=0, le=1e6)] | None = None
    seed: Seed | None = None
    instruct: Short | None = None
    created_at: Annotated[str, Field(max_length=40)] | None = None
    engine: Annotated[str, Field(min_length=1, max_length=60)] = "imported"
    model_size: Annotated[str, Field(max_length=60)] | None = None
    parameters: dict[str, float | int | str | bool | None] = Field(
        default_factory=dict, max_length=100
    )
    chunks: Chunks = Field(default_factory=list)
    is_favorited: bool = False
    tags: list[Annotated[str, Field(max_length=50)]] = Field(default_factory=list, max_length=50)
    label: Annotated[str, Field(max_length=200)] | None = None


class _Profile(ManifestModel):
    name: Name = "Default"
    language: Annotated[str, Field(max_length=20)] = "en"


class _Effect(ManifestModel):
    type: Annotated[str, Field(max_length=60)]
    enabled: bool = True
    params: dict[str, float | int] = Field(default_factory=dict, max_length=50)


class ManifestVersion(ManifestModel):
    """A version in a manifest."""

    id: Annotated[str, Field(max_length=100)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=200)] = "original"
    is_default: bool = False
    effects_chain: Annotated[list[_Effect], Field(max_length=50)] | None = None
    filename: Annotated[str, Field(min_length=1, max_length=300)]
    source_version_id: Annotated[str, Field(max_length=100)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")] | None = None
    seed: Seed | None = None
    chunks: Chunks | None = None


class Manifest(ManifestModel):
    """manifest.json of a take."""

    version: Annotated[str, Field(pattern=r"^1\.\d{1,3}\z")] = "1.0"
    generation: ManifestTake
    profile: _Profile = Field(default_factory=_Profile)
    versions: list[ManifestVersion] = Field(default_factory=list, max_length=200)


class PageManifest(ManifestTake):
    """generation.json of the documentation: the fields at the top, or under "generation"."""

    text: Text = "-"
    generation: ManifestTake | None = None
    profile: _Profile = Field(default_factory=_Profile)
