"""All calls of the journal to the operating system, so that tests can simulate power failures.

`System` makes the real calls. A simulation has the same methods on a dictionary, and chooses at a
power failure which of the writes and renames without a sync survive.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Identity", "System"]

Identity = tuple[int, int]
"""Device and inode number, unique while the file exists or is open."""


class System:
    """File operations. Every method raises OSError with the system's errno."""

    def names(self, folder: Path) -> list[str]:
        """Names of the files in a folder, in no defined order."""
        return [path.name for path in folder.iterdir()]

    def read(self, path: Path) -> bytes:
        """Content of a file; raises FileNotFoundError when there is none."""
        return path.read_bytes()

    def identity(self, file: Path | int) -> Identity:
        """Identity of a file by path or descriptor; FileNotFoundError when there is none."""
        found = file.stat() if isinstance(file, Path) else os.fstat(file)
        return found.st_dev, found.st_ino

    def create(self, path: Path) -> int:
        """Create or truncate a file, and open it for writing; its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def open(self, path: Path) -> int:
        """Open an existing file for writing; raises FileNotFoundError when there is none."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        """Write all of `content` at `offset`; after an error any part may be written."""
        view = memoryview(content)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Truncate an open file to a size."""
        os.ftruncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        """Flush a file to the disk; only then its content survives a power failure."""
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)

    def close(self, descriptor: int) -> None:
        """Close an open file."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename atomically; it survives a power failure after `sync_folder`."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Delete a file; raises FileNotFoundError when there is none."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Flush new names, renames and deletions in a folder to the disk."""
        if os.name == "nt":
            return  # a directory cannot be opened there
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
