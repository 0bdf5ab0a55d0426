"""Files that no record names, and records whose file is gone.

A file goes only when it is an hour old. A record never goes: its text and settings are worth
keeping, and the disk that held the file may only be away.
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

__all__ = ["AT_ONCE", "GONE", "YOUNG_S", "Sweep", "check_share", "open_known"]

GONE = "The audio file is gone."
YOUNG_S = 3600
"""Files that no record names are left alone for so long: a running take may own them."""

AT_ONCE = 100
"""Takes changed in one commit."""

Record = dict[str, Any]


def open_known(place: Path | str, durability: Durability, files: Files) -> Store:
    """The store at an address, which knows of the files that are there.

    Raises:
        StoreCorrupt: there are sounds, but no records at all, as in an emptied database.
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
    """Whether so many of all audio files may go at once.

    More than half may be all there is of takes that these records do not know, or the work of a
    clock that is wrong.

    Args:
        going: how many would go.
        files: how many there are.
        expected: what somebody said would go; then it must be just that.

    Raises:
        Conflict: the message says the number.
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

    def orphans(self, audio: Iterable[AudioFile], young_s: float = YOUNG_S) -> list[Record]:
        """Files of takes and clips that no record names: path and size_bytes of each.

        Args:
            audio: from `Files.audio_files`.
            young_s: seconds since their last change for which files are left alone.
        """
        limit = self._clock() - young_s
        found = [entry for entry in audio if entry[2] < limit]
        named = {path for (path,) in self._store.values(VERSIONS, ("audio_path",))}
        for pair in self._store.values(GENERATIONS, ("audio_path", "clip")):
            named.update(pair)
        return [{"path": path, "size_bytes": size} for path, size, _ in found if path not in named]

    def missing(self, audio: Iterable[AudioFile]) -> list[Record]:
        """Versions whose file is not there: id, generation_id, audio_path of each."""
        names = ("id", "generation_id", "audio_path")
        there = {path for path, _, _ in audio}
        rows: list[Record] = [
            dict(zip(names, row, strict=True)) for row in self._store.values(VERSIONS, names)
        ]
        return [row for row in rows if row["audio_path"] not in there and self._is_gone(row)]

    def restorable(self) -> list[str]:
        """Takes that failed because their file was gone, and whose file is there again."""
        query = Query(where={"status": "failed", "error": GONE})
        ids = [id for (id,) in self._store.values(GENERATIONS, ("id",), query)]
        return [id for id in ids if self._there(id)]

    def mark(self, audio: Iterable[AudioFile]) -> tuple[list[Record], list[str]]:
        """Make the takes say what is there; what is `missing`, and what was `restorable`.

        A take without any file becomes failed, so that it can be made again; one that has
        another version left is heard as that; one whose file came back is whole again.
        """
        missing, found = self.missing(audio), self.restorable()
        self._each(list(dict.fromkeys(row["generation_id"] for row in missing)), self._lose)
        self._each(found, self._restore)
        return missing, found

    def _each(self, ids: list[str], change: Callable[[Record], None]) -> None:
        """In many commits, so that readers do not wait for the whole library."""
        for start in range(0, len(ids), AT_ONCE):
            with self._store.batch(frees=True):
                for take in self._store.get_many(GENERATIONS, ids[start : start + AT_ONCE]):
                    change(take)

    def _lose(self, take: Record) -> None:
        if take["status"] != "completed":
            return
        if there := self._there(take["id"]):
            self._follow(take["id"], there)
            return
        # The versions keep their paths: should the files come back, they still have an owner.
        lost = {"status": "failed", "error": GONE, "audio_path": None, "size_bytes": 0}
        self._store.patch(GENERATIONS, take["id"], lost)

    def _restore(self, take: Record) -> None:
        if take["error"] == GONE and (there := self._there(take["id"])):
            self._follow(take["id"], there)
            self._store.patch(GENERATIONS, take["id"], {"status": "completed", "error": None})

    def _follow(self, id: str, there: list[Record]) -> None:
        heard = next((version for version in there if version["is_default"]), there[0])
        self._versions.set_default(id, heard["id"])
        size_bytes = sum(version["size_bytes"] for version in there)
        self._store.patch(GENERATIONS, id, {"size_bytes": size_bytes})

    def _there(self, id: str) -> list[Record]:
        return [version for version in self._versions.of(id) if not self._is_gone(version)]

    def _is_gone(self, version: Record) -> bool:
        return not self._files.exists(version["audio_path"])
