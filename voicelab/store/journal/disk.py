"""The files of an open store: base file and journal segments."""

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
"""All documents at one moment, meta of their base file, and number of segments it covers."""


class Disk:
    """Writes commits and base files. Callers hold the store's lock, except for `write_base`.

    Args:
        system: makes the calls.
        path: of the base file.
        recovered: result of `recover`.
        new_meta: meta for a store without a base file.
        lock: the lock file, which must not be replaced while the store is open.
        reserve_bytes, make_room: see `DiskReserve`.

    Attributes:
        meta: of the base file.
        sequence: number of the last commit.
        flush: syncs the journal.
        base_bytes: size of the base file.
        reserve: disk space for deletions.
    """

    def __init__(
        self,
        system: System,
        path: Path,
        recovered: Recovered,
        new_meta: Meta,
        lock: Path | None = None,
        reserve_bytes: int = 0,
        make_room: MakeRoom = lambda: 0,
    ):
        self.meta = recovered.meta or new_meta
        self.sequence = recovered.sequence
        self._held_files = HeldFiles(system)
        self.reserve = DiskReserve(system, path, reserve_bytes, make_room)
        self.flush = Flush(system, recovered.sequence, self._held_files)
        self.base_bytes = recovered.base_bytes or 0
        self._system, self.path, self._recovered = system, path, recovered
        self._is_settled = self._is_copied = False
        self._segment: Segment | None = None
        self._last_segment = max([self.meta.segment, *recovered.segments])
        self._sealed: list[tuple[Path, int]] = []
        self._hold_files(lock, *([] if recovered.base_bytes is None else [path]))

    @property
    def journal_bytes(self) -> int:
        """Size of all journal segments."""
        now = self._segment.size_bytes if self._segment else 0
        return now + sum(size for _, size in self._sealed) if self._sealed else now

    @property
    def threshold_bytes(self) -> int:
        """Size of the journal from which it should be merged into the base file."""
        return threshold_bytes(self.base_bytes)

    @property
    def is_folded(self) -> bool:
        """Whether the base file has every commit, and `settle` has nothing left to do."""
        return self._is_settled and self.sequence == self.meta.seq

    def append(
        self,
        contents: Sequence[bytes],
        quick: bool,
        apply: Callable[[], None],
        frees: bool = False,
    ) -> None:
        """Write a commit, then apply it, atomically; `settle` must have been called.

        Args:
            contents: JSON of the operations.
            quick: see `encode_line`.
            apply: must undo its changes when it raises.
            frees: whether the commit frees disk space, so that it may use the reserve.

        Raises:
            StoreFull, StoreLost, StorageError: nothing was changed.
        """
        self.flush.check_held()
        self.reserve.write_or_make_room(lambda: self._append(contents, quick, apply), frees)

    def _append(self, contents: Sequence[bytes], quick: bool, apply: Callable[[], None]) -> None:
        segment = self._segment or self._begin_segment()
        number, end = self.sequence + 1, segment.size_bytes
        line = encode_line(number, self.flush.durable, contents, quick, segment.seed)
        try:
            segment.append(line)
            apply()
            # Plain assignments, which Ctrl+C cannot separate from the calls above.
            self.flush.written = self.sequence = number
        except BaseException as error:  # Ctrl+C must not leave half a commit, either
            self._cut(segment, end)
            if isinstance(error, OSError):
                raise storage_error(error) from error
            raise

    def rotate(self, tables: Tables) -> Rotation:
        """End the segment; the next commit starts another. Raises StorageError (StoreLost)."""
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
        """Replace the base file and remove the segments it covers; not reentrant.

        Raises:
            StoreFull, StorageError: base file and journal are unchanged.
        """
        documents, meta, sealed = rotation
        size_bytes = self.reserve.write_or_make_room(
            lambda: self._write_base_file(documents, meta, progress)
        )
        self._sync_folder()
        self._hold_files(self.path)
        self.base_bytes, self.meta = size_bytes, meta
        for path, _ in self._sealed[:sealed]:
            self._held_files.remove(path)
            with contextlib.suppress(OSError):  # it is covered, so the next opening removes it
                self._system.remove(path)
        del self._sealed[:sealed]

    def settle(self, tables: Tables) -> None:
        """Complete the recovery: merge the journal into the base, keep unfinished bytes in a file.

        Args:
            tables: as `recover` read them.

        Raises:
            StoreFull, StorageError: to be repeated before the next commit.
        """
        if self._is_settled:
            return
        try:
            self._copy_aside()
            self._drop_unfinished()
        except OSError as error:
            raise storage_error(error) from error
        if not self._recovered.is_settled:
            try:
                self.write_base(self.rotate(tables))
            except StoreFull:
                if not self._can_keep_segments:
                    raise
                self._keep_segments()
                return
        elif self._recovered.segments:
            self._sync_folder()  # the process that renamed the base may have ended before its sync
        try:
            for number in self._recovered.segments:
                with contextlib.suppress(FileNotFoundError):
                    self._system.remove(segment_path(self.path, number))
        except OSError as error:
            raise storage_error(error) from error
        self._is_settled = True

    @property
    def _can_keep_segments(self) -> bool:
        """Whether a new segment can follow those of the previous process without a new base."""
        recovered = self._recovered
        return recovered.meta is not None and not recovered.edited and not recovered.tail

    def _keep_segments(self) -> None:
        """Keep the existing segments: without space for a new base deletions must still work."""
        try:
            for number in self._recovered.segments:
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
        """Write a verified copy of the base file beside it; raises StoreFull, StorageError."""
        try:
            return copy_aside(self._system, self.path, f"{label}-{stamp()}")
        except OSError as error:
            raise storage_error(error) from error

    def release(self) -> None:
        """Close open files without writing anything."""
        segment, self._segment = self._segment, None
        if segment is not None:
            with contextlib.suppress(Exception):
                segment.close()

    def _begin_segment(self) -> Segment:
        header = Header(self.meta.id, self._last_segment + 1, self.sequence)
        try:
            segment = Segment(self._system, self.path, header)
        except OSError as error:
            raise self._write_error("Beginning a journal", error) from error
        self._sync_folder()
        self._hold_files(segment.path)
        self.flush.begin(segment.descriptor)
        self._segment = segment
        self._last_segment = header.segment
        return segment

    def _write_base_file(
        self, documents: Mapping[str, list[tuple[str, Any]]], meta: Meta, progress: Progress
    ) -> int:
        pieces = encode(documents, meta)
        try:
            return put_in_place(self._system, self.path, pieces, progress, self._before_rename)
        except OSError as error:
            raise self._write_error("Writing the base file", error) from error

    def _hold_files(self, *paths: Path | None) -> None:
        """Check these files from now on; a missing one is reported by the next check."""
        for path in filter(None, paths):
            with contextlib.suppress(OSError):
                self._held_files.add(path)

    def _before_rename(self, descriptor: int) -> None:
        self.flush.check_held()
        self._held_files.expect(self.path, descriptor)

    def _cut(self, segment: Segment, end: int) -> None:
        try:
            segment.cut(end)
        except OSError as error:
            self.flush.stop("Cutting back the journal", error)

    def _write_error(self, what: str, error: OSError) -> StorageError:
        """The error of a write that can be repeated; after a failed sync all writes are refused."""
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

    def _copy_aside(self) -> None:
        """Keep unfinished and edited data in files; once, as `settle` may be called per commit."""
        if self._is_copied:
            return
        for number, tail in self._recovered.tail:
            name = f"{self.path.name}.tail-{number:08}"
            write_aside(self._system, self.path.with_name(name), [tail])
        if self._recovered.edited:
            copy_aside(self._system, self.path, f"edited-{stamp()}")
        self._is_copied = True

    def _drop_unfinished(self) -> None:
        """Remove the store's temporary files of a process that ended while writing them."""
        for name in self._system.names(self.path.parent):
            if name.startswith(self.path.name + ".") and name.endswith((".tmp", ".new")):
                self._system.remove(self.path.with_name(name))
