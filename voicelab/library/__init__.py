"""Rules over records: takes, versions, profiles, archives, statistics. No HTTP, no page."""

from voicelab.library.archives.missing import Missing
from voicelab.library.archives.takes import (
    archive_name,
)
from voicelab.library.audio_import import import_audio
from voicelab.library.descriptions import described
from voicelab.library.destination import (
    Destination,
    FailedTake,
    InterruptedTake,
    NewTake,
    NewVersion,
    UnsavedTake,
)
from voicelab.library.files.local import TAKES, Files
from voicelab.library.files.remote import open_files
from voicelab.library.filters import Filters
from voicelab.library.library import Library
from voicelab.library.profiles import PROFILES, Profiles
from voicelab.library.repair.rebuilding import rebuild, unrecorded_files
from voicelab.library.repair.references import References
from voicelab.library.replicas import Replicas
from voicelab.library.retention.policy import Policy
from voicelab.library.retention.storage import Storage
from voicelab.library.retention.sweep import MIN_AGE_S, Sweep
from voicelab.library.stories import Stories
from voicelab.library.story_items import MAX_TRACKS
from voicelab.library.takes import INTERRUPTED, History
from voicelab.library.versions import Versions, processed, version_row
from voicelab.library.voices import OPENAI_VOICES, default_voice, library_item

__all__ = [
    "Destination",
    "FailedTake",
    "Files",
    "Filters",
    "History",
    "INTERRUPTED",
    "InterruptedTake",
    "Library",
    "MAX_TRACKS",
    "Missing",
    "NewTake",
    "NewVersion",
    "UnsavedTake",
    "OPENAI_VOICES",
    "PROFILES",
    "Policy",
    "Profiles",
    "References",
    "Replicas",
    "Storage",
    "Stories",
    "Sweep",
    "TAKES",
    "Versions",
    "MIN_AGE_S",
    "archive_name",
    "default_voice",
    "described",
    "import_audio",
    "library_item",
    "open_files",
    "processed",
    "rebuild",
    "unrecorded_files",
    "version_row",
]
