"""Detects that files of an open store were removed or replaced, by device and inode number."""

from __future__ import annotations

from pathlib import Path

from voicelab.store.journal.system import Identity, System

__all__ = ["HeldFiles"]


class HeldFiles:
    """The identities of the files that an open store uses.

    Without this check a store whose folder was removed, moved or replaced would go on writing to
    unlinked files, and a second process could open the folder, whose lock file is new.

    Args:
        system: makes the calls.
    """

    def __init__(self, system: System):
        self._system = system
        self._files: dict[Path, frozenset[Identity]] = {}

    def add(self, path: Path) -> None:
        """Record the identity of a file; raises OSError when it does not exist."""
        self._files[path] = frozenset((self._system.identity(path),))

    def expect(self, path: Path, descriptor: int) -> None:
        """Accept an open file that is about to be renamed to `path`, beside the present one."""
        expected = self._system.identity(descriptor)
        self._files[path] = self._files.get(path, frozenset()) | {expected}

    def remove(self, path: Path) -> None:
        """Stop checking a file."""
        self._files.pop(path, None)

    def first_lost(self) -> str | None:
        """Name of the first file that is missing or was replaced; None when there is none.

        Takes microseconds: one `stat` for each of three or four files.
        """
        for path in list(self._files):
            expected = self._files.get(path)
            if expected is not None and not self._is_unchanged(path, expected):
                return path.name
        return None

    def _is_unchanged(self, path: Path, expected: frozenset[Identity]) -> bool:
        try:
            if self._system.identity(path) in expected:
                return True
        except OSError:
            pass
        # A concurrent compaction records the new identity before it renames the file.
        current = self._files.get(path)
        return current is not expected and (current is None or self._is_unchanged(path, current))
