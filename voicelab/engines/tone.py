"""A tone for each word: deterministic, instant or as slow as one likes, failing on request.

For demonstrations and for tests that need timing; it clones voices in so far as the clip
chooses the pitch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelab.engines.base import (
    EngineInfo,
    LoadProgress,
    More,
    Parameter,
    Plugin,
    Spoken,
    Utterance,
    Voice,
    nothing_more,
)
from voicelab.errors import SpeechFailed

__all__ = ["INFO", "PLUGIN", "ToneEngine"]

INFO = EngineInfo(
    name="tone",
    label="Tone",
    sample_rate=24_000,
    languages={"en": "English", "de": "German", "fr": "French", "zh": "Chinese", "ar": "Arabic"},
    parameters=(
        Parameter("pitch_hz", "Pitch (Hz)", 220.0, 80.0, 880.0, 1.0, "Pitch of the lowest tone."),
        Parameter("level", "Level", 0.3, 0.05, 1.0, 0.05, "Peak of the samples."),
    ),
    max_chunk_chars=1000,
    batch_size=4,
    clones_voices=True,
    description="One tone a word: no speech, but instant and deterministic, for demonstrations.",
    offered=False,
)

CHARACTER_S = 0.06
POLL_S = 0.01


class ToneEngine:
    """See the module.

    Args:
        delay_s: seconds of pretended work for each chunk.
        fail_on: a chunk with this text in it fails; empty never fails.
    """

    info = INFO
    device = "cpu"

    def __init__(self, delay_s: float = 0.0, fail_on: str = ""):
        self._delay_s = delay_s
        self._fail_on = fail_on

    def versions(self) -> Mapping[str, str]:
        """Of numpy, which computes the sines."""
        return {"numpy": np.__version__}

    def load(self, progress: LoadProgress) -> None:
        """Nothing to load."""
        progress(1.0, "ready")

    def prepare_voice(self, clip: Path | None) -> Voice:
        """The clip's hash is the voice."""
        if clip is None:
            return Voice()
        return Voice(hashlib.sha256(clip.read_bytes()).hexdigest())

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: More = nothing_more,
    ) -> Iterator[Spoken]:
        """See `Engine.speak`."""
        for index, utterance in enumerate(utterances):
            if self._work(index, cancelled):
                if self._fail_on and self._fail_on in utterance.text:
                    raise SpeechFailed(f"The tone engine was told to fail on '{self._fail_on}'.")
                yield Spoken(index, _tones(utterance))

    def close(self) -> None:
        """Nothing to free."""

    def _work(self, index: int, cancelled: Callable[[int], bool]) -> bool:
        end = time.monotonic() + self._delay_s
        while not cancelled(index):
            left_s = end - time.monotonic()
            if left_s <= 0:
                return True
            time.sleep(min(POLL_S, left_s))
        return False


def _tones(utterance: Utterance) -> NDArray[np.float32]:
    """float32 (n,): each word a tone as long as its letters, softly begun and ended."""
    key = f"{utterance.voice.key} {utterance.seed} {utterance.language}".encode()
    steps = hashlib.sha256(key).digest()
    pitch_hz = utterance.parameters["pitch_hz"]
    pieces = []
    for number, word in enumerate(utterance.text.split()):
        count = int((len(word) + 1) * CHARACTER_S * INFO.sample_rate)
        frequency = pitch_hz * 2 ** ((steps[number % len(steps)] % 13) / 12)
        phase = np.arange(count, dtype=np.float32) * np.float32(
            2 * np.pi * frequency / INFO.sample_rate
        )
        edge = np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.01 * INFO.sample_rate)
        pieces.append(np.sin(phase) * np.minimum(edge, 1.0).astype(np.float32))
    return np.concatenate(pieces) * np.float32(utterance.parameters["level"])


PLUGIN = Plugin(
    (INFO,), lambda name, settings: ToneEngine(settings.tone_delay_s, settings.tone_fail_on)
)
