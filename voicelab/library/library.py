"""The library of a lab: its takes, versions, profiles, presets and stories, and their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from voicelab.library.archives import Archives
from voicelab.library.files import open_files
from voicelab.library.filters import Filters
from voicelab.library.presets import Presets
from voicelab.library.profiles import Profiles
from voicelab.library.replicas import Replicas
from voicelab.library.retention.storage import Storage
from voicelab.library.retention.sweep import open_known
from voicelab.library.stories import Stories
from voicelab.library.takes import History
from voicelab.library.versions import Versions
from voicelab.settings import Settings
from voicelab.store import Store

__all__ = ["Library"]


class Library:
    """Takes, versions, profiles, presets and stories on one store and one folder of files.

    Args:
        settings: addresses of records and files.
        store: of the records; None for the one of the settings.
        make_room: called when the disk is full; frees space, returns the bytes freed.
        is_live: whether a request, by its id, is running or waiting.
        stop: ends a request, if it still runs.

    Raises:
        StoreLocked, StoreCorrupt, StorageError: the data folder cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store | None = None,
        *,
        make_room: Callable[[], int],
        is_live: Callable[[str | None], bool],
        stop: Callable[[str], None],
    ):
        place = (settings.data_dir, settings.audio_location())
        files = self.files = open_files(*place, settings.min_free_disk_mb, settings.cache_mb)
        files.make_room = make_room
        store = self.store = store or open_known(
            settings.records_location(), settings.durability, files
        )
        files.check = store.check
        self._stop = stop
        self.replicas = Replicas(store)
        self.profiles = Profiles(store, files, settings.aliases())
        self.presets = Presets(store)
        self.versions = Versions(store, files)
        self.history = History(store, files, self.profiles, self.versions, self.replicas.id)
        self.stories = Stories(store, files, self.history, self.versions)
        self.storage = Storage(store, files, self.history, self.versions, is_live=is_live)
        self.archives = Archives(
            store, files, self.history, self.versions, self.profiles, self.stories
        )

    def delete(self, id: str) -> None:
        """Delete a take with its files; one in progress is stopped first."""
        self.history.delete(id, stop=self._stop)

    def delete_many(self, ids: list[str] | None = None, filters: Filters | None = None) -> int:
        """Delete by ids, or all that match; returns how many."""
        return self.history.delete_many(ids, filters, stop=self._stop)

    def delete_profile(self, id: str, keep_generations: bool = False) -> dict[str, Any]:
        """Delete a profile, with its takes unless they are kept; see `Profiles.delete`."""
        if not keep_generations:
            for request_id in self.history.requests(id):
                self._stop(request_id)
        return self.profiles.delete(id, self.history.forget, keep_generations=keep_generations)

    def audio_path(self, id: str) -> Path:
        """The file of a take's default version; raises NotFound while there is none."""
        return self.files.path(self.history.get(id)["audio_path"] or "")
