"""Takes: kept, found, counted, deleted. Files go before records come, and after they have gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from voicelab.errors import InvalidInput, NotFound
from voicelab.library.files import Files
from voicelab.library.voices import Voices
from voicelab.records import Generation, now
from voicelab.store import Query, Store, Term

if TYPE_CHECKING:
    import pandas

__all__ = ["SORTS", "Filters", "History"]

GENERATIONS, VERSIONS = "generations", "versions"
SORTS = ("created_at", "duration", "text", "size_bytes", "real_time_factor")
SEARCHED = ("text", "tags", "instruct", "label")
Record = dict[str, Any]


@dataclass(frozen=True)
class Filters:
    """Which takes; None and empty do not filter.

    Attributes:
        search: words that must all occur, case-folded, in text, tags, instruct, label or the
            profile's name; plain substrings.
        sort: one of SORTS, "-" before it for ascending turned round; newest first by default.
    """

    profile_id: str | None = None
    search: str | None = None
    status: str | None = None
    engine: str | None = None
    language: str | None = None
    favorite: bool | None = None
    source: str | None = None
    tag: str | None = None
    created_after: str | None = None
    created_before: str | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    sort: str = "-created_at"

    @property
    def any(self) -> bool:
        """Whether anything is filtered."""
        return self != replace(Filters(), sort=self.sort)


class History:
    """The takes of a lab.

    Args:
        store: where the records are.
        files: where the audio is.
        voices: for the names of profiles.
    """

    def __init__(self, store: Store, files: Files, voices: Voices):
        self._store = store
        self._files = files
        self._voices = voices

    def add(self, generation: Generation) -> None:
        """Keep a record, usually a pending one."""
        self._store.insert(GENERATIONS, generation.document())

    def complete(self, generation: Generation) -> None:
        """Replace a pending record by the finished one, with its first version.

        Raises:
            NotFound: it was deleted meanwhile; its audio file is removed again.
        """
        document = generation.document()
        try:
            with self._store.batch():
                self._store.patch(GENERATIONS, generation.id, document)
                self._store.insert(VERSIONS, original_version(document))
        except Exception:
            self._files.delete(generation.audio_path)
            raise

    def fail(self, id: str, error: str, elapsed_s: float | None = None) -> None:
        """Mark a record as failed, if it is still there."""
        if self._store.get(GENERATIONS, id) is not None:
            fields = {"status": "failed", "error": error, "elapsed_s": elapsed_s}
            self._store.patch(GENERATIONS, id, fields)

    def recover(self) -> list[Record]:
        """Pending records of a process that died become failed; those records."""
        pending, _ = self._store.page(GENERATIONS, Query(where={"status": "pending"}))
        with self._store.batch():
            for record in pending:
                self.fail(record["id"], "interrupted")
        return pending

    def get(self, id: str) -> Record:
        """One take with its versions; raises NotFound."""
        document = self._store.get(GENERATIONS, id)
        if document is None:
            raise NotFound(f"There is no take {id[:40]}.", param="id")
        names = self._voices.names()
        return _wire(document, names) | {"versions": self.versions(id)}

    def versions(self, id: str) -> list[Record]:
        """The versions of a take, oldest first."""
        query = Query(where={"generation_id": id}, descending=False)
        return self._store.page(VERSIONS, query)[0]

    def list(
        self, filters: Filters | None = None, *, limit: int = 50, offset: int = 0
    ) -> tuple[list[Record], int]:
        """A page of takes, newest first, and how many there are after filtering.

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
        query = self._query(filters or Filters())
        documents, total = self._store.page(GENERATIONS, query, limit=limit, offset=offset)
        names = self._voices.names()
        return [_wire(document, names) for document in documents], total

    def search(self, words: str, limit: int = 50) -> list[Record]:
        """Takes with all the words, newest first."""
        return self.list(Filters(search=words), limit=limit)[0]

    def delete(self, id: str, stop: Callable[[str], None] = lambda _: None) -> None:
        """Record, versions and files; raises NotFound.

        Args:
            id: of the take.
            stop: called with the request id when the take is still being made.
        """
        record = self.get(id)
        if record["status"] == "pending" and record["request_id"]:
            stop(record["request_id"])
        with self._store.batch():
            for version in record["versions"]:
                self._store.delete(VERSIONS, version["id"])
            self._store.delete(GENERATIONS, id)
        paths = {version["audio_path"] for version in record["versions"]}
        for path in paths | {record["audio_path"]}:
            self._files.delete(path)
        clip = record.get("clip")
        if clip and not self._store.count(GENERATIONS, Query(where={"clip": clip})):
            self._files.delete(clip)

    def delete_many(
        self,
        ids: Sequence[str] | None = None,
        filters: Filters | None = None,
        stop: Callable[[str], None] = lambda _: None,
    ) -> int:
        """Delete by ids, or all that match; how many went."""
        if ids is None:
            documents, _ = self._store.page(GENERATIONS, self._query(filters or Filters()))
            ids = [document["id"] for document in documents]
        found = self._store.get_many(GENERATIONS, list(dict.fromkeys(ids)))
        for document in found:
            self.delete(document["id"], stop)
        return len(found)

    def toggle_favorite(self, id: str) -> bool:
        """Whether it is a favourite now; raises NotFound."""
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
        fields: Record = {}
        if is_favorited is not None:
            fields["is_favorited"] = is_favorited
        if tags is not None:
            cleaned = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
            if len(cleaned) > 50 or any(len(tag) > 50 for tag in cleaned):
                raise InvalidInput("At most 50 tags of 50 characters are allowed.", param="tags")
            fields["tags"] = cleaned
        if label is not None:
            fields["label"] = label[:200]
        if fields:
            self._store.patch(GENERATIONS, id, fields)
        return self.get(id)

    def stats(self) -> Record:
        """Totals of all takes; numbers, never null."""
        documents, _ = self._store.page(GENERATIONS, Query())
        factors = [d["real_time_factor"] for d in documents if d.get("real_time_factor")]
        return {
            "total_generations": len(documents),
            "total_duration_seconds": round(sum(d["duration"] or 0.0 for d in documents), 3),
            "generations_by_profile": _counts(documents, lambda d: d["profile_id"]),
            "by_engine": _counts(documents, lambda d: d["engine"]),
            "by_status": _counts(documents, lambda d: d["status"]),
            "by_day": _counts(documents, lambda d: d["created_at"][:10]),
            "by_language": _counts(documents, lambda d: d["language"]),
            "total_size_bytes": sum(d["size_bytes"] for d in documents),
            "average_real_time_factor": round(sum(factors) / len(factors), 4) if factors else 0.0,
        }

    def to_pandas(self, filters: Filters | None = None) -> pandas.DataFrame:
        """All matching takes as a table, newest first, a column for each key of a record."""
        import pandas

        documents, _ = self._store.page(GENERATIONS, self._query(filters or Filters()))
        names = self._voices.names()
        records = [_wire(document, names) for document in documents]
        frame = pandas.DataFrame.from_records(
            records or [], columns=list(records[0]) if records else KEYS
        )
        frame["created_at"] = pandas.to_datetime(frame["created_at"], utc=True)
        return frame

    def __iter__(self) -> Iterator[Record]:
        return iter(self.list(limit=500)[0])

    def __len__(self) -> int:
        return self._store.count(GENERATIONS)

    def _query(self, filters: Filters) -> Query:
        sort = filters.sort.removeprefix("-")
        if sort not in SORTS:
            raise InvalidInput(
                f"'{sort[:40]}' cannot be sorted by; there are {', '.join(SORTS)}.", param="sort"
            )
        where = {
            "profile_id": filters.profile_id,
            "status": filters.status,
            "engine": filters.engine,
            "language": filters.language,
            "source": filters.source,
            "is_favorited": filters.favorite,
        }
        spans = {
            "created_at": (filters.created_after, filters.created_before),
            "duration": (filters.min_duration_s, filters.max_duration_s),
        }
        return Query(
            where={key: value for key, value in where.items() if value not in (None, "")},
            has={"tags": filters.tag} if filters.tag else {},
            ranges={key: ends for key, ends in spans.items() if ends != (None, None)},
            terms=self._terms(filters.search or ""),
            order=sort,
            descending=filters.sort.startswith("-"),
        )

    def _terms(self, search: str) -> tuple[Term, ...]:
        names = self._voices.names()
        terms = []
        for word in search.casefold().split():
            ids = frozenset(id for id, name in names.items() if word in name.casefold())
            terms.append(Term(word, SEARCHED, {"profile_id": ids} if ids else {}))
        return tuple(terms)


def original_version(document: Record) -> Record:
    """The clean take as the first version of itself."""
    return {
        "id": document["active_version_id"],
        "generation_id": document["id"],
        "label": "original",
        "audio_path": document["audio_path"],
        "effects_chain": None,
        "source_version_id": None,
        "is_default": True,
        "created_at": now(),
        "duration": document["duration"],
        "size_bytes": document["size_bytes"],
    }


FIRST_KEYS = (
    *("id", "profile_id", "profile_name", "text", "language", "audio_path", "duration", "seed"),
    *("instruct", "engine", "model_size", "status", "error", "is_favorited", "created_at"),
)
KEYS = [*FIRST_KEYS, "parameters", "chunks", "source", "tags", "size_bytes", "real_time_factor"]


def _wire(document: Record, names: dict[str, str]) -> Record:
    """A record as every answer gives it: the studio's fifteen keys first."""
    record = document | {"profile_name": names.get(document["profile_id"], "Unassigned")}
    return {key: record.pop(key) for key in FIRST_KEYS} | record


def _counts(documents: list[Record], key: Callable[[Record], str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for document in documents:
        counts[key(document)] = counts.get(key(document), 0) + 1
    return counts
