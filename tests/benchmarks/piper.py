"""How fast Piper speaks, beside eSpeak NG: `python tests/benchmarks/piper.py`.

Both speak the same sentences in turn, several times, in this process; load times and the memory of
the process stand beside. The last line is JSON: seconds of computing for a second of speech
(medians), loading in seconds, megabytes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# A script's own folder comes first on the path, and there http.py hides the library's `http`.
sys.path[0] = str(ROOT)

import psutil  # noqa: E402

from voicelab.engines import Engine, Registry, Utterance, Voice  # noqa: E402
from voicelab.settings import Settings  # noqa: E402

SENTENCES = (
    "The fjord was quiet, and a boat drew a line across it.",
    "Then even that was gone.",
    "She had paid three thousand euros for the clock, and it never worked; nobody knew why.",
    "Was it the spring, or the weather, or the way he looked at it each morning?",
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=None)
    given = options.parse_args()
    registry = Registry(Settings(engine="espeak", threads=given.threads))
    found: dict[str, Any] = {}
    engines = {}
    for name in ("piper", "espeak"):
        began = time.perf_counter()
        engines[name] = registry.load(name)
        found[f"{name}_load_s"] = time.perf_counter() - began
    factors: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(given.rounds):
        for name, engine in engines.items():
            factors[name].append(real_time_factor(engine))
    found |= {f"{name}_rtf": statistics.median(each) for name, each in factors.items()}
    found["memory_mb"] = psutil.Process().memory_info().rss / 1e6
    registry.close()
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


def real_time_factor(engine: Engine) -> float:
    """Seconds of computing for a second of speech."""
    values = {parameter.name: parameter.default for parameter in engine.info.parameters}
    spoken, began = 0, time.perf_counter()
    for text in SENTENCES:
        for each in engine.speak([Utterance(text, Voice(), values, 1, "en")], lambda _: False):
            spoken += len(each.audio)
    return (time.perf_counter() - began) / (spoken / engine.info.sample_rate)


if __name__ == "__main__":
    main()
