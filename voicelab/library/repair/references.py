"""Finds and repairs references to records that do not exist.

No record with audio is deleted: a version without its take gets one, and missing profiles and
stories are created. Only items of a story whose take is missing, and versions with neither take nor
file, are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from voicelab.audio import describe
from voicelab.errors import VoicelabError
from voicelab.library.files.local import Files
from voicelab.library.profiles import PROFILES, SAMPLES, Profiles
from voicelab.library.repair.rebuilding import RECOVERED, RebuiltTake, ensure_profile, rebuild_take
from voicelab.library.retention.sweep import GONE
from voicelab.library.stories import STORIES
from voicelab.library.takes import STORY_ITEMS
from voicelab.library.versions import GENERATIONS, VERSIONS, Versions, version_row
from voicelab.records import Generation, now
from voicelab.store import Query, Store

__all__ = ["Dangling", "References"]

MAX_ROUNDS = 5
Record = dict[str, Any]


@dataclass(frozen=True)
class Dangling:
    """A reference to a record that does not exist.

    Attributes:
        what: description, one sentence.
        mend: repairs it within the caller's batch; returns a sentence on what was done.
    """

    what: str
    mend: Callable[[], str]


class References:
    """Checks the references of all tables of a store.

    Args:
        store: where the records are.
        files: where the audio is.
    """

    def __init__(self, store: Store, files: Files):
        self._store = store
        self._files = files
        self._versions = Versions(store, files)

    def dangling(self) -> list[Dangling]:
        """All references to records that do not exist."""
        return [each for check in self._checks() for each in check()]

    def mend(self) -> list[str]:
        """Repair them in one commit; one sentence for each repair. Raises StorageError."""
        done: list[str] = []
        with self._store.batch():
            for _ in range(MAX_ROUNDS):  # a created record may have dangling references itself
                before = len(done)
                for check in self._checks():
                    done += [each.mend() for each in list(check())]
                if len(done) == before:
                    break
        return done

    def _checks(self) -> tuple[Callable[[], Iterator[Dangling]], ...]:
        """The checks, owners first: records are only deleted when their owner cannot be created."""
        return self._owners, self._takes, self._sources, self._items

    def _ids(self, table: str) -> set[str]:
        return {id for (id,) in self._store.values(table, ("id",))}

    def _owners(self) -> Iterator[Dangling]:
        """Takes and clips -> profiles; versions -> takes."""
        profiles, takes = self._ids(PROFILES), self._ids(GENERATIONS)
        named = dict(self._store.values(SAMPLES, ("profile_id", "id")))
        voices = dict.fromkeys(named, RECOVERED)
        voices |= dict(self._store.values(GENERATIONS, ("profile_id", "voice")))
        for id in sorted(set(voices) - profiles):
            yield Dangling(
                f"takes or clips name profile {id}, which is not there",
                lambda id=id: self._remake_profile(id, voices[id] or RECOVERED),
            )
        owners = {owner for (owner,) in self._store.values(VERSIONS, ("generation_id",))}
        for id in sorted(owners - takes):
            yield Dangling(
                f"versions belong to take {id}, which is not there",
                lambda id=id: self._remake_take(id),
            )

    def _takes(self) -> Iterator[Dangling]:
        """Finished takes -> their active version, which must be the default one."""
        names = ("id", "generation_id", "is_default")
        versions: dict[str, dict[str, bool]] = {}
        for id, owner, is_default in self._store.values(VERSIONS, names):
            versions.setdefault(owner, {})[id] = is_default
        finished = Query(where={"status": "completed"})
        for id, active in self._store.values(GENERATIONS, ("id", "active_version_id"), finished):
            own = versions.get(id, {})
            if active not in own:
                yield Dangling(
                    f"take {id} is heard as version {active}, which is not there",
                    lambda id=id: self._remake_version(id),
                )
            elif [one for one, is_default in own.items() if is_default] != [active]:
                yield Dangling(
                    f"take {id} has no default version, or not the one that is heard",
                    lambda id=id, active=active: self._choose(id, active),
                )

    def _sources(self) -> Iterator[Dangling]:
        """Versions -> the version that they were made from."""
        ids = self._ids(VERSIONS)
        for id, source in self._store.values(VERSIONS, ("id", "source_version_id")):
            if source is not None and source not in ids:
                yield Dangling(
                    f"version {id} was made from version {source}, which is not there",
                    lambda id=id, source=source: self._remake_source(id, source),
                )

    def _items(self) -> Iterator[Dangling]:
        """Items of stories -> stories, takes, versions."""
        stories, takes = self._ids(STORIES), self._ids(GENERATIONS)
        owners = dict(self._store.values(VERSIONS, ("id", "generation_id")))
        names = ("id", "story_id", "generation_id", "version_id")
        items = self._store.values(STORY_ITEMS, names)
        for id in sorted({story for _, story, _, _ in items} - stories):
            what = f"items belong to story {id}, which is not there"
            yield Dangling(what, lambda id=id: self._remake_story(id))
        for id, _, take, version in items:
            if take not in takes:
                what = f"item {id} of a story plays take {take}, which is not there"
                yield Dangling(what, lambda id=id: self._remove_item(id))
            elif version is not None and owners.get(version) != take:
                what = f"item {id} of a story plays version {version}, which its take does not have"
                yield Dangling(what, lambda id=id: self._unpin(id))

    def _remake_profile(self, id: str, name: str) -> str:
        profiles = Profiles(self._store, self._files)
        ensure_profile(id, name, self._store, profiles)
        return f"profile {id} was made again as '{profiles.names()[id]}'"

    def _remake_take(self, id: str) -> str:
        versions = self._versions.of(id)
        for version in sorted(versions, key=lambda one: not one["is_default"]):
            if found := self._found(version["audio_path"], version["created_at"]):
                break
        else:
            self._store.delete_many(VERSIONS, [version["id"] for version in versions])
            return f"the versions of take {id} were removed: neither it nor a file is there"
        texts = [chunk["text"] for chunk in version.get("chunks") or ()]
        spoken = {} if found.has_metadata or not texts else {"text": " ".join(texts)}
        take = Generation.from_document(found.take | {"id": id} | spoken)
        self._store.insert(GENERATIONS, take.document())
        self._versions.set_default(id, version["id"])
        return f"take {id} was made again from {version['audio_path']}"

    def _found(self, path: str, created_at: str) -> RebuiltTake | None:
        try:
            return rebuild_take(path, created_at, self._files)
        except (VoicelabError, OSError):
            return None

    def _remake_version(self, id: str) -> str:
        take = self._store.get(GENERATIONS, id) or {}
        others = self._versions.of(id)
        path = take["audio_path"]
        if own := next((one for one in others if one["audio_path"] == path), None):
            self._versions.set_default(id, own["id"])
            return f"take {id} is heard as its version {own['id']} again"
        if path:
            return self._rebuilt(take, others)
        if others:
            self._versions.set_default(id, others[-1]["id"])
            return f"take {id} is heard as its version {others[-1]['id']} now"
        self._store.patch(GENERATIONS, id, {"status": "failed", "error": GONE, "size_bytes": 0})
        return f"take {id} has neither version nor file: it has failed, and can be made again"

    def _rebuilt(self, take: Record, others: list[Record]) -> str:
        """The version of the take's file, by the file's metadata, or else without effects."""
        id, path = take["id"], take["audio_path"]
        wanted = take["active_version_id"] or str(uuid4())
        if self._store.get(VERSIONS, wanted) is not None:  # another take's
            wanted = str(uuid4())
        row = version_row(take | {"active_version_id": wanted})
        row["created_at"] = take["created_at"]
        found = self._found(path, take["created_at"])
        if found and found.take["id"] == id:
            row |= found.version | {"id": wanted, "is_default": True}
        elif take["effects_chain"] and (clean := _clean(others)):
            row["label"], row["effects_chain"] = (
                describe(take["effects_chain"]),
                take["effects_chain"],
            )
            row["source_version_id"] = clean["id"]
        self._versions.insert(id, [row])
        what = "version with effects" if row["effects_chain"] else "clean version"
        source = f"was rebuilt from {path}" if found else f"names its file {path}, which is gone"
        return f"the {what} {wanted} of take {id} {source}"

    def _remake_source(self, id: str, source: str) -> str:
        version = self._versions.get(id)
        if self._store.get(VERSIONS, source):
            return f"version {id} was made from version {source}, which is there again"
        wav = self._files.take_path(source)
        for path in (wav, wav.removesuffix(".wav") + ".flac"):
            if found := self._found(path, version["created_at"]):
                owner = version["generation_id"]
                row = found.version | {"id": source, "generation_id": owner, "is_default": False}
                self._versions.insert(owner, [row])
                return f"the clean version {source} of take {owner} was rebuilt from {path}"
        self._store.patch(VERSIONS, id, {"source_version_id": None})
        return f"version {id} names no version any more that it was made from"

    def _choose(self, id: str, active: str) -> str:
        self._versions.set_default(id, active)
        return f"version {active} is the default of take {id}"

    def _remake_story(self, id: str) -> str:
        moment = now()
        story = {"id": id, "name": "Recovered story", "description": ""}
        self._store.insert(STORIES, story | {"created_at": moment, "updated_at": moment})
        return f"story {id} was made again as 'Recovered story'"

    def _remove_item(self, id: str) -> str:
        self._store.delete(STORY_ITEMS, id)
        return f"item {id} of a story was removed: its take is not there"

    def _unpin(self, id: str) -> str:
        self._store.patch(STORY_ITEMS, id, {"version_id": None})
        return f"item {id} of a story plays what its take is heard as"


def _clean(versions: list[Record]) -> Record | None:
    return next((one for one in versions if not one["effects_chain"]), None)
