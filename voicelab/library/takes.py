"""Takes: saving, listing, statistics, deletion. Files are deleted after their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from voicelab.errors import InvalidInput, NotFound, StorageError, StoreFull
from voicelab.library.files.local import Files
from voicelab.library.filters import Filters
from voicelab.library.profiles import Profiles
from voicelab.library.versions import GENERATIONS, VERSIONS, Versions
from voicelab.records import Generation
from voicelab.store import Query, Store
from voicelab.text import check_name

if TYPE_CHECKING:
    import pandas

__all__ = ["INTERRUPTED", "MAX_RESUMPTIONS", "STORY_ITEMS", "History"]

STORY_ITEMS = "story_items"
INTERRUPTED = "interrupted"
"""Error of a take whose process ended while it was being made."""

MAX_RESUMPTIONS = 3
"""Limit of automatic resumptions of a take that ended in a crash: it may be the cause."""

SMALL_COUNT = 100
"""Up to this many takes are looked up one by one; for more the whole table is read."""

Record = dict[str, Any]


class History:
    """The takes of a lab.

    Args:
        store, files, profiles, versions: of the lab.
        replica: id of this process when several share the records.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        profiles: Profiles,
        versions: Versions,
        replica: str | None = None,
    ):
        self.replica = replica
        self._store = store
        self._files = files
        self._profiles = profiles
        self._versions = versions
        self._unsaved_failures: dict[str, Record] = {}
        """Id -> fields of a failed take that could not be written."""

    def add(self, generation: Generation) -> None:
        """Add a record, usually a pending one."""
        self._store.insert(GENERATIONS, generation.document())

    def check(self) -> None:
        """Raise StorageError when no record can be written any more."""
        self._store.check()

    def patch(self, id: str, **fields: Any) -> None:
        """Set fields of a record; raises NotFound."""
        self._store.patch(GENERATIONS, id, self._unsaved_failures.get(id, {}) | fields)
        self._unsaved_failures.pop(id, None)

    def restart(self, id: str, **fields: Any) -> None:
        """Make a failed take pending again.

        Raises:
            NotFound; Conflict: it is not failed (any more), as when another replica was first.
        """
        if id in self._unsaved_failures:
            self.patch(id)
        fields |= {"status": "pending", "error": None}
        self._store.patch(GENERATIONS, id, fields, expected={"status": "failed"})

    def interrupted(self) -> list[Record]:
        """Takes that may be resumed automatically, the oldest first."""
        query = Query(where={"status": "failed", "error": INTERRUPTED}, descending=False)
        found, _ = self._store.page(GENERATIONS, query)
        return [
            record
            for record in found
            if record["seed"] is not None and record.get("resumptions", 0) < MAX_RESUMPTIONS
        ]

    def fail(self, id: str, error: str, elapsed_s: float, **more: Any) -> None:
        """Mark a take as failed.

        Raises:
            NotFound; StorageError: it cannot be written. This process shows it as failed all the
                same; the next process marks it as interrupted.
        """
        fields = {"status": "failed", "error": error, "elapsed_s": elapsed_s} | more
        try:
            self.patch(id, **fields)
        except StorageError:
            self._unsaved_failures[id] = fields
            raise

    def recover(self, alive: Collection[str] = ()) -> list[Record]:
        """Mark pending takes as failed, except those of replicas `alive`; the changed records."""
        pending = Query(where={"status": "pending"})
        if not self._store.count(GENERATIONS, pending):
            return []
        with self._store.batch(frees=True):  # a few bytes, which are needed to start
            found, _ = self._store.page(GENERATIONS, pending)
            interrupted = [record for record in found if record.get("replica") not in alive]
            for record in interrupted:
                self.patch(record["id"], status="failed", error=INTERRUPTED)
        return interrupted

    def get(self, id: str) -> Record:
        """One take with its versions; raises NotFound."""
        document = self._store.get(GENERATIONS, id)
        if document is None:
            raise NotFound(f"There is no take {id[:40]}.", param="id")
        names = self._profiles.names()
        return self._wire(document, names) | {"versions": self._versions.of(id)}

    def list(
        self, filters: Filters | None = None, *, limit: int = 50, offset: int = 0
    ) -> tuple[list[Record], int]:
        """A page of takes, newest first, and the number of all that match.

        Args:
            filters: see `Filters`.
            limit: 1-500.
            offset: 0 or more.

        Raises:
            InvalidInput: a value out of range.
        """
        if not 1 <= limit <= 500:
            raise InvalidInput(f"limit is {limit}; 1 to 500 are allowed.", param="limit")
        if offset < 0:
            raise InvalidInput(f"offset is {offset}; it cannot be negative.", param="offset")
        query = self._query(filters)
        documents, total = self._store.page(GENERATIONS, query, limit=limit, offset=offset)
        names = self._profiles.names()
        versions = self._versions.listed([document["id"] for document in documents])
        rows = [self._wire(each, names) | {"versions": versions[each["id"]]} for each in documents]
        return rows, total

    def search(self, words: str, limit: int = 50) -> list[Record]:
        """Takes with all the words, newest first."""
        return self.list(Filters(search=words), limit=limit)[0]

    def delete(self, id: str, stop: Callable[[str], None] = lambda _: None) -> None:
        """Delete a take with its versions, files and story items; raises NotFound.

        Args:
            id: of the take.
            stop: called with the request id when the take is still in progress.
        """
        self.get(id)
        self.delete_many([id], stop=stop)

    def delete_many(
        self,
        ids: Sequence[str] | None = None,
        filters: Filters | None = None,
        stop: Callable[[str], None] = lambda _: None,
    ) -> int:
        """Delete by ids, or all that match; returns how many. In one commit if the disk allows."""
        if ids is None:
            records, _ = self._store.page(GENERATIONS, self._query(filters))
        else:
            records = self._store.get_many(GENERATIONS, list(dict.fromkeys(ids)))
        for record in records:
            if record["request_id"]:
                stop(record["request_id"])
        try:
            self._delete(records)
        except StoreFull:  # in parts: each frees space for the next
            if len(records) <= SMALL_COUNT:
                raise
            for start in range(0, len(records), SMALL_COUNT):
                self._delete(records[start : start + SMALL_COUNT])
        return len(records)

    def _delete(self, records: Sequence[Record]) -> None:
        with self._store.batch(frees=True):
            paths = self.forget(records)
        for path in paths:
            self._files.delete(path)

    def profile_names(self) -> dict[str, str]:
        """Profile id -> name."""
        return self._profiles.names()

    def requests(self, profile_id: str) -> list[str]:
        """The last request of each take of a profile."""
        query = Query(where={"profile_id": profile_id})
        return [id for (id,) in self._store.values(GENERATIONS, ("request_id",), query) if id]

    def forget(self, records: Sequence[Record]) -> set[str]:
        """Remove takes, within the caller's batch; returns the files to delete after it."""
        deleted, paths = {record["id"] for record in records}, self.files_of(records)
        for id in deleted & self._unsaved_failures.keys():
            del self._unsaved_failures[id]
        versions = self._of(VERSIONS, deleted, "id")
        items = self._of(STORY_ITEMS, deleted, "id")
        self._store.delete_many(VERSIONS, [id for id, _ in versions])
        self._store.delete_many(STORY_ITEMS, [id for id, _ in items])
        self._store.delete_many(GENERATIONS, deleted)
        return paths

    def files_of(self, records: Sequence[Record]) -> set[str]:
        """The files that only these takes use."""
        deleted = {record["id"] for record in records}
        clips = {record["clip"] for record in records if record.get("clip")}
        named = self._store.values(GENERATIONS, ("id", "clip")) if clips else []
        kept = {clip for id, clip in named if id not in deleted}
        paths = {path for _, path in self._of(VERSIONS, deleted, "audio_path")}
        paths |= {record["audio_path"] for record in records}
        return {path for path in paths | (clips - kept) if path}

    def _of(self, table: str, ids: set[str], field: str) -> list[tuple[Any, ...]]:
        """(id, field) of the documents of some takes."""
        if len(ids) > SMALL_COUNT:
            rows = self._store.values(table, ("id", field, "generation_id"))
            return [row[:2] for row in rows if row[2] in ids]
        queries = [Query(where={"generation_id": id}) for id in ids]
        return [row for query in queries for row in self._store.values(table, ("id", field), query)]

    def toggle_favorite(self, id: str) -> bool:
        """Toggle a favourite; returns the new state. Raises NotFound."""
        with self._store.batch():
            favorite = not self.get(id)["is_favorited"]
            self._store.patch(GENERATIONS, id, {"is_favorited": favorite})
        return favorite

    def change(
        self,
        id: str,
        *,
        is_favorited: bool | None = None,
        tags: Sequence[str] | None = None,
        label: str | None = None,
    ) -> Record:
        """Set what is not None; the record. Raises NotFound, InvalidInput."""
        self.get(id)
        if fields := _changes(is_favorited, tags, label):
            self._store.patch(GENERATIONS, id, fields)
        return self.get(id)

    def change_many(
        self,
        ids: Sequence[str],
        *,
        is_favorited: bool | None = None,
        add_tags: Sequence[str] = (),
        profile_id: str | None = None,
    ) -> int:
        """Change many takes in one commit; returns how many existed.

        Raises:
            InvalidInput: the tags.
            NotFound: no such profile.
        """
        if profile_id is not None:
            self._profiles.get(profile_id)
        records = self._store.get_many(GENERATIONS, list(dict.fromkeys(ids)))
        with self._store.batch():
            for record in records:
                tags = [*record["tags"], *add_tags] if add_tags else None
                fields = _changes(is_favorited, tags, None)
                if profile_id is not None:
                    fields["profile_id"] = profile_id
                self._store.patch(GENERATIONS, record["id"], fields)
        return len(records)

    def stats(self) -> Record:
        """Totals of all takes; numbers, never null."""
        by = ("profile_id", "engine", "status", "language", ("created_at", 10))
        rows = self._store.tally(GENERATIONS, by, ("duration", "size_bytes", "real_time_factor"))
        counts = [Counter[str]() for _ in by]
        for row in rows:
            for found, value in zip(counts, row, strict=False):
                found[value] += row[len(by)]
        profiles, engines, statuses, languages, days = map(dict, counts)
        total, duration_s, size_bytes, factors = (
            sum(row[position] for row in rows) for position in range(len(by), len(by) + 4)
        )
        timed = self._store.count(GENERATIONS, Query(ranges={"real_time_factor": (1e-4, None)}))
        return {
            "total_generations": total,
            "total_duration_seconds": round(float(duration_s), 3),
            "generations_by_profile": profiles,
            "by_engine": engines,
            "by_status": statuses,
            "by_day": days,
            "by_language": languages,
            "total_size_bytes": int(size_bytes),
            "average_real_time_factor": round(factors / timed, 4) if timed else 0.0,
        }

    def each(self, filters: Filters | None = None) -> Iterator[Record]:
        """All matching takes, newest first, one after the other."""
        documents, _ = self._store.page(GENERATIONS, self._query(filters))
        names = self._profiles.names()
        return (self._wire(document, names) for document in documents)

    def to_pandas(
        self, filters: Filters | None = None, columns: Sequence[str] = ()
    ) -> pandas.DataFrame:
        """All matching takes as a table.

        Args:
            filters: see `Filters`.
            columns: keys of a record, which is fast, but with rows in no defined order; when empty
                all keys, newest first.
        """
        import pandas  # start-up time: half a second or more

        if columns:
            rows = self._store.values(GENERATIONS, columns, self._query(filters))
            frame = pandas.DataFrame(rows, columns=list(columns))
        else:
            records = list(self.each(filters))
            frame = pandas.DataFrame.from_records(
                records, columns=list(records[0]) if records else KEYS
            )
        if "created_at" in frame:
            frame["created_at"] = pandas.to_datetime(frame["created_at"], utc=True)
        return frame

    def __iter__(self) -> Iterator[Record]:
        return iter(self.list(limit=500)[0])

    def __len__(self) -> int:
        return self._store.count(GENERATIONS)

    def _query(self, filters: Filters | None) -> Query:
        return (filters or Filters()).query(self._profiles.names)

    def _wire(self, document: Record, names: dict[str, str]) -> Record:
        return _wire(document | self._unsaved_failures.get(document["id"], {}), names)


FIRST_KEYS = (
    *("id", "profile_id", "profile_name", "text", "language", "audio_path", "duration", "seed"),
    *("instruct", "engine", "model_size", "status", "error", "is_favorited", "created_at"),
)
KEYS = [*FIRST_KEYS, "parameters", "chunks", "source", "tags", "size_bytes", "real_time_factor"]


def _wire(document: Record, names: dict[str, str]) -> Record:
    """A record as in all responses: the studio's fifteen keys first."""
    record = document | {"profile_name": names.get(document["profile_id"], "Unassigned")}
    return {key: record.pop(key) for key in FIRST_KEYS} | record


def _changes(is_favorited: bool | None, tags: Sequence[str] | None, label: str | None) -> Record:
    fields: Record = {}
    if is_favorited is not None:
        fields["is_favorited"] = is_favorited
    if tags is not None:
        named = (check_name("tags", tag, 0, 50) for tag in tags)
        cleaned = list(dict.fromkeys(tag for tag in named if tag))
        if len(cleaned) > 50:
            raise InvalidInput("At most 50 tags are allowed.", param="tags")
        fields["tags"] = cleaned
    if label is not None:
        fields["label"] = check_name("label", label, 0, 200)
    return fields
