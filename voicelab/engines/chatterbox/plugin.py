"""Chatterbox's models as the registry knows them."""

from __future__ import annotations

from threading import Event

from voicelab.engines.base import LoadProgress, Plugin, Presence
from voicelab.engines.chatterbox.checkpoints import candidates
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.fetching import fetch
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.weights import presence
from voicelab.errors import EngineUnavailable
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


def _fetch(name: str, settings: Settings, progress: LoadProgress, stop: Event) -> None:
    """The best checkpoint that the hub has."""
    names = candidates(name, settings.multilingual_version, settings.checkpoint_dir)
    for each in names:
        try:
            fetch(each, progress, stop)
            return
        except EngineUnavailable:
            if each == names[-1] or stop.is_set():
                raise


PLUGIN = Plugin(tuple(CHATTERBOX_INFOS.values()), _made, _presence, _fetch)
