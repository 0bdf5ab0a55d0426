"""Chatterbox's models as the registry knows them."""

from __future__ import annotations

from voicelab.engines.base import Plugin, Presence
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.weights import presence
from voicelab.settings import Settings

__all__ = ["PLUGIN"]


def _made(name: str, settings: Settings) -> ChatterboxEngine:
    return ChatterboxEngine(
        name,
        device=settings.device,
        checkpoint_dir=settings.checkpoint_dir,
        threads=settings.threads,
        mode=settings.mode,
        kernel=settings.kernel,
        multilingual=settings.multilingual_version,
    )


def _presence(name: str, settings: Settings) -> Presence:
    return presence(name, settings.checkpoint_dir, settings.multilingual_version)


PLUGIN = Plugin(tuple(CHATTERBOX_INFOS.values()), _made, _presence)
