"""Everything that can speak, behind one protocol."""

from voicelab.engines.base import (
    Engine,
    EngineInfo,
    Parameter,
    Plugin,
    Presence,
    Spoken,
    Utterance,
    Voice,
)
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.languages import find_language
from voicelab.engines.registry import Registry, engine_names

__all__ = [
    "CHATTERBOX_INFOS",
    "Engine",
    "EngineInfo",
    "Parameter",
    "Plugin",
    "Presence",
    "Registry",
    "Spoken",
    "Utterance",
    "Voice",
    "engine_names",
    "find_language",
]
