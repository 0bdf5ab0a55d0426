"""The versions of a take: as spoken, with effects, or spoken again.

A take has the audio of its default version: audio path, duration, chunks and seed of its record are
those of the default version.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import apply_chain, check_chain, describe, read, to_float, to_pcm16, wav_chunks
from voicelab.errors import Conflict, NotFound, Protected
from voicelab.library.descriptions import described
from voicelab.library.files.local import Files
from voicelab.records import now
from voicelab.store import Query, Store
from voicelab.text import check_name

__all__ = ["GENERATIONS", "VERSIONS", "Versions", "processed", "version_row"]

GENERATIONS, VERSIONS = "generations", "versions"
LISTED = (
    *("id", "generation_id", "label", "audio_path", "effects_chain", "source_version_id"),
    *("is_default", "created_at", "duration", "size_bytes"),
)
PAGE = 500
"""Up to this many takes an indexed query each is faster than reading all versions."""

FOLLOWED = ("audio_path", "duration", "seed", "chunks")
Record = dict[str, Any]
Pcm = NDArray[np.int16]


class Versions:
    """The versions in a store, and their files."""

    def __init__(self, store: Store, files: Files):
        self._store = store
        self._files = files

    def of(self, generation_id: str) -> list[Record]:
        """Versions of a take, oldest first."""
        query = Query(where={"generation_id": generation_id}, descending=False)
        return self._store.page(VERSIONS, query)[0]

    def listed(self, generation_ids: Collection[str]) -> dict[str, list[Record]]:
        """Versions of each take, oldest first, with the fields of lists (no chunks)."""
        queries: list[Query | None] = [Query(where={"generation_id": id}) for id in generation_ids]
        found: dict[str, list[Record]] = {id: [] for id in generation_ids}
        for query in [None] if len(queries) > PAGE else queries:
            for row in self._store.values(VERSIONS, LISTED, query):
                version = dict(zip(LISTED, row, strict=True))
                if version["generation_id"] in found:
                    found[version["generation_id"]].append(version)
        for versions in found.values():
            versions.sort(key=lambda version: (version["created_at"], version["id"]))
        return found

    def get(self, id: str, generation_id: str | None = None) -> Record:
        """One version; raises NotFound, also when it is another take's."""
        version = self._store.get(VERSIONS, id)
        if version is None or generation_id not in (None, version["generation_id"]):
            raise NotFound(f"There is no version {id[:40]}.", param="version_id")
        return version

    def add(
        self, generation_id: str, rows: Sequence[Record], fields: Mapping[str, Any] | None = None
    ) -> None:
        """Add versions whose files are written, and set `fields` of their take, in one commit.

        Raises:
            NotFound: the take was deleted meanwhile. After any error the files are deleted.
        """
        try:
            self.insert(generation_id, rows, fields)
        except Exception:
            for row in rows:
                self._files.delete(row["audio_path"])
            raise

    def insert(
        self, generation_id: str, rows: Sequence[Record], fields: Mapping[str, Any] | None = None
    ) -> None:
        """As `add`, but without deleting the files after an error."""
        with self._store.batch():
            for row in rows:
                self._store.insert(VERSIONS, {**row, "is_default": False})
            for row in rows:
                if row["is_default"]:
                    self._make_default(row)
            size_bytes = sum(version["size_bytes"] for version in self.of(generation_id))
            self._store.patch(
                GENERATIONS, generation_id, {**(fields or {}), "size_bytes": size_bytes}
            )

    def set_default(self, generation_id: str, id: str) -> Record:
        """Make a version the default of its take, and return it. Raises NotFound."""
        with self._store.batch():
            self._make_default(self.get(id, generation_id))
        return self.get(id)

    def forget_lost(self, generation_id: str) -> None:
        """Delete the versions of a take whose file is missing."""
        with self._store.batch(frees=True):
            for version in self.of(generation_id):
                if not self._files.exists(version["audio_path"]):
                    self.delete(generation_id, version["id"])

    def delete(self, generation_id: str, id: str) -> None:
        """Delete a version; when it was the default, the oldest becomes the default.

        Raises:
            NotFound: no such version of this take.
            Protected: it is the last one.
        """
        with self._store.batch(frees=True):
            version = self.get(id, generation_id)
            others = [other for other in self.of(generation_id) if other["id"] != id]
            if not others:
                raise Protected("The last version cannot be deleted: delete the take.")
            if version["is_default"]:
                self._make_default(others[0])
            self._store.delete(VERSIONS, id)
            for other in others:
                if other["source_version_id"] == id:
                    self._store.patch(VERSIONS, other["id"], {"source_version_id": None})
            for item, pinned in self._store.values("story_items", ("id", "version_id")):
                if pinned == id:
                    self._store.patch("story_items", item, {"version_id": None})
            size_bytes = sum(other["size_bytes"] for other in others)
            self._store.patch(GENERATIONS, generation_id, {"size_bytes": size_bytes})
        self._files.delete(version["audio_path"])

    def apply(
        self,
        generation_id: str,
        chain: Any,
        *,
        source_version_id: str | None = None,
        label: str | None = None,
        set_as_default: bool = True,
    ) -> Record:
        """Add a version with effects, and return it.

        Args:
            generation_id: of the take.
            chain: see `voicelab.audio.effects.check_chain`.
            source_version_id: version to process; None for the newest without effects.
            label: 1-200 characters; the effects' names when None.
            set_as_default: make it the default version.

        Raises:
            InvalidInput: the chain or the label.
            NotFound, Conflict: no such take or version; it has no audio yet.
            StoreFull, StorageError: nothing was added.
        """
        self._files.check_free()
        effects = check_chain(chain)
        source = self._source(generation_id, source_version_id)
        pcm, rate = self._processed(source, effects)
        label = label if label is None else check_name("label", label, 1, 200)
        row = processed(source, self._files, effects, len(pcm), rate)
        row |= {"label": label or describe(effects), "is_default": set_as_default}
        take = self._store.get(GENERATIONS, generation_id)
        if take is None:
            raise NotFound(f"There is no take {generation_id[:40]}.", param="id")
        chunks = wav_chunks(described(take, row))
        row["size_bytes"] += len(chunks)
        with self._files.writer(row["audio_path"], rate) as wav:
            wav.write(pcm)
            wav.commit(chunks)
        self.add(generation_id, [row])
        return self.get(row["id"])

    def preview(
        self, generation_id: str, chain: Any, source_version_id: str | None = None
    ) -> tuple[Pcm, int]:
        """The audio that `apply` would save: int16 (n,) and its rate in Hz."""
        return self._processed(self._source(generation_id, source_version_id), check_chain(chain))

    def _source(self, generation_id: str, id: str | None) -> Record:
        if id is not None:
            return self.get(id, generation_id)
        if self._store.get(GENERATIONS, generation_id) is None:
            raise NotFound(f"There is no take {generation_id[:40]}.", param="id")
        clean = [v for v in self.of(generation_id) if not v["effects_chain"]]
        if not clean:
            raise Conflict("This take has no audio to process.")
        # The default version when it has no effects, or else the newest.
        return next((v for v in clean if v["is_default"]), clean[-1])

    def _processed(self, source: Record, effects: list[Record]) -> tuple[Pcm, int]:
        pcm, rate = read(self._files.path(source["audio_path"]))
        samples = apply_chain(to_float(pcm), rate, effects)
        return to_pcm16(samples), rate

    def _make_default(self, version: Record) -> None:
        for other in self.of(version["generation_id"]):
            if other["is_default"] != (other["id"] == version["id"]):
                self._store.patch(
                    VERSIONS, other["id"], {"is_default": other["id"] == version["id"]}
                )
        fields = {key: version[key] for key in FOLLOWED if version.get(key) is not None}
        self._store.patch(
            GENERATIONS,
            version["generation_id"],
            {**fields, "active_version_id": version["id"]},
        )


def version_row(
    document: Mapping[str, Any], *, label: str = "original", is_default: bool = True
) -> Record:
    """The version row of a finished take without effects; its id is `active_version_id`."""
    return {
        "id": document["active_version_id"],
        "generation_id": document["id"],
        "label": label,
        "audio_path": document["audio_path"],
        "effects_chain": None,
        "source_version_id": None,
        "is_default": is_default,
        "created_at": now(),
        "duration": document["duration"],
        "size_bytes": document["size_bytes"],
        "seed": document["seed"],
        "chunks": document["chunks"],
    }


def processed(
    source: Record, files: Files, effects: list[Record], frames: int, sample_rate: int
) -> Record:
    """The row of a new version: `source` with `effects`, of `frames` samples."""
    id = str(uuid4())
    # Only the speed effect changes the times of chunks; tails follow after the last.
    pace = math.prod(e["params"]["rate"] for e in effects if e["type"] == "speed" and e["enabled"])
    chunks = [
        {
            **chunk,
            "start_s": round(chunk["start_s"] / pace, 4),
            "duration_s": round(chunk["duration_s"] / pace, 4),
        }
        for chunk in source.get("chunks") or ()
    ]
    return {
        **source,
        "id": id,
        "label": describe(effects),
        "audio_path": files.take_path(id),
        "effects_chain": effects,
        "source_version_id": source["id"],
        "created_at": now(),
        "duration": round(frames / sample_rate, 4),
        "size_bytes": 44 + 2 * frames,
        "chunks": chunks,
    }
