"""Where a take is saved: a new record, a failed one, a new version, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from voicelab.library.takes import INTERRUPTED, History
from voicelab.library.versions import Versions, version_row
from voicelab.records import Generation, now

__all__ = ["Destination", "FailedTake", "InterruptedTake", "NewTake", "NewVersion", "UnsavedTake"]

Record = dict[str, Any]


class Destination(Protocol):
    """Receives the start and the end of a take."""

    @property
    def label(self) -> str:
        """Label of the version without effects."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether files are written."""
        ...

    def begin(self, record: Generation, request_id: str) -> None:
        """Called after validation, before anything is spoken."""
        ...

    def check(self) -> None:
        """Raise StorageError when the take cannot be saved any more; called at each chunk."""
        ...

    def complete(self, record: Generation, processed: Record | None) -> Record:
        """Called when the files are complete: without effects and, if any, with effects.

        Returns:
            The record as in responses.

        Raises:
            NotFound: it was deleted meanwhile; the files are gone, too.
        """
        ...

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """Called when no file is left; raises NotFound when the record was deleted."""
        ...


@dataclass(frozen=True)
class NewTake:
    """A new record, pending until it is complete."""

    history: History
    versions: Versions
    keeps: bool = True
    label: str = "original"

    def begin(self, record: Generation, request_id: str) -> None:
        """See `Destination`. Pending records have no path: there is no file yet."""
        document = record.document() | {"audio_path": None, "request_id": request_id}
        document["replica"] = self.history.replica
        self.history.add(Generation.from_document(document))

    def check(self) -> None:
        """See `Destination`."""
        self.history.check()

    def complete(self, record: Generation, processed: Record | None) -> Record:
        """See `Destination`."""
        document = record.document()
        clean = version_row(document, label=self.label, is_default=processed is None)
        # Fields that a user may have changed meanwhile, such as tags, are not set.
        fields = {key: document[key] for key in self.fields}
        rows = [clean, *([processed | {"created_at": now()}] if processed else [])]
        self.versions.add(record.id, rows, fields)
        return self.history.get(record.id)

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """See `Destination`."""
        self.history.fail(record.id, error, elapsed_s)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the record that the generation sets."""
        return (
            *("status", "error", "elapsed_s", "real_time_factor", "sample_rate", "software"),
            *("model_size", "parameters", "warnings", "request_id"),
        )


@dataclass(frozen=True)
class FailedTake(NewTake):
    """A retry of a failed take, in its record."""

    def begin(self, record: Generation, request_id: str) -> None:
        """See `Destination`."""
        self._begin(record, request_id, resumptions=0)

    def complete(self, record: Generation, processed: Record | None) -> Record:
        """See `Destination`. It replaces versions whose file is missing."""
        super().complete(record, processed)
        self.versions.forget_lost(record.id)
        return self.history.get(record.id)

    def _begin(self, record: Generation, request_id: str, resumptions: int) -> None:
        fields = {"request_id": request_id, "replica": self.history.replica}
        self.history.restart(record.id, resumptions=resumptions, **fields)


@dataclass(frozen=True)
class InterruptedTake(FailedTake):
    """An automatic resumption of a take that a stop or a crash interrupted."""

    def begin(self, record: Generation, request_id: str) -> None:
        """See `Destination`. Counted before the attempt: the take may crash the process."""
        self._begin(record, request_id, record.resumptions + 1)

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """See `Destination`. A regular stop does not count as an attempt."""
        tried = record.resumptions + (error != INTERRUPTED)
        self.history.fail(record.id, error, elapsed_s, resumptions=tried)


@dataclass(frozen=True)
class NewVersion(NewTake):
    """A new version of a finished take, which is unchanged until the version is complete."""

    def begin(self, record: Generation, request_id: str) -> None:
        """See `Destination`."""
        self.history.patch(record.id, request_id=request_id)

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """Does nothing: the take is unchanged."""


@dataclass(frozen=True)
class UnsavedTake:
    """A take that is not saved: neither record nor files."""

    keeps: bool = False
    label: str = "original"

    def begin(self, record: Generation, request_id: str) -> None:
        """Nothing to do."""

    def check(self) -> None:
        """Nothing to do."""

    def complete(self, record: Generation, processed: Record | None) -> Record:
        """Return the record without saving it."""
        return record.document()

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """Nothing to do."""
