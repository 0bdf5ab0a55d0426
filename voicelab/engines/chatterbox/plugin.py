"""Chatterbox's three models as the registry knows them."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from voicelab.engines.base import LoadProgress, Plugin, Presence
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.fetching import fetch
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
    )


def _presence(name: str, settings: Settings) -> Presence:
    return presence(name, settings.checkpoint_dir)


def _fetch(name: str, settings: Settings, progress: LoadProgress, stop: Event) -> Path:
    return fetch(name, progress, stop)


PLUGIN = Plugin(tuple(CHATTERBOX_INFOS.values()), _made, _presence, _fetch)
