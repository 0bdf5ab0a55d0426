"""What the takes weigh, and which may go: age, number, bytes, quotas, FLAC, orphans.

Favourites, takes in a story and takes being made are never touched by the policy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from voicelab.errors import InvalidInput, Protected, TooLarge
from voicelab.library.files import CLIPS, TAKES, Files
from voicelab.library.flac import compress
from voicelab.library.history import STORY_ITEMS, History
from voicelab.library.versions import GENERATIONS, VERSIONS, Versions
from voicelab.store import Query, Store

__all__ = ["Policy", "Storage"]

SETTINGS, POLICY = "settings", "storage_policy"
YOUNG_S = 3600
"""Files that no record names are left alone for an hour: a running take may own them."""

AGES = (("last day", 1), ("last week", 7), ("last month", 30), ("older", None))
Record = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """When takes go, and when they are compressed; None never.

    Attributes:
        max_age_days: takes older than this go.
        max_takes: the oldest go when there are more.
        max_total_mb: the oldest go when all take more, in MiB.
        quota_mb: of each profile, in MiB.
        quota_action: at the quota, refuse a new take, or evict the profile's oldest.
        flac_after_days: older takes become FLAC, which loses nothing.
    """

    max_age_days: float | None = None
    max_takes: int | None = None
    max_total_mb: float | None = None
    quota_mb: float | None = None
    quota_action: str = "refuse"
    flac_after_days: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "quota_action":
                if value not in ("refuse", "evict"):
                    raise InvalidInput("quota_action is refuse or evict.", param=field.name)
            elif value is not None:
                _check_number(field.name, value, whole=field.name == "max_takes")


class Storage:
    """The disk space of a lab.

    Args:
        store, files, history, versions: of the lab.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        history: History,
        versions: Versions,
        clock: Callable[[], float] = time.time,
    ):
        self._store = store
        self._files = files
        self._history = history
        self._versions = versions
        self._clock = clock

    def policy(self) -> Policy:
        """The one in force; nothing ever goes until one is set."""
        kept = self._store.get(SETTINGS, POLICY) or {}
        return Policy(**{f.name: kept[f.name] for f in fields(Policy) if f.name in kept})

    def set_policy(self, policy: Policy) -> Policy:
        """Put a policy in force, for the next clean-up and for new takes."""
        if self._store.get(SETTINGS, POLICY) is None:
            self._store.insert(SETTINGS, {"id": POLICY, **asdict(policy)})
        else:
            self._store.patch(SETTINGS, POLICY, asdict(policy))
        return policy

    def usage(self) -> Record:
        """Bytes by folder, by profile and by age of the takes, and what is free."""
        names = ("profile_id", "created_at", "size_bytes")
        rows = self._store.values(GENERATIONS, names)
        folders = self._files.folder_bytes()
        return {
            "total_bytes": sum(folders.values()),
            "takes_bytes": folders.get(TAKES, 0),
            "clips_bytes": folders.get(CLIPS, 0),
            "profiles_bytes": folders.get("profiles", 0),
            "cache_bytes": folders.get("cache", 0),
            "records_bytes": folders.get("", 0),
            "free_bytes": self._files.free_bytes(),
            "takes": len(rows),
            "by_profile": self._by_profile(rows),
            "by_age": self._by_age(rows),
        }

    def cleanup(
        self, dry_run: bool = True, progress: Callable[[str], object] = lambda _: None
    ) -> Record:
        """What the policy asks to go, and what no record owns; or that it goes.

        Args:
            dry_run: only say it; nothing is changed.
            progress: called with a line for each thing that went.

        Returns:
            deleted: takes, each with a reason: age, count, bytes, quota.
            compressed: versions that become FLAC, with the bytes saved (null in a dry run).
            orphan_files: files that no record names.
            missing_files: versions whose audio is gone; a take without any has failed.
            freed_bytes.
        """
        going = list(self._going())
        report: Record = {
            "dry_run": dry_run,
            "deleted": [_told(record, reason) for record, reason in going],
            "compressed": [],
            "orphan_files": self._orphans(),
            "missing_files": self._missing(),
        }
        freed = sum(record["size_bytes"] for record, _ in going)
        if not dry_run:
            self._history.delete_many([record["id"] for record, _ in going])
            for record, reason in going:
                progress(f"deleted ({reason}): {record['text'][:60]}")
            self._drop_missing(report["missing_files"])
        gone = {record["id"] for record, _ in going}
        for version in self._wav_versions(gone):
            saved = None if dry_run else compress(version, self._store, self._files)
            report["compressed"].append({"version_id": version["id"], "saved_bytes": saved})
            freed += saved or 0
            if not dry_run:
                progress(f"compressed: {version['audio_path']}")
        for orphan in report["orphan_files"]:
            freed += orphan["size_bytes"]
            if not dry_run:
                self._files.delete(orphan["path"])
                progress(f"removed, no take has it: {orphan['path']}")
        report["freed_bytes"] = freed
        return report

    def tidy(self) -> Record | None:
        """Clean up when a policy is in force; the report, None when there is none."""
        return None if self.policy() == Policy() else self.cleanup(dry_run=False)

    def check_quota(self, profile_id: str) -> None:
        """Make room for a new take of a profile, or refuse it.

        Raises:
            TooLarge: the profile is at its quota, and the policy refuses or finds nothing to go.
        """
        policy = self.policy()
        if policy.quota_mb is None:
            return
        takes = self._takes(Query(where={"profile_id": profile_id}))
        over = sum(take["size_bytes"] for take in takes) - policy.quota_mb * 2**20
        if over < 0:
            return
        if policy.quota_action == "evict":
            going = list(_until(self._free_to_go(takes), over + 1))
            self._history.delete_many([take["id"] for take in going])
            over -= sum(take["size_bytes"] for take in going)
        if over >= 0:
            raise TooLarge(
                f"This profile has reached its quota of {policy.quota_mb:g} MiB; delete takes "
                "of it first, or raise the quota."
            )

    def _going(self) -> Iterator[tuple[Record, str]]:
        """The takes that the policy sends away, each once, the oldest first."""
        policy = self.policy()
        takes = self._takes(Query())
        gone: set[str] = set()

        def left() -> list[Record]:
            return [take for take in takes if take["id"] not in gone]

        def send(going: Iterable[Record], reason: str) -> Iterator[tuple[Record, str]]:
            for take in list(going):
                gone.add(take["id"])
                yield take, reason

        if policy.max_age_days is not None:
            limit = self._before(policy.max_age_days)
            old = (take for take in self._free_to_go(takes) if take["created_at"] < limit)
            yield from send(old, "age")
        if policy.max_takes is not None:
            excess = max(0, len(left()) - policy.max_takes)
            yield from send(self._free_to_go(left())[:excess], "count")
        if policy.max_total_mb is not None:
            over = sum(take["size_bytes"] for take in left()) - policy.max_total_mb * 2**20
            yield from send(_until(self._free_to_go(left()), over), "bytes")
        if policy.quota_mb is not None and policy.quota_action == "evict":
            for profile_id in {take["profile_id"] for take in left()}:
                own = [take for take in left() if take["profile_id"] == profile_id]
                over = sum(take["size_bytes"] for take in own) - policy.quota_mb * 2**20
                yield from send(_until(self._free_to_go(own), over), "quota")

    def _takes(self, query: Query) -> list[Record]:
        """The oldest first; of each what the rules need."""
        names = ("id", "created_at", "size_bytes", "profile_id", "is_favorited", "status", "text")
        rows = self._store.values(GENERATIONS, names, query)
        takes: list[Record] = [dict(zip(names, row, strict=True)) for row in rows]
        return sorted(takes, key=lambda take: (take["created_at"], take["id"]))

    def _free_to_go(self, takes: list[Record]) -> list[Record]:
        told = {id for (id,) in self._store.values(STORY_ITEMS, ("generation_id",))}
        return [
            take
            for take in takes
            if not take["is_favorited"] and take["status"] != "pending" and take["id"] not in told
        ]

    def _wav_versions(self, gone: set[str]) -> list[Record]:
        days = self.policy().flac_after_days
        if days is None:
            return []
        query = Query(ranges={"created_at": (None, self._before(days))}, descending=False)
        versions, _ = self._store.page(VERSIONS, query)
        return [
            version
            for version in versions
            if version["audio_path"].endswith(".wav")
            and version["generation_id"] not in gone
            and self._files.exists(version["audio_path"])
        ]

    def _orphans(self) -> list[Record]:
        """Files of takes and clips that no record names and that are an hour old."""
        named = {path for (path,) in self._store.values(VERSIONS, ("audio_path",))}
        for pair in self._store.values(GENERATIONS, ("audio_path", "clip")):
            named.update(path for path in pair if path)
        limit = self._clock() - YOUNG_S
        return [
            {"path": path, "size_bytes": size}
            for path, size, changed in self._files.audio_files()
            if path not in named and changed < limit
        ]

    def _missing(self) -> list[Record]:
        """Versions whose file is not there."""
        names = ("id", "generation_id", "audio_path")
        rows: list[Record] = [
            dict(zip(names, row, strict=True)) for row in self._store.values(VERSIONS, names)
        ]
        return [row for row in rows if not self._files.exists(row["audio_path"])]

    def _drop_missing(self, missing: list[Record]) -> None:
        with self._store.batch():
            for row in missing:
                try:
                    self._versions.delete(row["generation_id"], row["id"])
                except Protected:
                    # The text and the settings are worth keeping: the take can be made again.
                    self._store.delete(VERSIONS, row["id"])
                    fields = {"status": "failed", "error": "The audio file is gone."}
                    gone = {**fields, "audio_path": None, "size_bytes": 0}
                    self._store.patch(GENERATIONS, row["generation_id"], gone)

    def _by_profile(self, rows: list[tuple[Any, ...]]) -> list[Record]:
        found: dict[str, Record] = {}
        names = self._history.profile_names()
        for profile_id, _, size in rows:
            name = names.get(profile_id, "Unassigned")
            entry = {"profile_id": profile_id, "profile_name": name, "takes": 0, "size_bytes": 0}
            entry = found.setdefault(profile_id, entry)
            entry["takes"] += 1
            entry["size_bytes"] += size
        return sorted(found.values(), key=lambda entry: -entry["size_bytes"])

    def _by_age(self, rows: list[tuple[Any, ...]]) -> list[Record]:
        limits = [(label, self._before(days) if days else "") for label, days in AGES]
        found = {label: {"label": label, "takes": 0, "size_bytes": 0} for label, _ in limits}
        for _, created_at, size in rows:
            label = next(label for label, limit in limits if created_at >= limit)
            found[label]["takes"] += 1
            found[label]["size_bytes"] += size
        return list(found.values())

    def _before(self, days: float) -> str:
        moment = datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=days)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _check_number(name: str, value: Any, whole: bool) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= 1e9:
        number = "whole number" if whole else "number"
        raise InvalidInput(
            f"{name} is {str(value)[:40]}; a {number} from 0 to 1,000,000,000 is allowed.",
            param=name,
        )
    if name.endswith("_days") and value > 36_500:
        raise InvalidInput(f"{name} is {value}; at most 36,500 days are allowed.", param=name)


def _until(takes: list[Record], size_bytes: float) -> Iterator[Record]:
    """The first of them that make up so many bytes."""
    for take in takes:
        if size_bytes <= 0:
            return
        size_bytes -= take["size_bytes"]
        yield take


def _told(record: Record, reason: str) -> Record:
    keys = ("id", "created_at", "size_bytes")
    return {key: record[key] for key in keys} | {"text": record["text"][:60], "reason": reason}
