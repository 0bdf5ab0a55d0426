"""The audio files of a data folder, always named relative to it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from voicelab.audio import WavWriter, storage_error, to_pcm16
from voicelab.codecs import CLIP_RATE, prepare_clip
from voicelab.errors import NotFound, StoreFull

__all__ = ["Files"]

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
        """Remove a file if it is there; the bytes it had."""
        if not relative:
            return 0
        try:
            path = self.path(relative)
        except NotFound:
            return 0
        size = path.stat().st_size
        path.unlink(missing_ok=True)
        return size

    def keep_clip(self, clip: Path) -> str:
        """Check a reference clip and keep it by the hash of its samples; its relative path.

        Raises:
            BadClip: it cannot be used; the message says why.
        """
        pcm = to_pcm16(prepare_clip(clip))
        relative = f"{CLIPS}/{hashlib.sha256(pcm.tobytes()).hexdigest()}.wav"
        if not (self.root / relative).exists():
            with WavWriter(self.target(relative), CLIP_RATE) as wav:
                wav.write(pcm)
                wav.commit()
        return relative

    def check_free(self) -> None:
        """Raise StoreFull when the disk has less than the reserve."""
        free_mb = shutil.disk_usage(self.root).free / 2**20
        if free_mb < self._min_free_mb:
            raise StoreFull(
                f"The disk has {free_mb:.0f} MiB free; {self._min_free_mb} MiB are kept in "
                "reserve, so no new take was started. Free some space and try again."
            )

    def total_bytes(self) -> int:
        """Of everything in the folder."""
        return sum(
            entry.stat().st_size
            for folder, _, names in os.walk(self.root)
            for entry in (Path(folder, name) for name in names)
            if entry.is_file()
        )

    def sweep_temporary(self) -> int:
        """Remove what a killed process left half-written; how many files."""
        left = [*self.root.glob(f"{TAKES}/.*.tmp"), *self.root.glob(f"{CLIPS}/.*.tmp")]
        for path in left:
            try:
                path.unlink()
            except OSError as error:
                raise storage_error(error) from error
        return len(left)
