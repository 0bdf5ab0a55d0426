"""An engine for voicelab that hums each text on one pitch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from voicelab.engines import EngineInfo, Parameter, Plugin, Spoken, Utterance, Voice

__all__ = ["INFO", "PLUGIN", "HumEngine"]

CHARACTER_S = 0.05

INFO = EngineInfo(
    name="hum",
    label="Hum",
    sample_rate=16_000,
    languages={"en": "English", "tlh": "Klingon"},
    parameters=(
        Parameter("hum_hz", "Hum (Hz)", 200, 50, 1000, 1, "Pitch of the hum."),
        Parameter("temperature", "Temperature", 1, 0, 10, 0.5, "Changes nothing."),
    ),
    max_chunk_chars=500,
    description="Hums.",
)


class HumEngine:
    """One pitch; 50 ms a character."""

    info = INFO
    device = "cpu"

    def versions(self) -> Mapping[str, str]:
        """Of numpy."""
        return {"numpy": np.__version__}

    def load(self, progress: Callable[[float, str], None]) -> None:
        """Nothing to load."""
        progress(1.0, "ready")

    def prepare_voice(self, clip: Path | None) -> Voice:
        """Its own voice."""
        return Voice()

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: object = None,
    ) -> Iterator[Spoken]:
        """One after the other."""
        for index, utterance in enumerate(utterances):
            if not cancelled(index):
                count = int(len(utterance.text) * CHARACTER_S * INFO.sample_rate)
                turns = np.arange(count) * utterance.parameters["hum_hz"] / INFO.sample_rate
                yield Spoken(index, (0.3 * np.sin(2 * np.pi * turns)).astype(np.float32))

    def close(self) -> None:
        """Nothing to free."""


PLUGIN = Plugin((INFO,), lambda name, settings: HumEngine())
