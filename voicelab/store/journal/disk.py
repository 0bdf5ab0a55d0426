"""The files of a store: the base, its journal, and what a crash left of both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from voicelab.errors import StorageError, StoreFull, storage_error
from voicelab.store.journal.backup import copy_aside, stamp, write_aside
from voicelab.store.journal.compaction import Progress, put_in_place, threshold_bytes
from voicelab.store.journal.flush import Flush, SyncFailed
from voicelab.store.journal.held_files import HeldFiles
from voicelab.store.journal.recovery import Recovered
from voicelab.store.journal.reserve import DiskReserve, MakeRoom
from voicelab.store.journal.segments import Header, Segment, encode_line, segment_path
from voicelab.store.journal.snapshot import Meta, Tables, encode
from voicelab.store.journal.system import System

__all__ = ["Disk", "Rotation"]

Rotation = tuple[dict[str, list[tuple[str, Any]]], Meta, int]
"""All documents at one moment, the meta of a base with them, and how many segments it covers."""


class Disk:
    """Writes commits and base files. Its caller holds the store's lock, but for `write_base`.

    Args:
        system: makes the calls.
        path: of the base file.
        found: what recovery read.
        fresh: the meta of a store that has none yet.
        lock: a further file that must stay the one it is.
        reserve_bytes, make_room: see `DiskReserve`.

    Attributes:
        meta: of the base file.
        sequence: number of the last commit.
        flush: syncs the journal.
        base_bytes: size of the base file.
        room: on the disk.
    """

    def __init__(
        self,
        system: System,
        path: Path,
        found: Recovered,
        fresh: Meta,
        lock: Path | None = None,
        reserve_bytes: int = 0,
        make_room: MakeRoom = lambda: 0,
    ):
        self.meta = found.meta or fresh
        self.sequence = found.sequence
        self._held_files = HeldFiles(system)
        self.reserve = DiskReserve(system, path, reserve_bytes, make_room)
        self.flush = Flush(system, found.sequence, self._held_files)
        self.base_bytes = found.base_bytes or 0
        self._system, self.path, self._found = system, path, found
        self._is_settled = self._is_kept = False
        self._segment: Segment | None = None
        self._last_segment = max([self.meta.segment, *found.segments])
        self._sealed: list[tuple[Path, int]] = []
        self._hold_files(lock, *([] if found.base_bytes is None else [path]))

    @property
    def journal_bytes(self) -> int:
        """What the journal weighs."""
        now = self._segment.size_bytes if self._segment else 0
        return now + sum(size for _, size in self._sealed) if self._sealed else now

    @property
    def threshold_bytes(self) -> int:
        """At which weight the journal should be folded into the base."""
        return threshold_bytes(self.base_bytes)

    @property
    def is_folded(self) -> bool:
        """Whether the base file holds every commit, and opening left nothing to do."""
        return self._is_settled and self.sequence == self.meta.seq

    def append(
        self,
        contents: Sequence[bytes],
        quick: bool,
        apply: Callable[[], None],
        frees: bool = False,
    ) -> None:
        """Write a commit, then apply it, once settled; an error in either leaves neither.

        Args:
            contents: JSON of the operations.
            quick: see `encode_line`.
            apply: undoes what it did when it raises.
            frees: room is made by it, so that it may have the reserve.

        Raises:
            StoreFull, StoreLost, StorageError: nothing was changed.
        """
        self.flush.check_held()
        self.reserve.write_or_make_room(lambda: self._append(contents, quick, apply), frees)

    def _append(self, contents: Sequence[bytes], quick: bool, apply: Callable[[], None]) -> None:
        segment = self._segment or self._begin()
        number, end = self.sequence + 1, segment.size_bytes
        line = encode_line(number, self.flush.durable, contents, quick, segment.seed)
        try:
            segment.append(line)
            apply()
            # Plain assignments: Ctrl+C does not come between them and what was done.
            self.flush.written = self.sequence = number
        except BaseException as error:  # Ctrl+C too must not leave half a commit
            self._cut(segment, end)
            if isinstance(error, OSError):
                raise storage_error(error) from error
            raise

    def rotate(self, tables: Tables) -> Rotation:
        """End the segment; the next commit begins another. Raises StorageError (StoreLost)."""
        self.flush.wait(self.sequence)
        self.flush.check_held()
        segment = self._segment
        if segment is not None:
            self._sealed.append((segment.path, segment.size_bytes))
            self._segment = None
            with contextlib.suppress(OSError):  # all of it is on the disk
                segment.close()
        meta = replace(self.meta, seq=self.sequence, segment=self._last_segment)
        documents = {name: list(rows.items()) for name, rows in tables.items()}
        return documents, meta, len(self._sealed)

    def write_base(self, rotation: Rotation, progress: Progress = lambda _: None) -> None:
        """Put a new base file in place and remove the segments it covers; one at a time.

        Raises:
            StoreFull, StorageError: the base file is as it was, the journal goes on.
        """
        documents, meta, sealed = rotation
        size_bytes = self.reserve.write_or_make_room(
            lambda: self._written(documents, meta, progress)
        )
        self._sync_folder()
        self._hold_files(self.path)
        self.base_bytes, self.meta = size_bytes, meta
        for path, _ in self._sealed[:sealed]:
            self._held_files.remove(path)
            with contextlib.suppress(OSError):  # it is covered, so the next opening takes it away
                self._system.remove(path)
        del self._sealed[:sealed]

    def settle(self, tables: Tables) -> None:
        """Write what opening found out: the journal of a crash folded, its tail kept aside.

        Args:
            tables: as opening found them.

        Raises:
            StoreFull, StorageError: it is tried again at the next commit.
        """
        if self._is_settled:
            return
        try:
            self._keep_aside()
            self._drop_unfinished()
        except OSError as error:
            raise storage_error(error) from error
        if not self._found.is_settled:
            try:
                self.write_base(self.rotate(tables))
            except StoreFull:
                if not self._continues:
                    raise
                self._continue()
                return
        elif self._found.segments:
            self._sync_folder()  # who renamed the base may have died before doing that
        try:
            for number in self._found.segments:
                with contextlib.suppress(FileNotFoundError):
                    self._system.remove(segment_path(self.path, number))
        except OSError as error:
            raise storage_error(error) from error
        self._is_settled = True

    @property
    def _continues(self) -> bool:
        """Whether a further segment can follow those of the process before, as they are."""
        found = self._found
        return found.meta is not None and not found.edited and not found.tail

    def _continue(self) -> None:
        """Where a new base finds no room, deletions must be written all the same."""
        try:
            for number in self._found.segments:
                path = segment_path(self.path, number)
                descriptor = self._system.open(path)
                try:  # a segment begins only when all before it is on the disk
                    self._system.sync(descriptor)
                finally:
                    self._system.close(descriptor)
                self._held_files.add(path)
                self._sealed.append((path, len(self._system.read(path))))
        except OSError as error:
            self.flush.stop("Syncing the journal (fsync)", error)
            self.flush.check()
        self._is_settled = True

    def keep_copy(self, label: str) -> Path:
        """A verified copy of the base file beside it; raises StoreFull, StorageError."""
        try:
            return copy_aside(self._system, self.path, f"{label}-{stamp()}")
        except OSError as error:
            raise storage_error(error) from error

    def release(self) -> None:
        """Close what is open, write nothing."""
        segment, self._segment = self._segment, None
        if segment is not None:
            with contextlib.suppress(Exception):
                segment.close()

    def _begin(self) -> Segment:
        header = Header(self.meta.id, self._last_segment + 1, self.sequence)
        try:
            segment = Segment(self._system, self.path, header)
        except OSError as error:
            raise self._failed("Beginning a journal", error) from error
        self._sync_folder()
        self._hold_files(segment.path)
        self.flush.begin(segment.descriptor)
        self._segment = segment
        self._last_segment = header.segment
        return segment

    def _written(
        self, documents: Mapping[str, list[tuple[str, Any]]], meta: Meta, progress: Progress
    ) -> int:
        pieces = encode(documents, meta)
        try:
            return put_in_place(self._system, self.path, pieces, progress, self._ready)
        except OSError as error:
            raise self._failed("Writing the base file", error) from error

    def _hold_files(self, *paths: Path | None) -> None:
        """Rely on files that are there; one that is not is told by the next look."""
        for path in filter(None, paths):
            with contextlib.suppress(OSError):
                self._held_files.add(path)

    def _ready(self, descriptor: int) -> None:
        self.flush.check_held()
        self._held_files.expect(self.path, descriptor)

    def _cut(self, segment: Segment, end: int) -> None:
        try:
            segment.cut(end)
        except OSError as error:
            self.flush.stop("Cutting back the journal", error)

    def _failed(self, what: str, error: OSError) -> StorageError:
        """What failed is thrown away and tried anew; but a failed sync bodes ill for the rest."""
        translated = storage_error(error)
        if isinstance(error, SyncFailed) and not isinstance(translated, StoreFull):
            self.flush.stop(f"{what} (fsync)", error)
        return translated

    def _sync_folder(self) -> None:
        try:
            self._system.sync_folder(self.path.parent)
        except OSError as error:
            self.flush.stop("Syncing the data folder (fsync)", error)
            self.flush.check()

    def _keep_aside(self) -> None:
        """Once: settling may be tried at every commit, and a copy weighs as much as the base."""
        if self._is_kept:
            return
        for number, tail in self._found.tail:
            name = f"{self.path.name}.tail-{number:08}"
            write_aside(self._system, self.path.with_name(name), [tail])
        if self._found.edited:
            copy_aside(self._system, self.path, f"edited-{stamp()}")
        self._is_kept = True

    def _drop_unfinished(self) -> None:
        """What was being made when a process died, and nothing that is not the store's."""
        for name in self._system.names(self.path.parent):
            if name.startswith(self.path.name + ".") and name.endswith((".tmp", ".new")):
                self._system.remove(self.path.with_name(name))
