"""What an hour of story costs: `python tests/benchmarks/story.py`.

Sixty takes of a minute each on two tracks, every other one overlapping the one before it, written
as WAV and as m4b with chapters, each in a process of its own. The last line is JSON: seconds, and
the largest memory of the processes in MB.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A script's own folder comes first on the path, and there http.py hides the library's `http`.
ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)

TAKES, MINUTE_S, RATE = 60, 60, 24_000


def fill(folder: Path) -> str:
    """A lab with the takes and the story; the story's id."""
    import numpy as np

    from voicelab import Settings, VoiceLab
    from voicelab.audio.samples import to_pcm16, wav_bytes

    moments = np.arange(MINUTE_S * RATE, dtype=np.float32) / RATE
    with VoiceLab(Settings(engine="tone", data_dir=folder)) as lab:
        story = lab.library.stories.create("An hour")["id"]
        for number in range(TAKES):
            record = lab.drain(lab.stream(_request(number)))
            tone = 0.3 * np.sin(2 * np.pi * (200 + 5 * number) * moments).astype(np.float32)
            lab.library.files.target(record["audio_path"]).write_bytes(
                wav_bytes(to_pcm16(tone), RATE)
            )
            version = record["active_version_id"]
            for table, id in (("generations", record["id"]), ("versions", version)):
                lab.library.store.patch(table, id, {"duration": float(MINUTE_S)})
            start_ms = number * 60_000 - (2000 if number % 2 else 0)
            lab.library.stories.add_item(
                story, record["id"], start_time_ms=start_ms, track=number % 2
            )
    return story


def _request(number: int):
    from voicelab import GenerationRequest

    return GenerationRequest(f"Take number {number}.")


def export(folder: Path, story: str, kind: str) -> None:
    """In a fresh process: write the story; print seconds and the largest memory in MB."""
    from voicelab import Settings, VoiceLab

    with VoiceLab(Settings(engine="tone", data_dir=folder)) as lab:
        began = time.perf_counter()
        lab.library.stories.export(story, kind, folder / f"story.{kind}")
        taken_s = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([round(taken_s, 2), round(peak_mb)]))


def main() -> None:
    """Measure, print, then the JSON."""
    if len(sys.argv) == 4:
        export(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
        return
    figures, peaks = {}, []
    with tempfile.TemporaryDirectory() as folder:
        story = fill(Path(folder))
        for kind in ("wav", "m4b"):
            command = [sys.executable, __file__, folder, story, kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            taken_s, peak_mb = json.loads(done.stdout.splitlines()[-1])
            size_mb = Path(folder, f"story.{kind}").stat().st_size / 1e6
            print(f"{kind}: {taken_s} s, {size_mb:.0f} MB, at most {peak_mb} MB of memory")
            figures[f"hour_{kind}_s"] = taken_s
            peaks.append(peak_mb)
    print(json.dumps({**figures, "peak_rss_mb": max(peaks)}))


if __name__ == "__main__":
    main()
