"""A speech studio: chunked Chatterbox TTS with live progress, and every take kept.

    from voicelab import VoiceLab

    lab = VoiceLab.open()
    speech = lab.generate("The fjord was quiet.", seed=7)

Names are imported when they are first used, so that `import voicelab` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicelab.errors import VoicelabError
    from voicelab.generation import Speech
    from voicelab.lab import VoiceLab
    from voicelab.library import Filters
    from voicelab.records import GenerationRequest
    from voicelab.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Filters",
    "GenerationRequest",
    "Settings",
    "Speech",
    "VoiceLab",
    "VoicelabError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    homes = {
        "Filters": "voicelab.library",
        "GenerationRequest": "voicelab.records",
        "Settings": "voicelab.settings",
        "Speech": "voicelab.generation",
        "VoiceLab": "voicelab.lab",
        "VoicelabError": "voicelab.errors",
    }
    if name not in homes:
        raise AttributeError(f"module 'voicelab' has no attribute '{name}'")
    return getattr(import_module(homes[name]), name)


def __dir__() -> list[str]:
    return __all__
