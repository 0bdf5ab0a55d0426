"""What an export leaves out, because its file is gone: named, so that the rest can go out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from voicelab.errors import Conflict, NotFound, StorageError, VoicelabError

__all__ = ["GONE", "Missing"]

GONE = "The file is gone."


class Missing:
    """What was left out of one export.

    Attributes:
        entries: of each its id, what it is (take, version, clip, picture, story item) and why; as
            they stand under "missing" in the archive's manifest.
    """

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._first: VoicelabError | None = None

    @property
    def ids(self) -> list[str]:
        """Of all that was left out."""
        return [entry["id"] for entry in self.entries]

    @contextmanager
    def left_out(self, id: str, kind: str, **more: Any) -> Iterator[None]:
        """Leave something out when the block finds that it is not there or cannot be read."""
        try:
            yield
        except (NotFound, Conflict, StorageError, OSError) as error:
            told = error if isinstance(error, VoicelabError) else NotFound(GONE)
            self._first = self._first or told
            self.entries.append({"id": id, "kind": kind, **more, "reason": told.message})

    def check_left(self, left: Sequence[Any] | dict[str, Any]) -> None:
        """Raise what the first one failed with, when nothing is left to export."""
        if self._first is not None and not left:
            raise self._first
