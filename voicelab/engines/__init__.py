"""Everything that can speak, behind one protocol."""

from voicelab.engines.base import (
    Engine,
    EngineInfo,
    Parameter,
    Plugin,
    Presence,
    Spoken,
    Transfer,
    Utterance,
    Voice,
)
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.languages import find_language
from voicelab.engines.registry import LoadState, Registry, engine_names

__all__ = [
    "CHATTERBOX_INFOS",
    "Engine",
    "EngineInfo",
    "LoadState",
    "Parameter",
    "Plugin",
    "Presence",
    "Registry",
    "Spoken",
    "Transfer",
    "Utterance",
    "Voice",
    "engine_names",
    "find_language",
]
