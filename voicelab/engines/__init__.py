"""Everything that can speak, behind one protocol."""

from voicelab.engines.base import (
    Engine,
    EngineInfo,
    Parameter,
    Presence,
    Spoken,
    Utterance,
    Voice,
)
from voicelab.engines.rack import Rack

__all__ = [
    "Engine",
    "EngineInfo",
    "Parameter",
    "Presence",
    "Rack",
    "Spoken",
    "Utterance",
    "Voice",
]
