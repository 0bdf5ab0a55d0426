"""Where a take is saved: a new record, a failed one, another version, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from voicelab.library.takes import INTERRUPTED, History
from voicelab.library.versions import Versions, version_row
from voicelab.records import Generation, now

__all__ = ["Destination", "FailedTake", "InterruptedTake", "NewTake", "NewVersion", "UnsavedTake"]

Record = dict[str, Any]


class Destination(Protocol):
    """Told of a take's beginning and of its one end."""

    @property
    def label(self) -> str:
        """Of the clean version."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether there is a file."""
        ...

    def begin(self, record: Generation, request_id: str) -> None:
        """The checks are done, nothing is spoken yet."""
        ...

    def check(self) -> None:
        """Raise StorageError when the take could not be kept any more; asked at each chunk."""
        ...

    def complete(self, record: Generation, processed: Record | None) -> Record:
        """The files are whole: of the clean take and, with effects, of its processed version.

        Returns:
            The record as everybody gets it.

        Raises:
            NotFound: it was deleted meanwhile; the files are gone, too.
        """
        ...

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """There is no file; raises NotFound when the record is gone."""
        ...


@dataclass(frozen=True)
class NewTake:
    """A record of its own, pending until it is whole."""

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
        # What a user may have changed meanwhile, such as tags, is left alone.
        fields = {key: document[key] for key in self.fields}
        rows = [clean, *([processed | {"created_at": now()}] if processed else [])]
        self.versions.add(record.id, rows, fields)
        return self.history.get(record.id)

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """See `Destination`."""
        self.history.fail(record.id, error, elapsed_s)

    @property
    def fields(self) -> tuple[str, ...]:
        """Of the record, what the making has changed."""
        return (
            *("status", "error", "elapsed_s", "real_time_factor", "sample_rate", "software"),
            *("model_size", "parameters", "warnings", "request_id"),
        )


@dataclass(frozen=True)
class FailedTake(NewTake):
    """A record that failed, made after all."""

    def begin(self, record: Generation, request_id: str) -> None:
        """See `Destination`."""
        self._begin(record, request_id, resumptions=0)

    def complete(self, record: Generation, processed: Record | None) -> Record:
        """See `Destination`. Versions whose loss made the take fail are replaced by it."""
        super().complete(record, processed)
        self.versions.forget_lost(record.id)
        return self.history.get(record.id)

    def _begin(self, record: Generation, request_id: str, resumptions: int) -> None:
        fields = {"request_id": request_id, "replica": self.history.replica}
        self.history.begin_again(record.id, resumptions=resumptions, **fields)


@dataclass(frozen=True)
class InterruptedTake(FailedTake):
    """A record that a stop or a crash left, made after all without anybody asking."""

    def begin(self, record: Generation, request_id: str) -> None:
        """See `Destination`. Counted before it is tried: it may be what ends the process."""
        self._begin(record, request_id, record.resumptions + 1)

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """See `Destination`. A stop in order is no attempt of this take."""
        tried = record.resumptions + (error != INTERRUPTED)
        self.history.fail(record.id, error, elapsed_s, resumptions=tried)


@dataclass(frozen=True)
class NewVersion(NewTake):
    """One more version of a finished take, which stays as it is until this one is whole."""

    def begin(self, record: Generation, request_id: str) -> None:
        """See `Destination`."""
        self.history.patch(record.id, request_id=request_id)

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """Nothing was changed."""


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
        """The record, unsaved."""
        return record.document()

    def fail(self, record: Generation, error: str, elapsed_s: float) -> None:
        """Nothing to do."""
