"""Finds files without a record, and records whose file is missing.

Files are only deleted when they are at least an hour old. Records are never deleted: their text and
settings are still of use, and the disk with the file may only be unmounted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from voicelab.errors import Conflict, StoreCorrupt
from voicelab.library.files.local import AudioFile, Files
from voicelab.library.replicas import REPLICAS
from voicelab.library.versions import GENERATIONS, VERSIONS, Versions
from voicelab.store import RESERVE_BYTES, Durability, Query, Store, open_store

__all__ = ["BATCH_SIZE", "GONE", "MIN_AGE_S", "Sweep", "check_share", "open_known"]

GONE = "The audio file is gone."
MIN_AGE_S = 3600
"""Minimum age of files without a record that are deleted: they may be of a running take."""

BATCH_SIZE = 100
"""Takes changed in one commit."""

Record = dict[str, Any]


def open_known(place: Path | str, durability: Durability, files: Files) -> Store:
    """Open the store at an address, and check that it is not empty while there are files.

    Raises:
        StoreCorrupt: there are audio files but no records, as after a loss of the database.
        StorageError: as `open_store`.
    """
    store = open_store(place, durability, reserve_bytes=RESERVE_BYTES, make_room=files.make_room)
    try:
        _check_known(store, files)
    except BaseException:
        store.close()
        raise
    return store


def _check_known(store: Store, files: Files) -> None:
    if any(store.count(table) for table in store.tables() if table != REPLICAS):
        return
    if found := sum(1 for _ in files.audio_files()):
        raise StoreCorrupt(
            f"There are {found:,} audio files, but no records. Bring the records with `python -m "
            "voicelab db copy FROM TO` or `db restore`, or make them again from the sounds with "
            "`db repair --from-audio`."
        )


def check_share(going: int, files: int, expected: int | None = None) -> None:
    """Refuse to delete more than half of all audio files without confirmation.

    The records may be an older copy, or the clock may be wrong.

    Args:
        going: number of files to delete.
        files: number of all files.
        expected: the number that the user has confirmed; it must equal `going`.

    Raises:
        Conflict: the message has the number.
    """
    if expected is not None and expected != going:
        raise Conflict(
            f"This clean-up would remove {going} of {files} audio files, not {expected}: look "
            "again at what would go.",
            param="expected",
        )
    if expected is None and going * 2 > files:
        raise Conflict(
            f"This clean-up would remove {going} of {files} audio files, more than half: look at "
            f"what would go, then say that number (expected={going}, or --remove {going}).",
            param="expected",
            code="more_than_half",
        )


class Sweep:
    """Compares the records of a store with the files of its folder, both ways.

    Args:
        store, files, versions: of the lab.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        versions: Versions,
        clock: Callable[[], float] = time.time,
    ):
        self._store = store
        self._files = files
        self._versions = versions
        self._clock = clock

    def orphans(self, audio: Iterable[AudioFile], min_age_s: float = MIN_AGE_S) -> list[Record]:
        """Files of takes and clips that no record names: path and size_bytes of each.

        Args:
            audio: from `Files.audio_files`.
            min_age_s: minimum age in seconds since the last change; younger files are ignored.
        """
        limit = self._clock() - min_age_s
        found = [entry for entry in audio if entry[2] < limit]
        named = {path for (path,) in self._store.values(VERSIONS, ("audio_path",))}
        for pair in self._store.values(GENERATIONS, ("audio_path", "clip")):
            named.update(pair)
        return [{"path": path, "size_bytes": size} for path, size, _ in found if path not in named]

    def missing(self, audio: Iterable[AudioFile]) -> list[Record]:
        """Versions whose file is missing: id, generation_id, audio_path of each."""
        names = ("id", "generation_id", "audio_path")
        available = {path for path, _, _ in audio}
        rows: list[Record] = [
            dict(zip(names, row, strict=True)) for row in self._store.values(VERSIONS, names)
        ]
        return [row for row in rows if row["audio_path"] not in available and self._is_gone(row)]

    def restorable(self) -> list[str]:
        """Ids of takes that failed because their file was missing, and whose file exists again."""
        query = Query(where={"status": "failed", "error": GONE})
        ids = [id for (id,) in self._store.values(GENERATIONS, ("id",), query)]
        return [id for id in ids if self._available_versions(id)]

    def mark(self, audio: Iterable[AudioFile]) -> tuple[list[Record], list[str]]:
        """Update takes to their existing files; returns `missing` and the former `restorable`.

        A take without any file becomes failed, so that it can be retried; a take with another
        version gets that as its default; a take whose file exists again becomes completed.
        """
        missing, found = self.missing(audio), self.restorable()
        self._in_batches(
            list(dict.fromkeys(row["generation_id"] for row in missing)), self._mark_lost
        )
        self._in_batches(found, self._restore)
        return missing, found

    def _in_batches(self, ids: list[str], change: Callable[[Record], None]) -> None:
        """Change takes in several commits, so that readers need not wait for all."""
        for start in range(0, len(ids), BATCH_SIZE):
            with self._store.batch(frees=True):
                for take in self._store.get_many(GENERATIONS, ids[start : start + BATCH_SIZE]):
                    change(take)

    def _mark_lost(self, take: Record) -> None:
        if take["status"] != "completed":
            return
        if available := self._available_versions(take["id"]):
            self._use_available(take["id"], available)
            return
        # The versions keep their paths, so that restored files still have a record.
        failed = {"status": "failed", "error": GONE, "audio_path": None, "size_bytes": 0}
        self._store.patch(GENERATIONS, take["id"], failed)

    def _restore(self, take: Record) -> None:
        if take["error"] == GONE and (available := self._available_versions(take["id"])):
            self._use_available(take["id"], available)
            self._store.patch(GENERATIONS, take["id"], {"status": "completed", "error": None})

    def _use_available(self, id: str, available: list[Record]) -> None:
        active = next((version for version in available if version["is_default"]), available[0])
        self._versions.set_default(id, active["id"])
        size_bytes = sum(version["size_bytes"] for version in available)
        self._store.patch(GENERATIONS, id, {"size_bytes": size_bytes})

    def _available_versions(self, id: str) -> list[Record]:
        return [version for version in self._versions.of(id) if not self._is_gone(version)]

    def _is_gone(self, version: Record) -> bool:
        return not self._files.exists(version["audio_path"])
