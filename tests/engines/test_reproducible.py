"""An engine after many takes."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tiny_chatterbox import tiny_engine
from voicelab.engines.base import Utterance, Voice
from voicelab.engines.chatterbox.engine import ChatterboxEngine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatterboxEngine]:
    engine = tiny_engine("chatterbox", tmp_path_factory.mktemp("english"), tokens=8)
    yield engine
    engine.close()


def test_two_hundred_takes_leave_the_memory_flat(engine: ChatterboxEngine) -> None:
    values = {p.name: p.default for p in engine.info.parameters}
    process = psutil.Process()
    held = []
    for number in range(200):
        given = [Utterance(f"Number {number}.", Voice(), values, number, "en")]
        (spoken,) = engine.speak(given, lambda _: False)
        assert spoken.failure is None
        if number in (50, 199):
            held.append(process.memory_info().rss)
    assert held[1] - held[0] < 20e6
