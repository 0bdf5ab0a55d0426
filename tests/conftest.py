"""What the suites share: labs on a temporary folder, a launched server, voice clips.

Those of tests/engines run without the page's, the routes' and the store's packages, so what needs
them is imported where it is used.
"""

from __future__ import annotations

import asyncio.events
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from tests.called import warning_filters

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from voicelab.lab import VoiceLab

MakeLab = Callable[..., "VoiceLab"]

FAST = {"house", "audio", "text", "generation", "library", "lab", "rest/test_strict.py"}
HEAVY = {
    *("generation/test_reproducible.py", "generation/test_resumption.py"),
    *("lab/test_disk.py", "library/test_storage_faults.py"),
}
"""Folders and files of `--fast`, and what is left out of them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow", action="store_true", help="hundreds of kills, thousands of power cuts"
    )
    parser.addoption(
        "--fast", action="store_true", help="only what runs within a minute on two cores"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --fast the files of other rooms are not even imported."""
    if not config.getoption("--fast") or collection_path.suffix != ".py":
        return None
    file = collection_path.relative_to(Path(__file__).parent)
    return True if file.parts[0] not in FAST and file.as_posix() not in FAST else is_heavy(file)


def is_heavy(file: Path) -> bool | None:
    """Whether a file is left out although its folder is fast; None lets others decide."""
    return True if file.as_posix() in HEAVY else None


def pytest_configure(config: pytest.Config) -> None:
    for line in warning_filters():
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture
def slow(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for the long runs."""
    return request.config.getoption("--slow")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the settings of whoever runs it, nor reaches a hub."""
    import os

    for name in [name for name in os.environ if name.startswith("VOICELAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def own_event_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hides the browser driver's event loop from the tests that use no browser.

    Playwright's synchronous interface keeps its loop marked as the running one of the thread until
    the session ends, so every `asyncio.run` of the same worker would be refused.
    """
    loop = asyncio.events._get_running_loop()
    if loop is None or "playwright" in request.fixturenames:
        yield
        return
    asyncio.events._set_running_loop(None)
    yield
    asyncio.events._set_running_loop(loop)


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """A lab with any settings; closed at the end."""
    from voicelab.lab import VoiceLab
    from voicelab.settings import Settings

    labs: list[VoiceLab] = []

    def make(**settings: Any) -> VoiceLab:
        chosen = {"engine": "tone", "data_dir": tmp_path / "data", "min_free_disk_mb": 0}
        labs.append(VoiceLab(Settings(**{**chosen, **settings})))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def lab(make_lab: MakeLab) -> VoiceLab:
    """A lab on the tone engine."""
    return make_lab()


@pytest.fixture
def client(lab: VoiceLab) -> Iterator[TestClient]:
    """REST without a server."""
    from fastapi.testclient import TestClient

    from voicelab.rest import build

    with TestClient(build(lab), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """A voice clip of three seconds."""
    return write_clip(tmp_path / "voice.wav", 3.0)


@contextmanager
def blocked_engine(lab: VoiceLab) -> Iterator[threading.Event]:
    """Block the tone engine until the event is set or the block ends; cancelling still works."""
    free = threading.Event()

    def work(index: int, cancelled: Callable[[int], bool]) -> bool:
        while not cancelled(index):
            if free.wait(0.01):
                return True
        return False

    engine: Any = lab.registry.engine("tone")
    engine._work = work
    try:
        yield free
    finally:
        free.set()
        del engine._work


@contextmanager
def blocked_after_first_chunk(lab: VoiceLab) -> Iterator[threading.Event]:
    """The tone engine speaks one chunk, and the others once the event is set or this ends."""
    spoken: list[int] = []
    with blocked_engine(lab) as free:
        engine: Any = lab.registry.engine("tone")
        hold = engine._work

        def work(index: int, cancelled: Callable[[int], bool]) -> bool:
            spoken.append(index)
            return not cancelled(index) if len(spoken) == 1 else hold(index, cancelled)

        engine._work = work
        yield free


def unblock_when_subscribed(lab: VoiceLab, free: threading.Event) -> None:
    """Set the event once somebody subscribes to the lab's status."""
    status: Any = lab.status
    subscribe = status.subscribe

    def subscribed(callback: Callable[[], None]) -> Callable[[], None]:
        unsubscribe = subscribe(callback)
        free.set()
        return unsubscribe

    status.subscribe = subscribed


def write_clip(path: Path, duration_s: float, level: float = 0.3, rate: int = 24_000) -> Path:
    """A clip of a tone that swells."""
    moments = np.arange(int(rate * duration_s)) / rate
    samples = level * np.sin(2 * np.pi * 180 * moments) * (0.6 + 0.4 * np.sin(5 * moments))
    soundfile.write(path, samples.astype("float32"), rate)
    return path


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def samples(wav: bytes) -> bytes:
    """The PCM of one of our WAVs, of a stream too: what stands behind it is left out."""
    return wav[44 : 44 + int.from_bytes(wav[40:44], "little")]
