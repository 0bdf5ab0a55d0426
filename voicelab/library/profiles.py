"""Profiles: named voices with their reference clips and default settings."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import check_chain, prepare_clip
from voicelab.errors import Conflict, InvalidInput, NotFound, Protected
from voicelab.library.clips import joined_clips, written_avatar, written_sample
from voicelab.library.files.local import Files
from voicelab.library.versions import GENERATIONS
from voicelab.library.voices import (
    OPENAI_VOICES,
    aliased,
    check_free,
    default_voice,
    find_voice,
    unknown_voice,
)
from voicelab.records import DEFAULT_PROFILE, now
from voicelab.store import Query, Store
from voicelab.text import check_name

__all__ = ["PROFILES", "SAMPLES", "UNASSIGNED", "Profiles", "check_text", "profile_row"]

UNASSIGNED = "Unassigned"
"""Name of the profile of takes whose own was deleted."""

PROFILES, SAMPLES = "profiles", "samples"
MAX_SAMPLES = 20
MAX_ALIASES = 20
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
Record = dict[str, Any]


class Profiles:
    """The profiles of a store; "Default", the engine's own voice, is always one of them.

    Args:
        store, files: of the lab.
        aliases: casefolded name that clients may send -> name of a profile.
    """

    def __init__(self, store: Store, files: Files, aliases: Mapping[str, str] | None = None):
        self._store = store
        self._files = files
        self._aliases = aliases or {}
        if store.get(PROFILES, DEFAULT_PROFILE) is None:
            with contextlib.suppress(Conflict):  # another replica was first
                default = profile_row(DEFAULT_PROFILE, "Default", "The engine's own voice.")
                store.insert(PROFILES, default)

    def list(self) -> list[Record]:
        """All profiles with their counts, the default first, then by name."""
        return [self._with_counts(profile) for profile in self._all()]

    def get(self, id: str) -> Record:
        """One profile with its counts; raises NotFound."""
        return self._with_counts(self._one(id))

    def names(self) -> dict[str, str]:
        """Profile id -> name."""
        return dict(self._store.values(PROFILES, ("id", "name")))

    def resolve(self, name: str | None) -> Record:
        """The profile of that id, name or alias; an OpenAI name or None is the default voice.

        Raises:
            UnknownVoice: there is none; the message lists those there are.
        """
        profiles = self._all()
        found = find_voice(profiles, name) if name else default_voice(profiles)
        if found is None and name:
            found = find_voice(profiles, aliased(self._aliases, name))
        if found is None and name and name.strip().casefold() in OPENAI_VOICES:
            found = default_voice(profiles)
        if found is None:
            raise unknown_voice(name or "", profiles)
        return found

    def voice(self, name: str) -> Record:
        """The profile of that id, name or alias, with its counts; raises UnknownVoice."""
        profiles = self._all()
        found = find_voice(profiles, name)
        if found is None:
            raise unknown_voice(name, profiles)
        return self._with_counts(found)

    def choose_default(self, id: str | None) -> Record:
        """Set the voice of requests that name none; None is the engine's own. The profile.

        Raises:
            NotFound.
        """
        chosen = self._one(id or DEFAULT_PROFILE)
        with self._store.batch():
            for profile in self._all():
                is_default = profile["id"] == chosen["id"] and id is not None
                if profile.get("is_default_voice", False) != is_default:
                    self._store.patch(PROFILES, profile["id"], {"is_default_voice": is_default})
        return self.get(chosen["id"])

    def set_aliases(self, id: str, change: Callable[[list[str]], list[str]]) -> Record:
        """Change the aliases of a profile by a function of the present ones; the profile.

        Raises:
            NotFound; InvalidInput: not 1-100 characters.
            Conflict: one is taken, or there are more than 20.
        """
        with self._store.batch():  # nobody takes a name meanwhile
            profile = self._one(id)
            before = profile.get("aliases", [])
            aliases = [check_name("alias", alias, 1, 100) for alias in change(list(before))]
            if len(aliases) > MAX_ALIASES:
                raise Conflict(f"A profile has at most {MAX_ALIASES} aliases.")
            if len(set(aliases)) < len(aliases):
                raise Conflict(f"'{aliases[-1]}' is one of its aliases already.")
            for alias in set(aliases) - set(before):
                check_free(self._all(), alias)
            self._store.patch(PROFILES, id, {"aliases": aliases, "updated_at": now()})
        return self.get(id)

    def named(self, name: str, description: str = "Came with an import.") -> Record:
        """The profile of that name, created when there is none."""
        similar = [p for p in self._all() if p["name"].casefold() == name.casefold()]
        same = [profile for profile in similar if profile["name"] == name]
        for profile in same or similar:
            return profile
        return self.create(name, description=description)

    def free_name(self, name: str) -> str:
        """The name, with a number appended when it is taken."""
        taken = {other.casefold() for other in self.names().values()} | OPENAI_VOICES
        number, free = 1, name
        while free.casefold() in taken:
            number += 1
            free = f"{name[:90]} ({number})"
        return free

    def create(
        self,
        name: str,
        *,
        description: str = "",
        language: str = "en",
        default_engine: str | None = None,
        effects_chain: Any = None,
    ) -> Record:
        """A new profile without clips.

        Args:
            name: 1-100 characters, unique.
            description: at most 500 characters.
            language: BCP 47 code, used where a request names none.
            default_engine: used where a request names none; the lab's when None.
            effects_chain: for its new takes; see `voicelab.audio.effects.check_chain`.

        Raises:
            InvalidInput: a value is wrong.
            Conflict: the name is taken.
        """
        fields = {
            "name": name,
            "description": description,
            "language": language,
            "default_engine": default_engine,
            "effects_chain": effects_chain,
        }
        with self._store.batch():  # nobody takes the name meanwhile
            profile = profile_row(str(uuid4()), "", "") | self._checked(fields)
            self._store.insert(PROFILES, profile)
        return self.get(profile["id"])

    def update(self, id: str, fields: Mapping[str, Any]) -> Record:
        """Set the given fields; raises as `create`, and NotFound."""
        self.get(id)
        with self._store.batch():
            changes = self._checked(fields, id)
            self._store.patch(PROFILES, id, {**changes, "updated_at": now()})
        return self.get(id)

    def delete(
        self,
        id: str,
        forget: Callable[[list[Record]], set[str]],
        *,
        keep_generations: bool = False,
    ) -> Record:
        """Remove a profile with its clips, and with its takes unless they are kept.

        Args:
            id: of the profile.
            forget: removes takes from the store; the files to delete after it.
            keep_generations: move its takes to "Unassigned" instead.

        Returns:
            Number of deleted `generations` and `samples`, and of `moved` takes.

        Raises:
            NotFound; Protected: it is the default.
        """
        profile = self.get(id)
        if id == DEFAULT_PROFILE:
            raise Protected("The default profile cannot be deleted.")
        takes, _ = self._store.page(GENERATIONS, Query(where={"profile_id": id}))
        samples = self.samples(id)
        paths = {sample["audio_path"] for sample in samples} | {profile["avatar_path"]}
        with self._store.batch(frees=True):
            if keep_generations and takes:
                target = self.named(UNASSIGNED, "Takes whose profile was deleted.")
                for take in takes:
                    self._store.patch(GENERATIONS, take["id"], {"profile_id": target["id"]})
            elif not keep_generations:
                paths |= forget(takes)
            for sample in samples:
                self._store.delete(SAMPLES, sample["id"])
            self._store.delete(PROFILES, id)
        for path in paths:
            self._files.delete(path)
        moved = len(takes) if keep_generations else 0
        return {"generations": len(takes) - moved, "samples": len(samples), "moved": moved}

    def samples(self, id: str) -> list[Record]:
        """The clips of a profile, oldest first; raises NotFound."""
        self._one(id)
        return self._store.page(SAMPLES, Query(where={"profile_id": id}, descending=False))[0]

    def sample(self, id: str) -> Record:
        """One clip; raises NotFound."""
        sample = self._store.get(SAMPLES, id)
        if sample is None:
            raise NotFound(f"There is no sample {id[:40]}.", param="sample_id")
        return sample

    def add_sample(self, id: str, clip: Path, reference_text: str = "") -> Record:
        """Check and add a clip: converted to 24 kHz mono, edge silence trimmed.

        Args:
            id: of the profile.
            clip: any audio file of 2-30 s.
            reference_text: transcript of it, at most 2,000 characters.

        Raises:
            NotFound; BadClip: with the reason.
            Conflict: it is the default profile, or has 20 clips already.
        """
        if id == DEFAULT_PROFILE:
            raise Conflict("The default profile is the engine's own voice: make a new profile.")
        if len(self.samples(id)) >= MAX_SAMPLES:
            raise Conflict(f"A profile has at most {MAX_SAMPLES} clips.")
        text = check_text("reference_text", reference_text, 0, 2000)
        row = written_sample(self._files, prepare_clip(clip), text)
        with self._files.kept(row["audio_path"]):
            return self.insert_sample(id, row)

    def create_from_clip(self, name: str, clip: Path, language: str = "en") -> Record:
        """Create a profile with one clip; nothing is saved when the clip or name is refused.

        Raises:
            InvalidInput, BadClip, Conflict, StoreFull: as `create` and `add_sample`.
        """
        row = written_sample(self._files, prepare_clip(clip), "")
        with self._files.kept(row["audio_path"]), self._store.batch():
            profile = self.create(name, language=language)
            self.insert_sample(profile["id"], row)
        return self.get(profile["id"])

    def describe_sample(self, id: str, reference_text: str) -> Record:
        """Set the transcript of a clip, at most 2,000 characters; the clip. Raises NotFound."""
        self.sample(id)
        text = check_text("reference_text", reference_text, 0, 2000)
        self._store.patch(SAMPLES, id, {"reference_text": text})
        return self.sample(id)

    def insert_sample(self, id: str, row: Record) -> Record:
        """Add the row of a clip whose file is written."""
        row = row | {"profile_id": id}
        self._store.insert(SAMPLES, row)
        return row

    def delete_sample(self, id: str) -> None:
        """Remove a clip; raises NotFound."""
        sample = self.sample(id)
        self._store.delete(SAMPLES, id)
        self._files.delete(sample["audio_path"])

    def reference(self, id: str) -> NDArray[np.float32] | None:
        """All clips of a profile joined, at most 30 s: float32 (n,) at 24 kHz; None without any.

        See `joined_clips`.
        """
        return joined_clips(self._files, self.samples(id))

    def set_avatar(self, id: str, content: bytes) -> Record:
        """Set the picture of a profile, converted to a PNG of at most 512 pixels a side.

        Raises:
            NotFound; InvalidInput: not a picture that can be read, or over 10 MiB.
        """
        profile = self.get(id)
        path = written_avatar(self._files, content)
        with self._files.kept(path):
            self.show_avatar(id, path)
        self._files.delete(profile["avatar_path"])
        return self.get(id)

    def show_avatar(self, id: str, path: str) -> None:
        """Set the path of a picture whose file is written."""
        self._store.patch(PROFILES, id, {"avatar_path": path, "updated_at": now()})

    def delete_avatar(self, id: str) -> Record:
        """Remove the picture; raises NotFound."""
        profile = self.get(id)
        with self._store.batch(frees=True):
            self._store.patch(PROFILES, id, {"avatar_path": None, "updated_at": now()})
        self._files.delete(profile["avatar_path"])
        return self.get(id)

    def _one(self, id: str) -> Record:
        profile = self._store.get(PROFILES, id)
        if profile is None:
            raise NotFound(f"There is no profile {id[:40]}.", param="profile_id")
        return profile

    def _with_counts(self, profile: Record) -> Record:
        own = Query(where={"profile_id": profile["id"]})
        clips = self._store.count(SAMPLES, own)
        kind = "default" if profile["id"] == DEFAULT_PROFILE else "cloned" if clips else "preset"
        return profile | {
            "aliases": profile.get("aliases", []),  # an older record has none
            "is_default_voice": profile.get("is_default_voice", False),
            "voice_type": kind,
            "generation_count": self._store.count(GENERATIONS, own),
            "sample_count": clips,
        }

    def _all(self) -> list[Record]:
        """All profiles without their counts, the default first."""
        profiles, _ = self._store.page(PROFILES, Query(order="name", descending=False))
        return sorted(profiles, key=lambda profile: profile["id"] != DEFAULT_PROFILE)

    def _checked(self, fields: Mapping[str, Any], id: str | None = None) -> Record:
        checked = dict(fields)
        if "name" in checked:
            checked["name"] = self._free_name(checked["name"], id)
        if "description" in checked:
            checked["description"] = check_text("description", checked["description"] or "", 0, 500)
        if "language" in checked:
            checked["language"] = check_name("language", checked["language"], 1, 20)
        if checked.get("effects_chain") is not None:
            checked["effects_chain"] = check_chain(checked["effects_chain"]) or None
        return checked

    def _free_name(self, name: Any, id: str | None) -> str:
        name = check_name("name", name, 1, 100)
        check_free(self._all(), name, id)
        return name


def check_text(name: str, value: Any, least: int, most: int) -> str:
    """The text without surrounding space; InvalidInput for a wrong length or character."""
    text = value.strip() if isinstance(value, str) else ""
    if not (isinstance(value, str) and least <= len(text) <= most) or CONTROLS.search(text):
        raise InvalidInput(
            f"{name} takes {least} to {most} characters, no control characters.", param=name
        )
    return text


def profile_row(id: str, name: str, description: str = "") -> Record:
    """The record of a new profile without clips."""
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
        "aliases": [],
        "is_default_voice": False,
        "created_at": created_at,
        "updated_at": created_at,
    }
