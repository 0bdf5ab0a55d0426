"""Disk usage and clean-up: the policy's deletions, conversion to FLAC, and the sweep of files.

The policy never deletes favourites, takes in a story and takes in progress.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from voicelab.errors import Conflict, NotFound, StorageError, StoreFull, TooLarge
from voicelab.library.files.local import CLIPS, TAKES, AudioFile, Files
from voicelab.library.retention.flac import compress
from voicelab.library.retention.policy import Policy, oldest_takes, takes_to_delete
from voicelab.library.retention.sweep import BATCH_SIZE, MIN_AGE_S, Sweep, check_share
from voicelab.library.retention.usage import usage_by_age, usage_by_profile
from voicelab.library.takes import STORY_ITEMS, History
from voicelab.library.versions import GENERATIONS, VERSIONS, Versions
from voicelab.store import Query, Store

__all__ = ["Storage"]

log = logging.getLogger(__name__)

SETTINGS, POLICY = "settings", "storage_policy"
MIN_FREE_BYTES = 64 << 10
"""Free disk space below which no take can be saved, whatever the settings are."""

ROW = (
    *("id", "created_at", "size_bytes", "profile_id", "is_favorited", "status", "text"),
    "request_id",
)
Record = dict[str, Any]
Progress = Callable[[str], object]


class Storage:
    """Manages the disk space of a lab.

    Args:
        store, files, history, versions: of the lab.
        clock: Unix time in seconds.
        is_live: whether a request, by its id, is running or waiting.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        history: History,
        versions: Versions,
        clock: Callable[[], float] = time.time,
        is_live: Callable[[str | None], bool] = lambda _: False,
    ):
        self._store = store
        self._files = files
        self._history = history
        self._sweep = Sweep(store, files, versions, clock)
        self._clock = clock
        self._is_live = is_live
        self._cleaning = threading.Lock()

    def policy(self) -> Policy:
        """The policy in force; until one is set nothing is deleted."""
        kept = self._store.get(SETTINGS, POLICY) or {}
        return Policy(**{f.name: kept[f.name] for f in fields(Policy) if f.name in kept})

    def set_policy(self, policy: Policy) -> Policy:
        """Set the policy for the next clean-up and for new takes."""
        with self._store.batch():
            if self._store.get(SETTINGS, POLICY) is None:
                self._store.insert(SETTINGS, {"id": POLICY, **asdict(policy)})
            else:
                self._store.patch(SETTINGS, POLICY, asdict(policy))
        return policy

    def trouble(self) -> tuple[str, str] | None:
        """Why takes cannot be saved: "error" or "degraded" and a message; None when they can."""
        try:
            self._store.check()
        except StorageError as error:
            return "error", error.message
        try:
            self._files.check_free()
        except StorageError as error:
            return "degraded", error.message
        message = self._store.shortage()
        if message is None and self._files.free_bytes() < MIN_FREE_BYTES:
            message = "The disk is full: no new take can be kept. Free some space."
        return ("degraded", message) if message else None

    def usage(self) -> Record:
        """Bytes by folder, by profile and by age of takes, free bytes, and files without a take."""
        by_profile = usage_by_profile(self._store, self._history.profile_names())
        audio = list(self._files.audio_files())
        folders, orphans = self._files.folder_bytes(audio), self._sweep.orphans(audio)
        return {
            "total_bytes": sum(folders.values()),
            "takes_bytes": folders.get(TAKES, 0),
            "clips_bytes": folders.get(CLIPS, 0),
            "profiles_bytes": folders.get("profiles", 0),
            "cache_bytes": folders.get("cache", 0),
            "records_bytes": folders.get("", 0),
            "free_bytes": self._files.free_bytes(),
            "takes": sum(entry["takes"] for entry in by_profile),
            "orphan_files": len(orphans),
            "orphan_bytes": sum(orphan["size_bytes"] for orphan in orphans),
            "by_profile": by_profile,
            "by_age": usage_by_age(self._store, self._before),
        }

    def cleanup(
        self,
        dry_run: bool = True,
        progress: Progress = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
        min_age_s: float = MIN_AGE_S,
        expected: int | None = None,
    ) -> Record:
        """Apply the policy, and delete files without a record; or only report it (dry run).

        Args:
            dry_run: only report; nothing is changed.
            progress: called with a line for each deletion or conversion.
            stop: called between two files; when true, the rest is left for the next time.
            min_age_s: minimum age of deleted orphan files, in seconds since the last change.
            expected: confirmed number of audio files to delete; without it at most half of all.

        Returns:
            deleted: takes, each with a reason: age, count, bytes, quota.
            compressed: versions converted to FLAC, with the bytes saved (null in a dry run).
            not_compressed: versions that could not be converted, with the error.
            orphan_files: files that no record names.
            missing_files: versions whose file is missing; a take without any becomes failed.
            restored: ids of failed takes whose file exists again.
            audio_files: number of all; going_files: number of those to delete.
            freed_bytes.

        Raises:
            Conflict: more than half of all audio files would be deleted, or not `expected` of them;
                the message has the number, nothing was changed.
            StorageError, StoreFull: the records cannot be written.
        """
        report = self._empty(dry_run)
        audio = list(self._files.audio_files())
        orphans = self._sweep.orphans(audio, min_age_s)
        if dry_run:
            going = list(self._takes_to_delete())
            report |= _file_counts(audio, orphans, self._files_of([take for take, _ in going]))
            report["deleted"] = [_deleted_entry(*pair) for pair in going]
            report["orphan_files"] = orphans
            report["missing_files"] = self._sweep.missing(audio)
            report["restored"] = self._sweep.restorable()
            gone = {take["id"] for take in report["deleted"]}
            report["compressed"] = [_compressed_entry(v) for v in self._wav_versions(gone)]
        else:
            with self._cleaning:
                self._apply(report, audio, orphans, expected, progress)
                audio = list(self._files.audio_files())
                report["missing_files"], report["restored"] = self._sweep.mark(audio)
                self._remove_orphans(report, orphans, progress, stop)
                self._compress(report, progress, stop)
        return _with_freed_bytes(report)

    def tidy(self, stop: Callable[[], bool] = lambda: False) -> Record | None:
        """Apply the policy without a user; the report, or None when no policy is in force.

        Files without a record are left for `cleanup`, as are deletions of more than half of all
        files: the records may be an older copy, or the clock may be wrong.
        """
        if not self.policy().active:
            return None
        report = self._empty(dry_run=False)
        with self._cleaning:
            if list(self._takes_to_delete()):
                self._apply_unattended(report)
            self._compress(report, stop=stop)
        return _with_freed_bytes(report)

    def check_quota(
        self, profile_id: str, except_id: str | None = None, clip: str | None = None
    ) -> None:
        """Delete takes of a profile that is at its quota, or refuse a new take.

        Args:
            profile_id: the profile of the new take.
            except_id: id of a take that must not be deleted, because it is about to be retried.
            clip: path of a voice clip that must not be deleted: the new take has it.

        Raises:
            TooLarge: the policy refuses, or not enough takes may be deleted.
        """
        policy = self.policy()
        if policy.quota_mb is None:
            return
        own = Query(where={"profile_id": profile_id})
        rows = self._store.tally(GENERATIONS, (), ("size_bytes",), own)
        if sum(size for _, size in rows) < policy.quota_mb * 2**20:
            return
        with self._store.batch(frees=True):
            takes = self._takes(own)
            over = sum(take["size_bytes"] for take in takes) - policy.quota_mb * 2**20
            if over < 0:
                return
            going: list[Record] = []
            if policy.quota_action == "evict":
                exempt = self._exempt(takes) | {except_id}
                going = oldest_takes(takes, lambda take: take["id"] in exempt, over + 1)
            if sum(take["size_bytes"] for take in going) <= over:
                raise TooLarge(
                    f"This profile has reached its quota of {policy.quota_mb:g} MiB; delete takes "
                    "of it first, or raise the quota."
                )
            paths = self._forget(going)
        self._remove(paths - {clip})

    def _empty(self, dry_run: bool) -> Record:
        names = ("deleted", "compressed", "not_compressed", "orphan_files", "missing_files")
        counts = {"audio_files": 0, "going_files": 0}
        return {"dry_run": dry_run} | counts | {name: [] for name in (*names, "restored")}

    def _apply_unattended(self, report: Record) -> None:
        try:
            self._apply(report, list(self._files.audio_files()))
        except Conflict as error:
            log.warning("the storage policy was not applied: %s", error.message)

    def _apply(
        self,
        report: Record,
        audio: list[AudioFile],
        orphans: list[Record] | None = None,
        expected: int | None = None,
        progress: Progress = lambda _: None,
    ) -> None:
        # Chosen and deleted in one commit: no take becomes a favourite in between.
        try:
            with self._store.batch(frees=True):
                going = list(self._takes_to_delete())
                paths = self._forget([take for take, _ in going])
                report |= _file_counts(audio, orphans or [], paths)
                check_share(report["going_files"], report["audio_files"], expected)
        except StoreFull:  # in parts: each frees space for the next
            while self._apply_part(report, progress):
                pass
        else:
            self._delete_files(report, going, paths, progress)

    def _apply_part(self, report: Record, progress: Progress) -> int:
        with self._store.batch(frees=True):
            going = list(islice(self._takes_to_delete(), BATCH_SIZE))
            paths = self._forget([take for take, _ in going])
        self._delete_files(report, going, paths, progress)
        return len(going)

    def _delete_files(
        self,
        report: Record,
        going: list[tuple[Record, str]],
        paths: Iterable[str],
        progress: Progress,
    ) -> None:
        self._remove(paths)
        for take, reason in going:
            report["deleted"].append(_deleted_entry(take, reason))
            progress(f"deleted ({reason}): {take['text'][:60]}")

    def _remove_orphans(
        self, report: Record, orphans: list[Record], progress: Progress, stop: Callable[[], bool]
    ) -> None:
        for orphan in orphans:
            if stop():
                return
            if self._files.delete(orphan["path"]):
                report["orphan_files"].append(orphan)
                progress(f"removed, no take has it: {orphan['path']}")

    def _compress(
        self,
        report: Record,
        progress: Progress = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        for version in self._wav_versions(set()):
            if stop():
                return
            try:
                saved = compress(version, self._store, self._files)
            except (NotFound, Conflict, StorageError) as error:
                failed = {"id": version["generation_id"], "version_id": version["id"]}
                report["not_compressed"].append(failed | {"error": error.message})
                if isinstance(error, StoreFull):
                    return
            else:
                report["compressed"].append(_compressed_entry(version) | {"saved_bytes": saved})
                progress(f"compressed: {version['audio_path']}")

    def _files_of(self, takes: list[Record]) -> set[str]:
        records = self._store.get_many(GENERATIONS, [take["id"] for take in takes])
        return self._history.files_of(records)

    def _forget(self, takes: list[Record]) -> set[str]:
        records = self._store.get_many(GENERATIONS, [take["id"] for take in takes])
        return self._history.forget(records) if records else set()

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._files.delete(path)

    def _takes_to_delete(self) -> Iterable[tuple[Record, str]]:
        policy = self.policy()
        if not policy.active:
            return ()
        takes = self._takes(Query())
        exempt = self._exempt(takes)
        return takes_to_delete(policy, takes, lambda take: take["id"] in exempt, self._before)

    def _takes(self, query: Query) -> list[Record]:
        """Rows of takes with the fields that the policy needs, the oldest first."""
        rows = self._store.values(GENERATIONS, ROW, query)
        takes: list[Record] = [dict(zip(ROW, row, strict=True)) for row in rows]
        return sorted(takes, key=lambda take: (take["created_at"], take["id"]))

    def _exempt(self, takes: list[Record]) -> set[str | None]:
        in_stories = {id for (id,) in self._store.values(STORY_ITEMS, ("generation_id",))}
        return in_stories | {
            take["id"]
            for take in takes
            if take["is_favorited"]
            or take["status"] == "pending"
            or self._is_live(take["request_id"])
        }

    def _wav_versions(self, gone: set[str]) -> list[Record]:
        days = self.policy().flac_after_days
        if days is None:
            return []
        names = ("id", "generation_id", "audio_path", "created_at", "size_bytes")
        query = Query(ranges={"created_at": (None, self._before(days))})
        rows = sorted(self._store.values(VERSIONS, names, query), key=lambda row: (row[3], row[0]))
        versions: list[Record] = [dict(zip(names, row, strict=True)) for row in rows]
        return [
            version
            for version in versions
            if version["audio_path"].endswith(".wav")
            and version["generation_id"] not in gone
            and self._files.exists(version["audio_path"])
        ]

    def _before(self, days: float) -> str:
        moment = datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=days)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _deleted_entry(record: Record, reason: str) -> Record:
    keys = ("id", "created_at", "size_bytes")
    return {key: record[key] for key in keys} | {"text": record["text"][:60], "reason": reason}


def _file_counts(audio: list[AudioFile], orphans: list[Record], paths: set[str]) -> Record:
    """Number of all audio files, and of those in `paths` or `orphans`."""
    going = paths.intersection(path for path, _, _ in audio)
    going.update(orphan["path"] for orphan in orphans)
    return {"audio_files": len(audio), "going_files": len(going)}


def _compressed_entry(version: Record) -> Record:
    return {
        "id": version["generation_id"],
        "version_id": version["id"],
        "size_bytes": version["size_bytes"],
        "saved_bytes": None,
    }


def _with_freed_bytes(report: Record) -> Record:
    freed = sum(entry["saved_bytes"] or 0 for entry in report["compressed"])
    gone = (*report["deleted"], *report["orphan_files"])
    return report | {"freed_bytes": freed + sum(entry["size_bytes"] for entry in gone)}
