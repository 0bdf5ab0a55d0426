"""Whether memory stays flat: `python tests/benchmarks/memory.py`.

The tiny Chatterbox speaks 1,000 takes, which are kept as those of the studio are. The last line is
JSON: what the process holds after each tenth, and what it grew by from the second one on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import psutil
from tqdm import tqdm

# A script's own folder comes first on the path, and there http.py hides the library's `http`.
sys.path[:1] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "engines")]

from tiny_chatterbox import tiny_engine  # noqa: E402
from voicelab import GenerationRequest, Settings, VoiceLab  # noqa: E402


def main() -> None:
    """Measure, print the JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--takes", type=int, default=1000)
    options.add_argument("--model", default="chatterbox")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        held = held_mb(Path(folder), chosen.model, chosen.takes)
    print(json.dumps({"takes": chosen.takes, "held_mb": held, "grown_mb": held[-1] - held[1]}))


def held_mb(folder: Path, model: str, takes: int) -> list[int]:
    """Megabytes after each tenth of the takes."""
    engine = tiny_engine(model, folder / "checkpoint", tokens=8)
    settings = Settings(engine=model, data_dir=folder / "data", min_free_disk_mb=0, cache_mb=0)
    process, held = psutil.Process(), []
    with VoiceLab(settings, engines={model: lambda: engine}) as lab:
        for number in tqdm(range(1, takes + 1), unit="takes"):
            text = f"Take number {number}. It has two sentences, and this is the second."
            record = lab.drain(lab.stream(GenerationRequest(text, seed=number)))
            if record["status"] != "completed":
                raise SystemExit(f"a take ended as {record['status']}: {record['error']}")
            if number % max(1, takes // 10) == 0:
                held.append(round(process.memory_info().rss / 1e6))
    return held


if __name__ == "__main__":
    main()
