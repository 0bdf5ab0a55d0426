"""Settings from options and environment variables.

Every field is an option of `app.py` (`--data-dir`) and a variable (`VOICELAB_DATA_DIR`); the
option wins. `SETTINGS.md` is written from this class.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["GROUPS", "Settings"]

ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)
SOURCES = re.compile(r"[A-Za-z0-9'*:/._ \-]+")


def _default_frame_ancestors() -> str:
    """The page itself; on a Space also Hugging Face's site and the Space's own address."""
    if os.environ.get("SYSTEM") != "spaces":
        return "'self'"
    host = os.environ.get("SPACE_HOST", "")
    own = f" https://{host}" if SOURCES.fullmatch(host) else ""
    return f"'self' https://huggingface.co{own}"


GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Speech": (
            *("engine", "device", "checkpoint_dir", "multilingual_version", "mode", "kernel"),
            *("threads", "piper_voices"),
            *("idle_unload_min", "default_format", "voice_aliases", "max_text", "max_chunk_chars"),
            *("gap_ms", "crossfade_ms", "paragraph_gap_ms", "tone_delay_s", "tone_fail_on"),
        ),
        "Server": (
            *("host", "port", "share", "open_browser", "root_path", "max_upload_mb"),
            *("body_timeout_s", "max_queue", "request_log"),
        ),
        "Storage": (
            *("data_dir", "durability", "database_url", "audio_url", "min_free_disk_mb"),
            *("cache_mb", "resume_interrupted"),
        ),
        "Access": (
            *("api_key", "auth", "allow_origins", "allowed_hosts", "trust_proxy"),
            "frame_ancestors",
        ),
    }
)
"""Fields of `Settings` by subject, in the order of `--help`."""


class Settings(BaseSettings):
    """A speech studio in one page: Chatterbox TTS with live progress, every take kept."""

    model_config = SettingsConfigDict(
        env_prefix="VOICELAB_",
        frozen=True,
        extra="ignore",
        validate_default=True,
    )

    engine: str = Field(
        "auto",
        description="the voice; auto: Chatterbox (without a GPU Nano or Turbo) if it is "
        "installed and its weights are here or can be fetched, else Piper, else eSpeak NG",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="where Chatterbox computes"
    )
    checkpoint_dir: Path | None = Field(
        None, description="folder with Chatterbox's weights, instead of the Hugging Face cache"
    )
    multilingual_version: Literal["auto", "v3", "v2"] = Field(
        "auto", description="version of chatterbox-multilingual; auto: V3 if it can be had, else V2"
    )
    mode: Literal["exact", "fast", "draft"] = Field(
        "exact",
        description="how Chatterbox computes: exact as its makers do, fast and draft with "
        "another sound (see voicelab/engines/chatterbox/README.md)",
    )
    kernel: Literal["auto", "mkl", "onednn", "transposed", "upstream"] = Field(
        "auto",
        description="Chatterbox's matrix products on the CPU; auto: the fastest that a self-test "
        "finds right; upstream: its makers' own loop",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads of Chatterbox and Piper; physical cores when unset",
    )
    piper_voices: Path | None = Field(
        None,
        description="folder with more Piper voices, a .onnx and a .onnx.json file each; each is an "
        "engine named after its file",
    )
    idle_unload_min: float = Field(
        0,
        ge=0,
        le=10_000,
        description="free the weights after so many minutes without work, to be loaded again when "
        "wanted; 0 keeps them",
    )
    host: str = Field(
        default_factory=lambda: "0.0.0.0" if os.environ.get("SYSTEM") == "spaces" else "127.0.0.1",
        description="address to listen on; 0.0.0.0 for all, the default on a Space",
    )
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    data_dir: Path = Field(
        Path("voicelab-data"), description="folder for records, audio and voice clips"
    )
    durability: Literal["full", "normal"] = Field(
        "full",
        description="full: a record is on the disk before the answer; normal: within a second, so "
        "a power cut may take the last one",
    )
    database_url: SecretStr | None = Field(
        None,
        description="postgresql://user:password@host/name for the records of several replicas; "
        "db.json in the data folder when unset",
    )
    audio_url: SecretStr | None = Field(
        None,
        description="where audio is: a folder, s3://bucket/folder or another of fsspec's URLs; "
        "the data folder when unset",
    )
    share: bool = Field(False, description="make a public gradio.live link")
    open_browser: bool = Field(False, description="open the page when the server is up")
    root_path: str = Field("", description="path prefix behind a reverse proxy")
    api_key: SecretStr | None = Field(
        None,
        description="all that is asked for wants it: 'Authorization: Bearer KEY', 'X-API-Key: "
        "KEY', or once in the page",
    )
    auth: SecretStr | None = Field(
        None, description="page and REST ask for 'user:password' (several separated by commas)"
    )
    allow_origins: str = Field(
        "",
        description="other sites whose pages may ask here, as http://localhost:3000, separated by "
        "commas",
    )
    trust_proxy: bool = Field(
        default_factory=lambda: os.environ.get("SYSTEM") == "spaces",
        description="a reverse proxy is before the server: its X-Forwarded-Host, -Proto and -For "
        "count; the default on a Space",
    )
    frame_ancestors: str = Field(
        default_factory=_default_frame_ancestors,
        description="sites that may show the page in a frame, separated by spaces; on a Space "
        "Hugging Face's",
    )
    allowed_hosts: str = Field(
        "", description="further host names that may stand in a request, separated by commas"
    )
    default_format: Literal["wav", "mp3", "flac", "opus", "ogg", "aac", "pcm"] = Field(
        "wav",
        description="format of speech where a request names none; mp3 for clients of OpenAI that "
        "expect its default",
    )
    voice_aliases: str = Field(
        "",
        description="voice names that clients send, and which profile each is, as "
        "alloy=Anna,af_heart=Default",
    )
    max_text: int = Field(100_000, ge=1, le=2_000_000, description="characters in one request")
    max_chunk_chars: int = Field(
        280, ge=100, le=1000, description="longest chunk of text given to the engine at once"
    )
    gap_ms: int = Field(120, ge=0, le=5000, description="silence between sentences")
    crossfade_ms: int = Field(
        0, ge=0, le=500, description="crossfade between sentences, when gap_ms is 0"
    )
    paragraph_gap_ms: int = Field(600, ge=0, le=10_000, description="silence at a blank line")
    max_upload_mb: int = Field(200, ge=1, le=2000, description="largest upload, in MiB")
    body_timeout_s: float = Field(
        30,
        ge=1,
        le=3600,
        description="seconds a request may take to send its body; each 32 KiB sent give one more",
    )
    max_queue: int = Field(100, ge=1, le=10_000, description="requests that may wait at once")
    min_free_disk_mb: int = Field(
        100, ge=0, le=1_000_000, description="refuse new takes when less than this is free, in MiB"
    )
    cache_mb: int = Field(
        500,
        ge=0,
        le=1_000_000,
        description="chunks kept to be used again when a text is edited or a take resumed, in "
        "MiB; 0 keeps none",
    )
    resume_interrupted: bool = Field(
        True, description="make takes whole that a stop or a crash interrupted, at the next start"
    )
    request_log: int = Field(1000, ge=50, le=100_000, description="finished requests remembered")
    tone_delay_s: float = Field(
        0.0, ge=0, le=60, description="tone engine: seconds of work for each chunk"
    )
    tone_fail_on: str = Field("", description="tone engine: text on which it fails, for demos")

    @field_validator("allow_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        for entry in filter(None, (entry.strip() for entry in value.split(","))):
            if not ORIGIN.fullmatch(entry):
                raise ValueError(
                    f"'{entry[:80]}' is no origin: http or https, a host, perhaps a port, nothing "
                    "behind it"
                )
        return value

    @field_validator("frame_ancestors")
    @classmethod
    def _check_frames(cls, value: str) -> str:
        if not value.strip() or not SOURCES.fullmatch(value):
            raise ValueError("sources separated by spaces, such as 'self' https://example.org")
        return value

    @classmethod
    def from_environment(cls) -> Settings:
        """Settings from the environment alone."""
        return cls()  # pyright: ignore[reportCallIssue]

    def records_location(self) -> Path | str:
        """Where records are stored: the data folder, or the URL of a database."""
        return self.database_url.get_secret_value() if self.database_url else self.data_dir

    def audio_location(self) -> str | None:
        """Where audio is stored, as a URL; None for the data folder."""
        return self.audio_url.get_secret_value() if self.audio_url else None

    def users(self) -> list[tuple[str, str]]:
        """The (user, password) pairs of `auth`.

        Raises:
            ValueError: an entry has no colon.
        """
        if self.auth is None:
            return []
        pairs = []
        for entry in self.auth.get_secret_value().split(","):
            user, colon, password = entry.strip().partition(":")
            if not (user and colon and password):
                raise ValueError("VOICELAB_AUTH takes user:password, several with commas between")
            pairs.append((user, password))
        return pairs

    @field_validator("voice_aliases")
    @classmethod
    def _check_aliases(cls, given: str) -> str:
        _parse_aliases(given)
        return given

    def aliases(self) -> dict[str, str]:
        """Case-folded alias -> name of a profile, from `voice_aliases`."""
        return _parse_aliases(self.voice_aliases)

    def origins(self) -> frozenset[str]:
        """The origins of `allow_origins`, in lower case."""
        entries = (entry.strip().lower() for entry in self.allow_origins.split(","))
        return frozenset(entry for entry in entries if entry)

    @property
    def is_loopback(self) -> bool:
        """Whether `host` can be reached from this machine only."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_exposed(self) -> bool:
        """Whether other machines can reach the server without a key or login."""
        return (self.share or not self.is_loopback) and not (self.api_key or self.auth)

    def key(self) -> str | None:
        """The API key, when one is set."""
        return self.api_key.get_secret_value() if self.api_key else None


def _parse_aliases(given: str) -> dict[str, str]:
    pairs = {}
    for entry in filter(str.strip, given.split(",")):
        name, _, profile = (part.strip() for part in entry.partition("="))
        if not (name and profile):
            raise ValueError("it takes name=profile, several with commas between")
        pairs[name.casefold()] = profile
    return pairs
