"""Whether the files of an open store are still the very ones it holds: by device and number."""

from __future__ import annotations

from pathlib import Path

from voicelab.store.journal.system import Identity, System

__all__ = ["Holding"]


class Holding:
    """The files that a store relies on while it is open.

    A folder that was removed, moved or replaced can be written to for hours, into files that
    nobody will ever open again; and who finds no lock file there opens the store a second time.

    Args:
        system: that is asked.
    """

    def __init__(self, system: System):
        self._system = system
        self._files: dict[Path, frozenset[Identity]] = {}

    def keep(self, path: Path) -> None:
        """Rely on the file that is there now; raises OSError when there is none."""
        self._files[path] = frozenset((self._system.identity(path),))

    def expect(self, path: Path, descriptor: int) -> None:
        """An open file is about to be renamed to `path`: from now on that may be either."""
        expected = self._system.identity(descriptor)
        self._files[path] = self._files.get(path, frozenset()) | {expected}

    def drop(self, path: Path) -> None:
        """Rely on it no longer."""
        self._files.pop(path, None)

    def lost(self) -> str | None:
        """Name of the first file that is gone or another one; None when all are there.

        Some microseconds: one `stat` a file, of which there are three or four.
        """
        for path in list(self._files):
            expected = self._files.get(path)
            if expected is not None and not self._is_there(path, expected):
                return path.name
        return None

    def _is_there(self, path: Path, expected: frozenset[Identity]) -> bool:
        try:
            if self._system.identity(path) in expected:
                return True
        except OSError:
            pass
        # A compaction passing by says what it does before it does it.
        meanwhile = self._files.get(path)
        return meanwhile is not expected and (meanwhile is None or self._is_there(path, meanwhile))
