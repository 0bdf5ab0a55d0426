"""An engine whose weights are fetched while others speak, over the whole lab."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import hub as hubs
from hub import Hub, serving
from tests.conftest import wait_for
from tiny_chatterbox import build, clip, small
from voicelab.engines.chatterbox import fetching
from voicelab.errors import EngineUnavailable
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.settings import Settings

NAME = "chatterbox-nano"
TEXT = "The fjord was quiet."


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("weights")
    build(NAME, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(
    weights: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    with serving(weights) as hub, small(NAME):
        hubs.use(hub, tmp_path / "cache", monkeypatch)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
        monkeypatch.setattr(fetching, "CHUNK_BYTES", 1 << 14)
        monkeypatch.setattr(fetching, "RETRY_S", 0.01)
        yield hub


@pytest.fixture
def fetching_lab(hub: Hub, tmp_path: Path) -> Iterator[VoiceLab]:
    """A lab whose default engine is fetched slowly, until `hub.delay_s` is 0."""
    hub.delay_s = 0.05
    settings = Settings(engine="auto", device="cpu", threads=1, port=0, data_dir=tmp_path / "data")
    with VoiceLab(settings) as lab:
        lab.scheduler.preload(lab.registry.default)
        wait_for(lambda: lab.registry.state().transfer)
        yield lab


def test_a_stand_in_speaks_until_the_weights_are_here(hub: Hub, fetching_lab: VoiceLab) -> None:
    lab = fetching_lab
    assert lab.registry.default == NAME
    spoken = lab.generate(TEXT, progress=False).record
    assert spoken["engine"] == "piper" and spoken["status"] == "completed"
    assert spoken["warnings"] == ["Chatterbox Nano is being fetched: Piper spoke in its place."]
    of_page = lab.drain(lab.stream(GenerationRequest(TEXT, engine=NAME, source="ui")))
    assert of_page["engine"] == "piper"
    wanted = lab.submit(GenerationRequest(TEXT, engine=NAME))
    assert lab.registry.is_fetching(NAME)
    hub.delay_s = 0
    wait_for(lambda: lab.history.get(wanted["id"])["status"] != "pending")
    named = lab.history.get(wanted["id"])
    assert (named["status"], named["engine"], named["warnings"]) == ("completed", NAME, [])
    assert lab.generate(TEXT, progress=False).record["engine"] == NAME


def test_a_hub_that_fails_leaves_the_stand_in(hub: Hub, fetching_lab: VoiceLab) -> None:
    lab = fetching_lab
    wanted = lab.submit(GenerationRequest(TEXT, engine=NAME))
    hub.delay_s, hub.status = 0, 403
    hub.cut_after, hub.cuts = 1, 100
    wait_for(lambda: lab.history.get(wanted["id"])["status"] == "failed")
    assert "set HF_TOKEN" in lab.history.get(wanted["id"])["error"]
    spoken = lab.generate(TEXT, progress=False).record
    assert spoken["engine"] == "piper"
    assert spoken["warnings"] == ["Chatterbox Nano cannot be loaded: Piper spoke in its place."]
    hub.status, hub.cuts = 200, 0
    lab.scheduler.preload(NAME)
    wait_for(lambda: lab.registry.state().state == "ready")
    assert lab.generate(TEXT, progress=False).record["engine"] == NAME


def test_a_clip_waits_for_the_engine_that_clones(
    hub: Hub, fetching_lab: VoiceLab, tmp_path: Path
) -> None:
    voice = clip(tmp_path / "voice.wav")
    hub.status = 403
    hub.cut_after, hub.cuts = 1, 100
    with pytest.raises(EngineUnavailable, match="cannot be loaded"):
        fetching_lab.drain(fetching_lab.stream(GenerationRequest(TEXT, voice_clip=voice)))


def test_closing_in_mid_fetch_is_quick(hub: Hub, fetching_lab: VoiceLab) -> None:
    closing = threading.Thread(target=fetching_lab.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive() and not fetching_lab.registry.is_fetching(NAME)


def test_the_transfer_is_told_over_http(hub: Hub, fetching_lab: VoiceLab) -> None:
    page = fetching_lab.launch(quiet=True)
    url = page.local_url.rstrip("/")
    health = httpx.get(f"{url}/health").json()
    assert health["initialization_state"] == "initializing"
    assert health["initialization_progress"].startswith("fetching ")
    (engine,) = [each for each in httpx.get(f"{url}/engines").json() if each["name"] == NAME]
    transfer = engine["transfer"]
    assert (
        0
        < transfer["bytes_done"]
        <= transfer["bytes_total"]
        == sum(len(content) for name, content in hub.files.items() if name != "voice.wav")
    )
    assert httpx.post(f"{url}/engines/none/load").status_code == 404
    hub.delay_s = 0
    started = httpx.post(f"{url}/engines/{NAME}/load")
    assert started.status_code == 202 and started.json()["name"] == NAME
    wait_for(lambda: httpx.get(f"{url}/health").json()["model_loaded"])
    assert httpx.get(f"{url}/health").json()["transfer"] is None
