"""Rules over records: takes, versions, profiles, archives, statistics. No HTTP, no page."""

from voicelab.library.archive import export_archive, export_many, import_archive
from voicelab.library.audio_import import import_audio
from voicelab.library.destination import (
    Destination,
    FailedTake,
    InterruptedTake,
    NewTake,
    NewVersion,
    Nowhere,
)
from voicelab.library.files import Files
from voicelab.library.history import INTERRUPTED, Filters, History
from voicelab.library.missing import Missing
from voicelab.library.policy import Policy
from voicelab.library.presets import Presets
from voicelab.library.profile_archive import export_profile, import_profile
from voicelab.library.profiles import Profiles
from voicelab.library.remote import open_files
from voicelab.library.replicas import Replicas
from voicelab.library.storage import Storage
from voicelab.library.stories import Stories
from voicelab.library.story_archive import export_story, import_story
from voicelab.library.tidying import Tidying
from voicelab.library.versions import Versions

__all__ = [
    "INTERRUPTED",
    "Destination",
    "FailedTake",
    "Files",
    "Filters",
    "History",
    "InterruptedTake",
    "Missing",
    "NewTake",
    "NewVersion",
    "Nowhere",
    "Policy",
    "Presets",
    "Profiles",
    "Replicas",
    "Storage",
    "Stories",
    "Tidying",
    "Versions",
    "export_archive",
    "export_many",
    "export_profile",
    "export_story",
    "import_archive",
    "import_audio",
    "import_profile",
    "import_story",
    "open_files",
]
