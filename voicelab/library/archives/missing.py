"""The parts that an export leaves out because their files are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from voicelab.errors import Conflict, NotFound, StorageError, VoicelabError

__all__ = ["GONE", "Missing"]

GONE = "The file is gone."


class Missing:
    """Collects what one export leaves out.

    Attributes:
        entries: id, kind (take, version, clip, picture, story item) and reason of each, as in
            the manifest under "missing".
    """

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._first: VoicelabError | None = None

    @property
    def ids(self) -> list[str]:
        """The ids of the entries."""
        return [entry["id"] for entry in self.entries]

    @contextmanager
    def skipping(self, id: str, kind: str, **more: Any) -> Iterator[None]:
        """Add an entry when the block finds that a file is missing or cannot be read."""
        try:
            yield
        except (NotFound, Conflict, StorageError, OSError) as error:
            problem = error if isinstance(error, VoicelabError) else NotFound(GONE)
            self._first = self._first or problem
            self.entries.append({"id": id, "kind": kind, **more, "reason": problem.message})

    def check_any_left(self, left: Sequence[Any] | dict[str, Any]) -> None:
        """Raise the first error when nothing is left to export."""
        if self._first is not None and not left:
            raise self._first
