"""Takes, profiles and stories as ZIP archives."""

from voicelab.library.archives.archives import Archives
from voicelab.library.archives.missing import Missing

__all__ = ["Archives", "Missing"]
