"""Every call the store makes to the operating system, so that a test can take the power away.

`System` is the real one. A simulation has the same methods over a dictionary and decides at each
cut what of the un-synced writes and renames is left.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Identity", "System"]

Identity = tuple[int, int]
"""Device and number: no other file has both while this one is there or open."""


class System:
    """Files of one folder. Every method raises OSError as the system does, with its errno."""

    def names(self, folder: Path) -> list[str]:
        """Of the files in a folder, in no order."""
        return [path.name for path in folder.iterdir()]

    def read(self, path: Path) -> bytes:
        """The whole file; raises FileNotFoundError when there is none."""
        return path.read_bytes()

    def identity(self, file: Path | int) -> Identity:
        """Of a file, by its path or descriptor; raises FileNotFoundError when there is none."""
        found = file.stat() if isinstance(file, Path) else os.fstat(file)
        return found.st_dev, found.st_ino

    def create(self, path: Path) -> int:
        """A new empty file, or one that is there made empty, open for writing."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def open(self, path: Path) -> int:
        """A file that is there, open for writing; raises FileNotFoundError when there is none."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        """All of `content` at `offset`; after an error any part of it may be there."""
        view = memoryview(content)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cut an open file."""
        os.ftruncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        """Until this returns nothing written is sure to survive a loss of power."""
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)

    def close(self, descriptor: int) -> None:
        """Close an open file."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename; whole or not at all, and sure to survive after `sync_folder`."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Delete a file; raises FileNotFoundError when there is none."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Make new names, renames and deletions in a folder survive a loss of power."""
        if os.name == "nt":
            return  # a directory cannot be opened there
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
