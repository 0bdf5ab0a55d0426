"""What an edit costs: `python tests/benchmarks/edit.py`.

A text of 20 sentences is spoken by the tone engine at 0.25 s a sentence, then again with one
sentence changed. Median of the rounds; the last line is JSON with the ratio
of the whole to the edit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

# A script's own folder comes first on the path, and there http.py hides the library's `http`.
sys.path[0] = str(Path(__file__).parents[2])

from voicelab import GenerationRequest, Settings, VoiceLab  # noqa: E402

SENTENCES = [f"This is sentence number {n} of a text that somebody edits." for n in range(20)]


def spoken_s(lab: VoiceLab, sentences: list[str], **fields: object) -> tuple[float, str]:
    """Seconds for one take, and its id."""
    began = time.perf_counter()
    record = lab.drain(lab.stream(GenerationRequest(" ".join(sentences), **fields)))
    return time.perf_counter() - began, record["id"]


def main() -> None:
    """Measure, print, then the JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--delay", type=float, default=0.25, help="seconds of work a sentence")
    chosen = options.parse_args()
    whole, edit = [], []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(engine="tone", data_dir=Path(folder), tone_delay_s=chosen.delay)
        with VoiceLab(settings) as lab:
            for seed in range(0, 1000 * chosen.rounds, 1000):
                taken_s, id = spoken_s(lab, SENTENCES, seed=seed)
                whole.append(taken_s)
                changed = [*SENTENCES[:9], "Here stands another sentence instead.", *SENTENCES[10:]]
                edit.append(spoken_s(lab, changed, based_on=id)[0])
    print(f"whole {statistics.median(whole):.2f} s, edit {statistics.median(edit):.3f} s")
    ratio = statistics.median(a / b for a, b in zip(whole, edit, strict=True))
    print(json.dumps({"ratio": round(ratio, 1)}))


if __name__ == "__main__":
    main()
