"""How long it takes from the command to the page: `python tests/benchmarks/start.py`.

Starts the app with eSpeak on an empty data folder, several times, and prints the medians in
seconds: until GET /health answers, until the page answers, and what `import voicelab` costs. The
rival is `import gradio` alone in a process of its own, between the starts. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A script's own folder comes first on the path, and there http.py hides the library's `http`.
sys.path[0] = str(ROOT)

import urllib.error  # noqa: E402
import urllib.request  # noqa: E402

from tests.benchmarks.http import free_port  # noqa: E402

APP = ROOT / "app.py"
LIMIT_S = 120


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    import_s("voicelab.server")  # compiled and in the file cache, as on a second start
    figures: dict[str, list[float]] = {}
    for _ in range(rounds):
        measured = started_s() | {
            "import_voicelab_s": import_s("voicelab") - import_s("sys"),
            "import_gradio_s": import_s("gradio"),
        }
        for name, value in measured.items():
            figures.setdefault(name, []).append(value)
        print({name: round(value, 3) for name, value in measured.items()})
    print(json.dumps({name: round(statistics.median(row), 3) for name, row in figures.items()}))


def import_s(module: str) -> float:
    """Seconds that a process takes which imports one module."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - begun


def started_s() -> dict[str, float]:
    """Seconds from the command until /health and the page answer."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        given = ["--port", str(port), "--data-dir", folder, "--engine", "espeak"]
        begun = time.perf_counter()
        app = subprocess.Popen(
            [sys.executable, str(APP), *given],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
        try:
            return {
                "health_s": answered_s(f"http://127.0.0.1:{port}/health", begun),
                "page_s": answered_s(f"http://127.0.0.1:{port}/", begun),
            }
        finally:
            app.send_signal(signal.SIGTERM)
            app.wait(timeout=LIMIT_S)


def answered_s(url: str, begun: float) -> float:
    """Seconds since `begun` (of perf_counter) until the address answers 200."""
    while time.perf_counter() < begun + LIMIT_S:
        try:
            with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
                answer.read()
            return time.perf_counter() - begun
        except urllib.error.URLError:
            time.sleep(0.02)
    raise TimeoutError(f"{url} did not answer within {LIMIT_S} s")


if __name__ == "__main__":
    main()
