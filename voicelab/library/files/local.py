"""The audio files of a lab; paths are relative to their folder."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import CLIP_RATE, WavWriter, prepare_clip, to_pcm16
from voicelab.errors import NotFound, StorageError, StoreFull, storage_error

__all__ = ["CLIPS", "GONE", "TAKES", "AudioFile", "Files", "by_folder"]

log = logging.getLogger(__name__)

TAKES, CLIPS = "generations", "clips"
GONE = "The audio file of this take is gone."

AudioFile = tuple[str, int, float]
"""Path relative to the audio folder, size in bytes, Unix time of the last change."""


class Files:
    """Takes and voice clips under one folder.

    Args:
        root: their folder; created when missing.
        min_free_mb: free disk space in MiB below which takes are refused.
        home: the data folder with cache and records, when it is another one.

    Raises:
        StorageError: the folder cannot be created.
    """

    _elsewhere = "--audio-url"
    """The option that sets the folder when it is not the data folder."""

    def __init__(self, root: Path, min_free_mb: int = 0, home: Path | None = None):
        self.root = root.resolve()
        self._home = (home or root).resolve()
        self._min_free_mb = min_free_mb
        self.make_room: Callable[[], int] = lambda: 0
        """Called when the disk is full; deletes caches, returns the bytes freed."""
        self.check: Callable[[], None] = lambda: None
        """Called before a file is written; raises StorageError when records cannot be written."""
        try:
            for folder in (self.root, self._home):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            option = "--data-dir" if self.root == self._home else self._elsewhere
            raise StorageError(
                f"The folder {root} cannot be used: {error.strerror}. Choose another with {option}."
            ) from error

    def take_path(self, version_id: str) -> str:
        """Path of the audio of a version, relative to the audio folder."""
        return f"{TAKES}/{version_id}.wav"

    def path(self, relative: str) -> Path:
        """The file of a record.

        Raises:
            NotFound: it would lie outside the data folder, or is not there.
        """
        path = (self.root / relative).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            raise NotFound(GONE)
        return path

    def target(self, relative: str) -> Path:
        """Absolute path for a new file; `publish` it when it is written."""
        return self.root / relative

    def publish(self, relative: str) -> None:
        """Make a written file available to all replicas, before a record refers to it.

        Raises:
            StorageError: it failed; the file was deleted.
        """

    def refresh(self, relative: str) -> bool:
        """Renew the time of a file, so that no sweep deletes it; False when it does not exist."""
        try:
            os.utime(self.target(relative))
        except FileNotFoundError:
            return False
        return True

    def prune(self) -> None:
        """Remove local copies that were not used for long."""

    def delete(self, relative: str | None) -> int:
        """Delete a file if it exists; returns its bytes. Only the link of a link is deleted."""
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
        """Save a reference clip, named by the hash of its samples; its relative path.

        Args:
            clip: a file, which is checked; or samples made ready, float32 (n,) at 24 kHz.

        Raises:
            BadClip: it cannot be used; the message says why.
        """
        samples = prepare_clip(clip) if isinstance(clip, Path) else clip
        digest = hashlib.sha256(to_pcm16(samples).tobytes()).hexdigest()
        relative = f"{CLIPS}/{digest}.wav"
        if not self.refresh(relative):
            self.write(relative, samples, CLIP_RATE)
        return relative

    def write(self, relative: str, samples: NDArray[np.float32], sample_rate: int) -> None:
        """A whole WAV file of float32 (n,), or none; raises StoreFull, StorageError."""
        with self.writer(relative, sample_rate) as wav:
            wav.write(to_pcm16(samples))
            wav.commit()

    def writer(self, relative: str, sample_rate: int) -> WavWriter:
        """A WAV file to be written piece by piece, published by its commit."""
        self.check()
        path, publish = self.target(relative), lambda: self.publish(relative)
        return WavWriter(path, sample_rate, publish, self.make_room)

    def write_bytes(self, relative: str, content: bytes) -> None:
        """A whole file of any kind, or none; raises StoreFull, StorageError."""
        self.check()
        target = self.target(relative)
        try:
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise storage_error(error) from error
        self.publish(relative)

    @contextlib.contextmanager
    def kept(self, *relative: str) -> Iterator[list[str]]:
        """Delete new files when the block, which adds their records, fails.

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
        """Raise StoreFull when the disk has less than the reserve, or what `check` raises."""
        self.check()
        free_mb = self.free_bytes() / 2**20
        if free_mb < self._min_free_mb and self.make_room():
            free_mb = self.free_bytes() / 2**20
        if free_mb < self._min_free_mb:
            raise StoreFull(
                f"The disk has {free_mb:.0f} MiB free; {self._min_free_mb} MiB are kept in "
                "reserve, so no new take was started. Free some space and try again."
            )

    def exists(self, relative: str | None) -> bool:
        """Whether a record's file exists."""
        try:
            return bool(relative) and self.path(str(relative)).is_file()
        except NotFound:
            return False

    def free_bytes(self) -> int:
        """Free bytes of the disk; raises StorageError when the folder is missing."""
        try:
            return shutil.disk_usage(self.root).free
        except OSError as error:
            self.check()
            raise storage_error(error) from error

    def folder_bytes(self, audio: Iterable[AudioFile]) -> dict[str, int]:
        """Bytes by top-level folder; "" is the data folder's own files.

        Args:
            audio: from `audio_files`, whose folders are not walked again.
        """
        found = by_folder(audio)
        passed = {self.root, self.root / TAKES, self.root / CLIPS}
        for place in {self.root, self._home}:
            for folder, below, names in os.walk(place):
                below[:] = [name for name in below if Path(folder, name) not in passed]
                top = "".join(Path(folder).relative_to(place).parts[:1])
                for name in names:
                    with contextlib.suppress(OSError):  # a temporary file may be gone already
                        size = os.lstat(Path(folder, name)).st_size
                        found[top] = found.get(top, 0) + size
        return found

    def audio_files(self, folders: Sequence[str] = (TAKES, CLIPS)) -> Iterator[AudioFile]:
        """Files of takes and clips, or of other folders; links are ignored."""
        for folder in folders:
            with contextlib.suppress(FileNotFoundError), os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                        status = entry.stat(follow_symlinks=False)
                        yield f"{folder}/{entry.name}", status.st_size, status.st_mtime

    def sweep_temporary(self, min_age_s: float = 0) -> int:
        """Remove temporary files of ended processes; returns how many.

        Args:
            min_age_s: files changed within so many seconds are left alone: another process that
                shares the folder may be writing them.
        """
        limit = time.time() - min_age_s
        left = [path for place in {self.root, self._home} for path in place.glob("*/.*.tmp")]
        swept = 0
        for path in left:
            try:
                if not min_age_s or path.stat().st_mtime < limit:
                    path.unlink()
                    swept += 1
            except FileNotFoundError:
                continue  # it was finished meanwhile
            except OSError as error:
                raise storage_error(error) from error
        return swept


def by_folder(audio: Iterable[AudioFile]) -> dict[str, int]:
    """Bytes of audio files by their top-level folder."""
    found: dict[str, int] = {}
    for path, size, _ in audio:
        top = path.partition("/")[0]
        found[top] = found.get(top, 0) + size
    return found
