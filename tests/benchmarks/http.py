"""What the server costs: `python tests/benchmarks/http.py`.

Starts the app with the tone engine at zero delay in a process of its own and asks it over
loopback. `speech_14mb_ms` is the time from the answer's headers to its last byte;
`audio_14mb_ms` a whole GET of the same take. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A script's own folder comes first on the path, and there this file hides the library's `http`.
sys.path[0] = str(ROOT)

import urllib.request  # noqa: E402

import httpx  # noqa: E402

LISTS = {
    "history": "/history?limit=50",
    "search_common": "/history?limit=50&search=words+take",
    "search_rare": "/history?limit=50&search=number+77",
    "search_absent": "/history?limit=50&search=nowhere",
    "favorites": "/history?limit=50&favorite=true",
    "history_stats": "/history/stats",
    "profiles": "/profiles",
    "storage": "/storage",
}
"""Figure -> what is asked: lists, searches and totals over all takes."""


def median_ms(action: Callable[[], object], times: int) -> float:
    """Median of `times` calls, in milliseconds, after three that do not count."""
    for _ in range(3):
        action()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1000, 3)


def import_s(code: str) -> float:
    """Median of five fresh runs of `code`, less the interpreter's own start, in seconds."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        return time.perf_counter() - began

    return round(statistics.median(run(code) - run("pass") for _ in range(5)), 3)


def fill(folder: Path, takes: int) -> None:
    """Records of that many takes, written in one commit."""
    from voicelab.library import Files, Profiles
    from voicelab.records import Generation
    from voicelab.store import TinyStore

    store = TinyStore(folder)
    Profiles(store, Files(folder))
    with store.batch():
        for n in range(takes):
            record = Generation(
                id=f"take-{n}",
                profile_id="default",
                text=f"Take number {n} of a thousand, with a few words more to search in.",
                language="en",
                audio_path=None,
                duration=3.0,
                seed=n,
                instruct=None,
                engine="tone",
                model_size=None,
                status="completed",
                error=None,
                is_favorited=False,
                created_at=f"2026-01-{1 + n // 86_400:02d}T{n // 3600 % 24:02d}:{n // 60 % 60:02d}"
                f":{n % 60:02d}.{n % 10**6:06d}Z",
            )
            store.insert("generations", record.document())
    store.close()


def free_port() -> int:
    """A port nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(url: str) -> None:
    """Until /status answers; 120 s at most."""
    for _ in range(2400):
        try:
            httpx.get(f"{url}/status").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise SystemExit("the server did not start")


def speech_ms(url: str, body: dict[str, object]) -> tuple[float, float, str]:
    """(body, whole request, generation id) of one POST, times in milliseconds."""
    request = urllib.request.Request(
        f"{url}/v1/audio/speech", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        headers = time.perf_counter()
        size = len(answer.read())
        ended = time.perf_counter()
    assert size > 13_000_000, size
    return (ended - headers) * 1000, (ended - began) * 1000, answer.headers["x-generation-id"]


def main() -> None:
    """Measure, print a line each, then the JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--takes", type=int, default=1000)
    takes = options.parse_args().takes
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), takes)
        url = f"http://127.0.0.1:{(port := free_port())}"
        environment = {**os.environ, "VOICELAB_DATA_DIR": folder, "VOICELAB_PORT": str(port)}
        command = [sys.executable, "app.py", "--engine", "tone"]
        began = time.perf_counter()
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                wait_until_up(url)
                start_s = round(time.perf_counter() - began, 2)
                figures = measure(url)
            finally:
                server.terminate()
    figures["import_s"] = import_s("import voicelab")
    figures["import_voicelab_class_s"] = import_s("from voicelab import VoiceLab")
    figures["start_s"] = start_s
    figures |= {"takes": takes}
    for name, value in figures.items():
        print(f"{name:28} {value}")
    print(json.dumps(figures))


def measure(url: str) -> dict[str, float]:
    """Medians over one kept-alive connection."""
    with httpx.Client(base_url=url, timeout=120) as client:
        words = "Twelve words stand here so that the tone is long enough today. "
        body = {"input": words * 77, "gap_ms": 0}
        runs = [speech_ms(url, body) for _ in range(7)]
        id = runs[-1][2]
        return {
            "speech_14mb_ms": round(statistics.median(run[0] for run in runs), 2),
            "speech_14mb_whole_request_ms": round(statistics.median(run[1] for run in runs), 1),
            "audio_14mb_ms": median_ms(lambda: client.get(f"/audio/{id}"), 15),
            "status_progress_p50_ms": median_ms(lambda: client.get("/status/progress"), 300),
            **{
                f"{name}_p50_ms": median_ms(lambda path=path: client.get(path), 50)
                for name, path in LISTS.items()
            },
            "cleanup_dry_run_ms": cleanup_ms(client),
        }


def cleanup_ms(client: httpx.Client) -> float:
    """What would go when half of the takes may stay, by count and by quota."""
    policy = {"max_takes": client.get("/history?limit=1").json()["total"] // 2, "quota_mb": 90}
    client.put("/storage/policy", json=policy).raise_for_status()
    return median_ms(lambda: client.post("/storage/cleanup?dry_run=true").raise_for_status(), 5)


if __name__ == "__main__":
    main()
