"""Voices by name: the default profile, and the names that OpenAI's clients send for it."""

from __future__ import annotations

from typing import Any

from voicelab.errors import UnknownVoice
from voicelab.records import DEFAULT_PROFILE, now
from voicelab.store import Query, Store

__all__ = ["OPENAI_VOICES", "Voices"]

OPENAI_VOICES = frozenset(
    (
        *("alloy", "ash", "ballad", "coral", "echo", "fable", "marin", "cedar", "nova"),
        *("onyx", "sage", "shimmer", "verse"),
    )
)

PROFILES = "profiles"


class Voices:
    """The profiles of a store; "Default", the engine's own voice, is always one of them."""

    def __init__(self, store: Store):
        self._store = store
        if store.get(PROFILES, DEFAULT_PROFILE) is None:
            store.insert(PROFILES, _profile(DEFAULT_PROFILE, "Default", "The engine's own voice."))

    def list(self) -> list[dict[str, Any]]:
        """All profiles, the default first, then by name."""
        profiles, _ = self._store.page(PROFILES, Query(order="name", descending=False))
        return sorted(profiles, key=lambda profile: profile["id"] != DEFAULT_PROFILE)

    def resolve(self, name: str | None) -> dict[str, Any]:
        """The profile of that id or name; an OpenAI name or None is the default.

        Raises:
            UnknownVoice: there is none; the message lists those there are.
        """
        folded = (name or DEFAULT_PROFILE).strip().casefold()
        for profile in self.list():
            if folded in (profile["id"].casefold(), profile["name"].casefold()):
                return profile
        if folded in OPENAI_VOICES:
            return self.resolve(None)
        known = ", ".join(profile["name"] for profile in self.list())
        raise UnknownVoice(
            f"There is no voice '{(name or '')[:60]}'; there are {known}, and OpenAI's names "
            "for the default.",
            param="voice",
        )

    def named(self, name: str) -> dict[str, Any]:
        """The profile of that name, made when there is none (an import brings its own)."""
        for profile in self.list():
            if profile["name"].casefold() == name.casefold():
                return profile
        from uuid import uuid4

        profile = _profile(str(uuid4()), name, "Came with an import.")
        self._store.insert(PROFILES, profile)
        return profile

    def names(self) -> dict[str, str]:
        """Profile id -> name."""
        return {profile["id"]: profile["name"] for profile in self.list()}


def _profile(id: str, name: str, description: str) -> dict[str, Any]:
    created_at = now()
    return {
        "id": id,
        "name": name,
        "description": description,
        "language": "en",
        "voice_type": "default",
        "default_engine": None,
        "effects_chain": None,
        "avatar_path": None,
        "created_at": created_at,
        "updated_at": created_at,
    }
