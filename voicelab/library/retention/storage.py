"""What the takes weigh, and the clean-up: the policy's takes, FLAC, and both ways of the sweep.

Favourites, takes in a story and takes being made are never touched by the policy.
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
from voicelab.library.retention.policy import Policy, leaving, making_room
from voicelab.library.retention.sweep import AT_ONCE, YOUNG_S, Sweep, check_share
from voicelab.library.retention.usage import usage_by_age, usage_by_profile
from voicelab.library.takes import STORY_ITEMS, History
from voicelab.library.versions import GENERATIONS, VERSIONS, Versions
from voicelab.store import Query, Store

__all__ = ["Storage"]

log = logging.getLogger(__name__)

SETTINGS, POLICY = "settings", "storage_policy"
LEAST_FREE_BYTES = 64 << 10
"""With less on the disk, no take is kept whatever the settings allow."""

ROW = (
    *("id", "created_at", "size_bytes", "profile_id", "is_favorited", "status", "text"),
    "request_id",
)
Record = dict[str, Any]
Progress = Callable[[str], object]


class Storage:
    """The disk space of a lab.

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
        """The one in force; nothing ever goes until one is set."""
        kept = self._store.get(SETTINGS, POLICY) or {}
        return Policy(**{f.name: kept[f.name] for f in fields(Policy) if f.name in kept})

    def set_policy(self, policy: Policy) -> Policy:
        """Put a policy in force, for the next clean-up and for new takes."""
        with self._store.batch():
            if self._store.get(SETTINGS, POLICY) is None:
                self._store.insert(SETTINGS, {"id": POLICY, **asdict(policy)})
            else:
                self._store.patch(SETTINGS, POLICY, asdict(policy))
        return policy

    def trouble(self) -> tuple[str, str] | None:
        """What keeps the lab from keeping takes: "error" or "degraded", and why in a sentence."""
        try:
            self._store.check()
        except StorageError as error:
            return "error", error.message
        try:
            self._files.check_free()
        except StorageError as error:
            return "degraded", error.message
        told = self._store.shortage()
        if told is None and self._files.free_bytes() < LEAST_FREE_BYTES:
            told = "The disk is full: no new take can be kept. Free some space."
        return ("degraded", told) if told else None

    def usage(self) -> Record:
        """Bytes by folder, by profile and by age of the takes, what is free, what no take has."""
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
        young_s: float = YOUNG_S,
        expected: int | None = None,
    ) -> Record:
        """What the policy asks to go, and what no record owns; or that it goes.

        Args:
            dry_run: only say it; nothing is changed.
            progress: called with a line for each thing that went.
            stop: asked between two files; when true, what is left waits for the next time.
            young_s: orphan files changed within so many seconds are left alone.
            expected: how many audio files are to go; without it no more than half of them may.

        Returns:
            deleted: takes, each with a reason: age, count, bytes, quota.
            compressed: versions that became FLAC, with the bytes saved (null in a dry run).
            not_compressed: versions whose WAV had to stay, with the error.
            orphan_files: files that no record names.
            missing_files: versions whose audio is gone; a take without any has failed.
            restored: ids of takes whose missing audio is there again.
            audio_files: how many there were; going_files: how many of them go.
            freed_bytes.

        Raises:
            Conflict: more than half of all audio files would go, or not as many as `expected`;
                the message says how many, nothing was changed.
            StorageError, StoreFull: the records cannot be written.
        """
        report = self._empty(dry_run)
        audio = list(self._files.audio_files())
        orphans = self._sweep.orphans(audio, young_s)
        if dry_run:
            going = list(self._going())
            report |= _counted(audio, orphans, self._files_of([take for take, _ in going]))
            report["deleted"] = [_told(*pair) for pair in going]
            report["orphan_files"] = orphans
            report["missing_files"] = self._sweep.missing(audio)
            report["restored"] = self._sweep.restorable()
            gone = {take["id"] for take in report["deleted"]}
            report["compressed"] = [_compressed(v) for v in self._wav_versions(gone)]
        else:
            with self._cleaning:
                self._apply(report, audio, orphans, expected, progress)
                audio = list(self._files.audio_files())
                report["missing_files"], report["restored"] = self._sweep.mark(audio)
                self._remove_orphans(report, orphans, progress, stop)
                self._compress(report, progress, stop)
        return _weighed(report)

    def tidy(self, stop: Callable[[], bool] = lambda: False) -> Record | None:
        """What the policy asks for, by itself; the report, None when no policy is in force.

        Files without a record are left to `cleanup`, which a person asks for: they may be all
        there is of the takes that an older copy of the records does not know. So is a policy that
        asks for more than half of all files: the clock may be wrong.
        """
        if not self.policy().active:
            return None
        report = self._empty(dry_run=False)
        with self._cleaning:
            if list(self._going()):
                self._apply_by_itself(report)
            self._compress(report, stop=stop)
        return _weighed(report)

    def check_quota(
        self, profile_id: str, sparing: str | None = None, clip: str | None = None
    ) -> None:
        """Make room for a new take of a profile, or refuse it.

        Args:
            profile_id: whose quota.
            sparing: id of a take that must not go, because it is about to be made again.
            clip: path of a voice clip that must stay, though no take has it: one will.

        Raises:
            TooLarge: the profile is at its quota, and the policy refuses or not enough may go.
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
                exempt = self._exempt(takes) | {sparing}
                going = making_room(takes, lambda take: take["id"] in exempt, over + 1)
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

    def _apply_by_itself(self, report: Record) -> None:
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
        # Chosen and forgotten in one commit: no take becomes a favourite in between.
        try:
            with self._store.batch(frees=True):
                going = list(self._going())
                paths = self._forget([take for take, _ in going])
                report |= _counted(audio, orphans or [], paths)
                check_share(report["going_files"], report["audio_files"], expected)
        except StoreFull:  # by and by: each part makes room for the next
            while self._apply_part(report, progress):
                pass
        else:
            self._removed(report, going, paths, progress)

    def _apply_part(self, report: Record, progress: Progress) -> int:
        with self._store.batch(frees=True):
            going = list(islice(self._going(), AT_ONCE))
            paths = self._forget([take for take, _ in going])
        self._removed(report, going, paths, progress)
        return len(going)

    def _removed(
        self,
        report: Record,
        going: list[tuple[Record, str]],
        paths: Iterable[str],
        progress: Progress,
    ) -> None:
        self._remove(paths)
        for take, reason in going:
            report["deleted"].append(_told(take, reason))
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
                report["compressed"].append(_compressed(version) | {"saved_bytes": saved})
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

    def _going(self) -> Iterable[tuple[Record, str]]:
        policy = self.policy()
        if not policy.active:
            return ()
        takes = self._takes(Query())
        exempt = self._exempt(takes)
        return leaving(policy, takes, lambda take: take["id"] in exempt, self._before)

    def _takes(self, query: Query) -> list[Record]:
        """The oldest first; of each what the rules need."""
        rows = self._store.values(GENERATIONS, ROW, query)
        takes: list[Record] = [dict(zip(ROW, row, strict=True)) for row in rows]
        return sorted(takes, key=lambda take: (take["created_at"], take["id"]))

    def _exempt(self, takes: list[Record]) -> set[str | None]:
        told = {id for (id,) in self._store.values(STORY_ITEMS, ("generation_id",))}
        return told | {
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


def _told(record: Record, reason: str) -> Record:
    keys = ("id", "created_at", "size_bytes")
    return {key: record[key] for key in keys} | {"text": record["text"][:60], "reason": reason}


def _counted(audio: list[AudioFile], orphans: list[Record], paths: set[str]) -> Record:
    """How many audio files there are, and how many go: those of some takes, and of none."""
    going = paths.intersection(path for path, _, _ in audio)
    going.update(orphan["path"] for orphan in orphans)
    return {"audio_files": len(audio), "going_files": len(going)}


def _compressed(version: Record) -> Record:
    return {
        "id": version["generation_id"],
        "version_id": version["id"],
        "size_bytes": version["size_bytes"],
        "saved_bytes": None,
    }


def _weighed(report: Record) -> Record:
    freed = sum(entry["saved_bytes"] or 0 for entry in report["compressed"])
    gone = (*report["deleted"], *report["orphan_files"])
    return report | {"freed_bytes": freed + sum(entry["size_bytes"] for entry in gone)}
