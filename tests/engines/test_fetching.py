"""Weights from a hub on loopback: measured, resumed, and every failure one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hub as hubs
from hub import Hub, serving
from voicelab.engines import Presence, Registry, Transfer
from voicelab.engines.chatterbox import fetching
from voicelab.engines.chatterbox.checkpoints import FILES, VOICE
from voicelab.engines.chatterbox.fetching import fetch
from voicelab.engines.chatterbox.weights import presence
from voicelab.errors import EngineUnavailable
from voicelab.settings import Settings

NAME = "chatterbox"
SIZE = 300_000


def safe(content: bytes) -> bytes:
    """SIZE bytes of a safetensors file that holds these."""
    room = SIZE - 8 - 100
    header = json.dumps({"x": {"dtype": "U8", "shape": [room], "data_offsets": [0, room]}})
    return (100).to_bytes(8, "little") + header.ljust(100).encode() + content[:room]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    contents = {name: safe(os.urandom(SIZE)) for name in (*FILES[NAME][1], VOICE)}
    with serving(contents) as hub:
        hubs.use(hub, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr(fetching, "RETRY_S", 0.01)
        yield hub


class Progress:
    """What a fetch reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.transfers: list[Transfer] = []

    def __call__(self, fraction: float, line: str, transfer: Any = None) -> None:
        self.lines.append(line)
        if transfer is not None:
            self.transfers.append(transfer)


def fetched(progress: Progress | None = None, stop: threading.Event | None = None) -> Path:
    """The folder with the files of one repository."""
    (folder,) = fetch(NAME, progress or Progress(), stop)
    return folder


def test_all_files_come_and_the_bytes_are_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "REPORT_S", 0.0)
    progress = Progress()
    folder = fetched(progress)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    done = [transfer.bytes_done for transfer in progress.transfers]
    assert done == sorted(done) and done[-1] == 5 * SIZE
    assert {transfer.bytes_total for transfer in progress.transfers} == {5 * SIZE}
    assert progress.transfers[-1].bytes_per_second > 0
    assert progress.lines[-1].startswith("fetching 1.5 of 1.5 MB, ")


def test_what_is_there_is_not_fetched_again(hub: Hub) -> None:
    fetched()
    hub.asked.clear()
    fetched()
    assert [method for method, _, _ in hub.asked if method == "GET"] == []


def test_a_cut_connection_goes_on_where_it_was(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "CHUNK_BYTES", 1 << 14)
    hub.cut_after, hub.cuts = 100_000, 1
    folder = fetched()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    (wanted,) = hub.ranges()
    assert 0 < int(wanted.removeprefix("bytes=").rstrip("-")) < SIZE


def test_a_stopped_fetch_goes_on_in_the_next_process(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CHUNK_BYTES", 1 << 14)
    hub.delay_s = 0.01
    stop, progress = threading.Event(), Progress()

    def stop_early(fraction: float, line: str, transfer: Any = None) -> None:
        progress(fraction, line, transfer)
        if transfer.bytes_done > 50_000:
            stop.set()

    with pytest.raises(EngineUnavailable, match="closing"):
        fetch(NAME, stop_early, stop)
    assert not [path for path in (tmp_path / "cache").rglob("*.lock") if not path.is_file()]
    hub.asked.clear()
    folder = fetched()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    assert hub.ranges()


@pytest.mark.parametrize(
    ("status", "headers", "sentence"),
    [
        (401, {}, "does not give ResembleAI/chatterbox to strangers (401)"),
        (403, {"X-Error-Code": "GatedRepo"}, "set HF_TOKEN"),
        (404, {"X-Error-Code": "RepoNotFound"}, "has no ResembleAI/chatterbox with its files"),
        (500, {}, "the hub failed (500)"),
        (502, {}, "the hub failed (502)"),
    ],
)
def test_a_hub_that_refuses_is_one_sentence(
    hub: Hub, status: int, headers: dict[str, str], sentence: str
) -> None:
    hub.status, hub.headers = status, headers
    with pytest.raises(EngineUnavailable) as raised:
        fetched()
    assert sentence in raised.value.message and hub.address not in raised.value.message
    hub.status = 200
    assert fetched().is_dir()


def test_a_hub_that_asks_to_wait_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Response:
        status_code = 429
        headers = {"Retry-After": "120"}  # noqa: RUF012

    def refused(*args: Any, **options: Any) -> Any:
        error = ConnectionError("429 at https://user:secret@example.org")
        error.response = Response()  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refused)
    with pytest.raises(EngineUnavailable, match=r"asks to wait \(429\) for 120 seconds") as raised:
        fetched()
    assert "secret" not in raised.value.message


def test_a_file_that_the_hub_lacks_is_told(hub: Hub) -> None:
    del hub.files[VOICE]
    with pytest.raises(EngineUnavailable, match=r"lacks a file that is needed, perhaps conds\.pt"):
        fetched()


def test_a_hub_that_is_gone_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(EngineUnavailable, match=r"cannot be reached|cannot be fetched"):
        fetched()


def test_room_is_looked_for_before_the_first_byte(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=70_000_000 - 5 * SIZE))
    with pytest.raises(EngineUnavailable, match=r"1\.5 MB are needed, 68\.5 MB are free"):
        fetched()
    assert [method for method, _, _ in hub.asked if method == "GET"] == []


def test_damaged_bytes_are_refused_and_fetched_again(hub: Hub) -> None:
    good = dict(hub.files)
    folder = fetched()
    (folder / "ve.safetensors").resolve().write_bytes(b"junk" * 100)
    assert presence(NAME).remote
    assert (
        fetched() == folder and (folder / "ve.safetensors").read_bytes() == good["ve.safetensors"]
    )
    hub.tampered = True
    (folder / "s3gen.safetensors").resolve().unlink()
    (folder / "s3gen.safetensors").unlink()
    with pytest.raises(EngineUnavailable, match="what the hub sent is damaged"):
        fetched()
    hub.tampered = False
    assert fetched().is_dir()


def test_a_killed_process_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.delay_s = 0.02
    code = f"""if True:
        from voicelab.engines.chatterbox.fetching import fetch
        fetch({NAME!r}, lambda *_: None)
    """
    child = subprocess.Popen([sys.executable, "-c", code])
    wait(lambda: any(p.stat().st_size > 100_000 for p in tmp_path.rglob("*.voicelab.incomplete")))
    child.kill()
    child.wait()
    hub.delay_s = 0
    hub.asked.clear()
    folder = fetched()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    assert int(hub.ranges()[0].removeprefix("bytes=").rstrip("-")) > 0
    assert not list(tmp_path.rglob("*.incomplete"))


def test_offline_asks_nobody(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EngineUnavailable, match="HF_HUB_OFFLINE is set"):
        fetched()
    assert hub.asked == []


def wait(condition: Any) -> None:
    end = threading.Event()
    for _ in range(6000):
        if condition():
            return
        end.wait(0.01)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def registry(hub: Hub) -> Iterator[Registry]:
    registry = Registry(Settings(device="cpu"))
    yield registry
    registry.close()


def test_a_stand_in_speaks_while_weights_are_fetched(hub: Hub, registry: Registry) -> None:
    hub.delay_s = 0.05
    default = registry.default
    assert default.startswith("chatterbox") and registry.speaker() == default
    hub.files |= {name: safe(os.urandom(SIZE)) for name in FILES[default][1]}
    ended: list[Any] = []
    assert registry.begin_fetch(default, ended.append)
    assert registry.is_fetching(default) and registry.speaker() == "piper"
    wait(lambda: registry.state(default).transfer)
    state = registry.state(default)
    assert state.state == "initializing" and state.line.startswith("fetching ")
    hub.delay_s = 0
    wait(lambda: ended)
    assert ended == [None] and not registry.is_fetching(default)
    assert registry.presence(default).weights and not registry.presence(default).remote
    assert not registry.begin_fetch(default, ended.append)


def test_a_failed_fetch_leaves_the_stand_in_and_may_be_tried_again(
    hub: Hub, registry: Registry
) -> None:
    default = registry.default
    hub.status = 403
    ended: list[Any] = []
    assert registry.begin_fetch(default, ended.append)
    wait(lambda: ended)
    assert "set HF_TOKEN" in ended[0].message
    assert registry.state(default).error == ended[0].message
    assert registry.speaker() == "piper"
    hub.status = 200
    hub.files |= {name: safe(os.urandom(SIZE)) for name in FILES[default][1]}
    assert registry.begin_fetch(default, ended.append)
    wait(lambda: len(ended) == 2)
    assert ended[1] is None and registry.speaker() == default


def test_closing_ends_a_fetch(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "CHUNK_BYTES", 1 << 14)
    hub.delay_s = 0.05
    registry = Registry(Settings(device="cpu"))
    hub.files |= {name: safe(os.urandom(SIZE)) for name in FILES[registry.default][1]}
    ended: list[Any] = []
    assert registry.begin_fetch(registry.default, ended.append)
    wait(lambda: registry.state(registry.default).transfer)
    registry.close()
    assert not registry.is_fetching(registry.default) and ended == []


def test_another_model_that_is_here_speaks_before_a_stand_in(
    hub: Hub, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Presence(True, True, "Its weights are in the Hugging Face cache.")
    found = registry.presence
    monkeypatch.setattr(
        registry, "presence", lambda name: here if name == "chatterbox-turbo" else found(name)
    )
    hub.status = 403
    ended: list[Any] = []
    assert registry.begin_fetch(registry.default, ended.append)
    assert registry.speaker() == "chatterbox-turbo"
    wait(lambda: ended)
    assert registry.speaker() == "chatterbox-turbo"


def test_an_etag_that_is_a_path_writes_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.etag = "../../../../evil"
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        fetched()
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
