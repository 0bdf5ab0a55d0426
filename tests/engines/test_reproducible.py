"""The same take every time: under load, alone, and after many others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tiny_chatterbox import tiny_engine
from voicelab.engines.base import Utterance, Voice
from voicelab.engines.chatterbox import ChatterboxEngine
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.settings import Settings

TAKES, THREADS = 20, 4


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatterboxEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        engine = tiny_engine("chatterbox", tmp_path_factory.mktemp("english"), tokens=8)
    yield engine
    engine.close()


@pytest.fixture
def lab(engine: ChatterboxEngine, tmp_path: Path) -> Iterator[VoiceLab]:
    settings = Settings(engine="chatterbox", data_dir=tmp_path, min_free_disk_mb=0, cache_mb=0)
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, engine, "close", engine.close)
        engine.close = lambda: None  # type: ignore[method-assign]
        yield stack.enter_context(VoiceLab(settings, engines={"chatterbox": lambda: engine}))


def test_takes_made_together_are_made_again_alone_to_the_bit(lab: VoiceLab) -> None:
    def make(number: int) -> dict:
        text = f"Take number {number}. It has two sentences, and this is the second of them."
        listening = number % 3 == 0
        request = GenerationRequest(text, seed=1000 * number, listening=listening)
        return lab.drain(lab.stream(request))

    with ThreadPoolExecutor(THREADS) as pool:
        made = list(pool.map(make, range(TAKES)))
    for record in made:
        again = lab.drain(lab.retry(record["id"]))
        first, second = (version["audio_path"] for version in again["versions"])
        assert read_bytes(lab, first) == read_bytes(lab, second)
        assert again["software"] == record["software"]
        assert {"torch", "chatterbox-tts", "device", "mode", "kernel"} <= set(record["software"])


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


def read_bytes(lab: VoiceLab, path: str) -> bytes:
    return lab.files.path(path).read_bytes()
