"""Rules over records: history, voices, archives, statistics. No HTTP, no page."""

from voicelab.library.archive import export_archive, import_archive
from voicelab.library.files import Files
from voicelab.library.history import Filters, History
from voicelab.library.voices import Voices

__all__ = ["Files", "Filters", "History", "Voices", "export_archive", "import_archive"]
