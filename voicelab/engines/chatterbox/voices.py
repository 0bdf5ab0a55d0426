"""Conditionals: what the model made of a voice clip, kept by the clip's hash."""

from __future__ import annotations

import copy
import hashlib
import logging
from pathlib import Path
from typing import Any

from voicelab.engines.base import Voice
from voicelab.engines.chatterbox.lru_cache import LruCache
from voicelab.engines.chatterbox.suppression import suppressed_output
from voicelab.errors import SpeechFailed

__all__ = ["Voices", "hashed", "own_copy"]

log = logging.getLogger(__name__)

KEPT = 16
"""Voices; about 0.3 MB each."""


class Voices:
    """The model's own voice, and the last `size` encoded clips; the one unused for longest goes
    first.

    Not locked: used under the engine's lock.

    Args:
        model: upstream's; its own voice is kept aside, for each clip overwrites it.
        kept: clips.
    """

    def __init__(self, model: Any, size: int = KEPT):
        self._model = model
        self._encoded: LruCache[Any] = LruCache(size)
        self.own: Any = model.conds

    def __len__(self) -> int:
        return len(self._encoded)

    def get(self, voice: Voice) -> Any:
        """Upstream's Conditionals; a clip is encoded when it is not here (0.5 s).

        Raises:
            SpeechFailed: the clip cannot be encoded, or the checkpoint has no voice of its own.
        """
        if voice.data is None:
            if self.own is None:
                raise SpeechFailed("this checkpoint has no voice of its own: give a voice clip.")
            return self.own
        return self._encoded.get(voice.key, lambda: self._encode(voice))

    def _encode(self, voice: Voice) -> Any:
        try:
            unchanged = hashed(voice.data) == voice.key
            with suppressed_output():
                self._model.prepare_conditionals(str(voice.data))
            encoded = self._model.conds
        except Exception as error:
            log.warning("a voice clip cannot be encoded", exc_info=True)
            raise SpeechFailed("the voice clip cannot be encoded.") from error
        finally:
            self._model.conds = self.own
        if not unchanged:  # it would be kept under the hash of what it was
            raise SpeechFailed("the voice clip was changed while it waited.")
        return encoded


def hashed(clip: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(clip.read_bytes()).hexdigest()


def own_copy(conditionals: Any) -> Any:
    """A copy for one call: upstream sets exaggeration and embeddings in place."""
    mine = copy.copy(conditionals)
    mine.t3 = copy.copy(conditionals.t3)
    mine.gen = dict(conditionals.gen)
    return mine
