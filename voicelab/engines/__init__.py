"""Everything that can speak, behind one protocol."""

from voicelab.engines.base import Engine, EngineInfo, Parameter, Presence, Spoken, Utterance, Voice
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.registry import Registry

__all__ = [
    "CHATTERBOX_INFOS",
    "Engine",
    "EngineInfo",
    "Parameter",
    "Presence",
    "Registry",
    "Spoken",
    "Utterance",
    "Voice",
]
