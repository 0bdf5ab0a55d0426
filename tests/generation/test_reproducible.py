"""The same take every time: under load, and alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import samples
from tiny_chatterbox import tiny_engine
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.settings import Settings

TAKES, THREADS = 20, 4


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatterboxEngine]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engine = tiny_engine("chatterbox", tmp_path / "english", tokens=8)
    yield engine
    engine.close()


@pytest.fixture
def lab(engine: ChatterboxEngine, tmp_path: Path) -> Iterator[VoiceLab]:
    settings = Settings(
        engine="chatterbox", data_dir=tmp_path / "data", min_free_disk_mb=0, cache_mb=0
    )
    with VoiceLab(settings, engines={"chatterbox": lambda: engine}) as lab:
        yield lab


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
        assert sound(lab, first) == sound(lab, second)
        assert again["software"] == record["software"]
        assert {"torch", "chatterbox-tts", "device", "mode", "kernel"} <= set(record["software"])


def sound(lab: VoiceLab, path: str) -> bytes:
    return samples(lab.library.files.path(path).read_bytes())
