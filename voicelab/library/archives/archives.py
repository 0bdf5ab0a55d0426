"""Export and import of takes, profiles and stories as ZIP archives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from voicelab.library.archives.missing import Missing
from voicelab.library.archives.profiles import export_profile, import_profile
from voicelab.library.archives.stories import export_story, import_story
from voicelab.library.archives.takes import export_archive, export_many, import_archive
from voicelab.library.files.local import Files
from voicelab.library.profiles import Profiles
from voicelab.library.stories import Stories
from voicelab.library.takes import History
from voicelab.library.versions import Versions
from voicelab.store import Store

__all__ = ["Archives"]


@dataclass(frozen=True)
class Archives:
    """Exports and imports over one library.

    Every import raises BadArchive, TooLarge or StoreFull, and adds all of an archive or nothing.
    """

    store: Store
    files: Files
    history: History
    versions: Versions
    profiles: Profiles
    stories: Stories

    def export_take(self, id: str, missing: Missing | None = None) -> bytes:
        """A take as a ZIP in the studio's layout; `missing` gets what is left out."""
        return export_archive(self.history.get(id), self.files, missing)

    def export_takes(self, ids: list[str], sink: BinaryIO) -> Missing:
        """Many takes as one ZIP; what was left out. Raises NotFound, Conflict when all is."""
        return export_many(ids, self.history, self.files, sink)

    def import_takes(self, file: BinaryIO) -> list[dict[str, Any]]:
        """Add the takes of a ZIP; their records."""
        self.files.check_free()
        return import_archive(
            file,
            store=self.store,
            files=self.files,
            profiles=self.profiles,
            history=self.history,
        )

    def export_profile(self, id: str, missing: Missing | None = None) -> tuple[str, bytes]:
        """File name and ZIP of a profile; raises NotFound."""
        return export_profile(self.profiles.get(id), self.profiles, self.files, missing)

    def import_profile(self, file: BinaryIO) -> dict[str, Any]:
        """Add the profile of a ZIP; its record."""
        self.files.check_free()
        return import_profile(file, store=self.store, profiles=self.profiles, files=self.files)

    def export_story(self, id: str, sink: BinaryIO) -> Missing:
        """A story with its takes as a ZIP; what was left out. Raises NotFound, Conflict."""
        return export_story(self.stories.get(id), self.history, self.files, sink)

    def import_story(self, file: BinaryIO) -> dict[str, Any]:
        """Add the story of a ZIP with its takes; its record."""
        self.files.check_free()
        return import_story(
            file,
            store=self.store,
            files=self.files,
            profiles=self.profiles,
            versions=self.versions,
            stories=self.stories,
        )
