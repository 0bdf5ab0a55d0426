"""The real app asked to end, or killed, while it speaks; and what the next start makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import wait_for

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

ROOT = Path(__file__).parents[2]
GRADIO = ("-c", "from gradio.cli import cli; cli()", "app.py")
TEXT = "One sentence that is spoken by the tone. " * 30


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """What this process ignores, as a suite in the background does, the app would ignore too."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def running(
    folder: Path, *command: str, **settings: str
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The app on a free port, and a client of it."""
    chosen = {"engine": "tone", "data_dir": str(folder), "port": "0", "min_free_disk_mb": "0"}
    variables = {f"VOICELAB_{key.upper()}": value for key, value in {**chosen, **settings}.items()}
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = next(line.split()[-1] for line in process.stdout if "http://" in line)
        # Else the process would wait for somebody to read what it says.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        with httpx.Client(base_url=url, timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def start_take(client: httpx.Client) -> str:
    """The id of a take of which a chunk is spoken."""
    id = client.post("/generate", json={"text": TEXT}).json()["id"]
    wait_for(lambda: client.get("/status/progress").json().get("current_chunk", 0) > 1)
    return id


def recorded(folder: Path) -> dict[str, tuple[str, str | None]]:
    """How the takes in db.json ended; there is no journal."""
    assert not list(folder.glob("db.json.j-*"))
    records = json.loads((folder / "db.json").read_bytes())["generations"].values()
    return {record["id"]: (record["status"], record["error"]) for record in records}


@pytest.mark.parametrize(
    ("command", "signals"),
    [
        (("app.py",), (signal.SIGTERM,)),
        (("-m", "voicelab"), (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),
        (("-m", "voicelab"), (signal.SIGHUP,)),
        (("app.py",), (signal.SIGINT, signal.SIGINT)),
    ],
    ids=lambda value: "-".join(map(str, value)),
)
def test_a_signal_ends_it_in_order(tmp_path: Path, command, signals) -> None:
    with running(tmp_path / "data", *command, tone_delay_s="0.2") as (process, client):
        id = start_take(client)
        with client.stream("GET", "/status/stream") as listener:
            next(listener.iter_bytes())
            for number in signals:
                process.send_signal(number)
            assert process.wait(30) == 0
    assert recorded(tmp_path / "data") == {id: ("failed", "interrupted")}


def test_under_hot_reload_it_serves_and_ends_with_its_launcher(tmp_path: Path) -> None:
    """`gradio app.py` runs the file a second time, and hands no signal on."""
    with running(tmp_path / "data", *GRADIO, tone_delay_s="0.2") as (
        process,
        client,
    ):
        time.sleep(2)  # by then the file was run a second time
        assert client.get("/health").json()["status"] == "healthy"
        id = start_take(client)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        wait_for(lambda: not answers(client), 30)
        wait_for(lambda: not list((tmp_path / "data").glob("db.json.j-*")), 30)
    assert recorded(tmp_path / "data") == {id: ("failed", "interrupted")}


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_the_next_start_makes_it_whole(tmp_path: Path) -> None:
    """After a stop in order and after kill -9; not when the setting says no."""
    folder = tmp_path / "data"
    with running(folder, "app.py", tone_delay_s="0.2") as (process, client):
        stopped = start_take(client)
        cancelled = client.post("/generate", json={"text": TEXT}).json()["id"]
        assert client.post(f"/generate/{cancelled}/cancel").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with running(folder, "app.py", tone_delay_s="0.2", resume_interrupted="false") as (
        process,
        client,
    ):
        killed = start_take(client)
        assert client.get(f"/history/{stopped}").json()["error"] == "interrupted"
        process.kill()
        process.wait()
    with running(folder, "app.py") as (process, client):
        for id in (stopped, killed):
            wait_for(lambda: client.get(f"/history/{id}").json()["status"] == "completed")  # noqa: B023
            assert client.get(f"/audio/{id}").status_code == 200
        assert client.get(f"/history/{cancelled}").json()["error"] == "cancelled"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    ends = {stopped: ("completed", None), killed: ("completed", None)}
    assert recorded(folder) == ends | {cancelled: ("failed", "cancelled")}


STUCK = """
import os, signal, threading
from voicelab.cli.signals import end_in_order
end_in_order(0.2)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(60)
finally:
    print("closing", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(60)
    print("closed", flush=True)
"""


def test_what_does_not_end_is_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "closing\n")


def test_a_signal_ignored_by_who_started_it_stays_ignored() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from voicelab.cli.signals import end_in_order\n"
        "end_in_order(); os.kill(os.getpid(), signal.SIGHUP); print('lives')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "lives\n")
