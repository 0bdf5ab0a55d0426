"""Chatterbox; torch is imported when weights are loaded, not before."""

from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.weights import presence

__all__ = ["CHATTERBOX_INFOS", "ChatterboxEngine", "presence"]
