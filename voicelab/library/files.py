"""The audio files of a data folder, always named relative to it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import WavWriter, storage_error, to_pcm16
from voicelab.codecs import CLIP_RATE, prepare_clip
from voicelab.errors import NotFound, StoreFull

__all__ = ["CLIPS", "TAKES", "Files"]

log = logging.getLogger(__name__)

TAKES, CLIPS = "generations", "clips"


class Files:
    """Takes and voice clips under one folder.

    Args:
        root: the data folder.
        min_free_mb: takes are refused when less is free on its disk, in MiB.
    """

    def __init__(self, root: Path, min_free_mb: int = 0):
        self.root = root.resolve()
        self._min_free_mb = min_free_mb

    def take_path(self, version_id: str) -> str:
        """Where the audio of a version stands, relative to the data folder."""
        return f"{TAKES}/{version_id}.wav"

    def path(self, relative: str) -> Path:
        """The file of a record.

        Raises:
            NotFound: it would lie outside the data folder, or is not there.
        """
        path = (self.root / relative).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            raise NotFound("The audio file of this take is gone.")
        return path

    def target(self, relative: str) -> Path:
        """Where a new file will stand."""
        return self.root / relative

    def delete(self, relative: str | None) -> int:
        """Remove a file if it is there; the bytes it had. Of a link only the link goes."""
        if not relative:
            return 0
        path = self.root / relative
        try:
            inside = path.parent.resolve().is_relative_to(self.root)
            if not inside or not (path.is_symlink() or path.is_file()):
                return 0
            size = path.lstat().st_size
            path.unlink()
        except OSError:  # somebody holds it open; the record is gone, so the sweep will take it
            log.warning("%s could not be removed", relative, exc_info=True)
            return 0
        return size

    def keep_clip(self, clip: Path | NDArray[np.float32]) -> str:
        """Keep a reference clip by the hash of its samples; its relative path.

        Args:
            clip: a file, which is checked; or samples made ready, float32 (n,) at 24 kHz.

        Raises:
            BadClip: it cannot be used; the message says why.
        """
        samples = prepare_clip(clip) if isinstance(clip, Path) else clip
        digest = hashlib.sha256(to_pcm16(samples).tobytes()).hexdigest()
        relative = f"{CLIPS}/{digest}.wav"
        try:
            os.utime(self.target(relative))  # young again: no sweep may take what is used again
        except FileNotFoundError:
            self.write(relative, samples, CLIP_RATE)
        return relative

    def write(self, relative: str, samples: NDArray[np.float32], sample_rate: int) -> None:
        """A whole WAV file of float32 (n,), or none; raises StoreFull, StorageError."""
        with WavWriter(self.target(relative), sample_rate) as wav:
            wav.write(to_pcm16(samples))
            wav.commit()

    @contextlib.contextmanager
    def kept(self, *relative: str) -> Iterator[list[str]]:
        """New files stay when the block, which records them, succeeds; else they go.

        It gives the list of them, for the block to add to.
        """
        written = list(relative)
        try:
            yield written
        except BaseException:
            for path in written:
                self.delete(path)
            raise

    def check_free(self) -> None:
        """Raise StoreFull when the disk has less than the reserve."""
        free_mb = shutil.disk_usage(self.root).free / 2**20
        if free_mb < self._min_free_mb:
            raise StoreFull(
                f"The disk has {free_mb:.0f} MiB free; {self._min_free_mb} MiB are kept in "
                "reserve, so no new take was started. Free some space and try again."
            )

    def exists(self, relative: str | None) -> bool:
        """Whether a record's file is there."""
        try:
            return bool(relative) and self.path(str(relative)).is_file()
        except NotFound:
            return False

    def free_bytes(self) -> int:
        """Of the disk."""
        return shutil.disk_usage(self.root).free

    def folder_bytes(self) -> dict[str, int]:
        """Bytes by top-level folder; "" is the data folder's own files."""
        found: dict[str, int] = {}
        for folder, _, names in os.walk(self.root):
            top = Path(folder).relative_to(self.root).parts[:1]
            for name in names:
                with contextlib.suppress(OSError):  # a temporary file may be gone already
                    size = os.lstat(Path(folder, name)).st_size
                    found["".join(top)] = found.get("".join(top), 0) + size
        return found

    def audio_files(self) -> Iterator[tuple[str, int, float]]:
        """(relative path, bytes, time of change) of takes and clips; links are passed over."""
        for folder in (TAKES, CLIPS):
            with contextlib.suppress(FileNotFoundError), os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                        status = entry.stat(follow_symlinks=False)
                        yield f"{folder}/{entry.name}", status.st_size, status.st_mtime

    def sweep_temporary(self) -> int:
        """Remove what a killed process left half-written; how many files."""
        left = list(self.root.glob("*/.*.tmp"))
        for path in left:
            try:
                path.unlink()
            except OSError as error:
                raise storage_error(error) from error
        return len(left)
