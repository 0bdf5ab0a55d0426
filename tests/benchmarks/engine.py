"""Our loops against upstream's own generate, with random weights of the real size.

    python tests/benchmarks/engine.py --chunks 8 --tokens 120 --model english

Both speak the same chunks with the same seeds in one process, in turn. The checkpoint is built
once in the temporary folder (3 GB). The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A script's own folder comes first on the path, and there http.py hides the library's `http`.
sys.path[:1] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "engines")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tiny_chatterbox import build  # noqa: E402
from voicelab.engines.base import Utterance, Voice  # noqa: E402
from voicelab.engines.chatterbox.engine import ChatterboxEngine  # noqa: E402

MODELS = {"english": "chatterbox", "turbo": "chatterbox-turbo"}
RATE = 24_000
TEXT = (
    "The ferry left the quay before dawn, and nobody on the deck said a word until the light "
    "came over the ridge."
)
FIRST = 0.3
"""Share of a chunk that the first one has when somebody listens: 80 of 280 characters."""


@dataclass
class Told:
    """What speakers were asked to make audible: tokens of each chunk, in order of its seed."""

    tokens: dict[int, list[int]] = field(default_factory=dict)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--chunks", type=int, default=8)
    options.add_argument("--tokens", type=int, default=120, help="speech tokens a chunk")
    options.add_argument("--model", choices=MODELS, default="english")
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=None)
    options.add_argument("--rounds", type=int, default=2, help="of ours; upstream speaks once")
    options.add_argument("--modes", default="exact,fast,draft")
    options.add_argument("--quick", action="store_true", help="two chunks of 40 tokens")
    options.add_argument("--memory", action="store_true", help="speak once, print the peak alone")
    given = options.parse_args()
    if given.quick:
        given.chunks, given.tokens, given.rounds = 2, 40, 1
    folder = checkpoint(MODELS[given.model], given.tokens)
    if given.memory:
        speak(engine(given, folder, "exact"), chunks(given))
        print(highest_gb())
        return
    print(json.dumps(compared(given, folder)))


def compared(given: Any, folder: Path) -> dict[str, Any]:
    """The whole measurement."""
    utterances = chunks(given)
    upstream = engine(given, folder, "exact", "upstream")
    found: dict[str, Any] = {"device": upstream.device, "threads": torch.get_num_threads()}
    modes = given.modes.split(",")
    right: dict[int, np.ndarray] = {}
    spent: list[float] = []
    rtf: dict[str, float] = {}
    half = len(utterances) // 2
    told_right, told = Told(), Told()
    for mode in modes:
        ours = engine(given, folder, mode)
        say(f"{mode}: kernel {ours.versions().get('kernel')}")
        took: list[float] = []
        for number in range(given.rounds):
            if mode == modes[0] and number < 2:  # upstream and ours in turn
                some = range(half) if number == 0 else range(half, len(utterances))
                if given.rounds == 1:
                    some = range(len(utterances))
                with listened(upstream, told_right):
                    spent += one_by_one(upstream, utterances, some, right)
            with listened(ours, told):
                seconds, sounds = speak(ours, utterances)
            took.append(seconds)
            say(f"{mode}: {seconds:.1f} s")
        audio_s = sum(map(len, right.values())) / RATE
        rtf[mode] = statistics.median(took) / audio_s
        found[f"{mode}_ratio"] = sum(spent) / statistics.median(took)
        if mode == "exact":
            found["exact_max_diff"] = max(difference(right[n], sounds[n]) for n in right)
            found["tokens_equal"] = told.tokens == told_right.tokens
            found["floor"] = floor(ours, given, utterances)
            found |= first_sound(ours, utterances, spent[0])
        ours.close()
    rtf["upstream"] = sum(spent) / (sum(map(len, right.values())) / RATE)
    upstream.close()
    found["rtf"] = rtf
    found["peak_rss_gb"] = peak(given)
    return rounded(found)


def chunks(given: Any) -> list[Utterance]:
    """Texts of different lengths, each with a seed of its own."""
    info = ChatterboxEngine(MODELS[given.model]).info
    values = {p.name: p.default for p in info.parameters}
    texts = [TEXT[: 60 + 6 * n] for n in range(given.chunks)]
    return [Utterance(text, Voice(), values, 100 + n, "en") for n, text in enumerate(texts)]


def engine(given: Any, folder: Path, mode: Any, kernel: str = "auto") -> ChatterboxEngine:
    made = ChatterboxEngine(
        *(MODELS[given.model],),
        device=given.device,
        checkpoint_dir=folder,
        threads=given.threads,
        mode=mode,
        kernel=kernel,
    )
    began = time.perf_counter()
    made.load(lambda *_: None)
    say(f"{mode} {kernel}: loaded in {time.perf_counter() - began:.1f} s")
    return made


def speak(ours: ChatterboxEngine, given: Sequence[Utterance]) -> tuple[float, dict]:
    """Seconds for all together, and the sounds."""
    began = time.perf_counter()
    sounds = {}
    for spoken in ours.speak(given, lambda _: False):
        if spoken.failure:
            raise spoken.failure
        sounds[spoken.index] = spoken.audio
    return time.perf_counter() - began, sounds


def one_by_one(
    upstream: ChatterboxEngine, given: Sequence[Utterance], some: Sequence[int], right: dict
) -> list[float]:
    """Seconds of each; the sounds go into `right`."""
    spent = []
    for n in some:
        seconds, sounds = speak(upstream, [given[n]])
        right[n] = sounds[0]
        spent.append(seconds)
        say(f"upstream: chunk {n}, {len(sounds[0]) / RATE:.1f} s of sound in {seconds:.1f} s")
    return spent


@contextlib.contextmanager
def listened(speaker: ChatterboxEngine, told: Told) -> Iterator[None]:
    """Note what T3 gave S3Gen, as sets of tokens: they come in any order."""
    speech: Any = speaker._speech
    if speech.kernel == "upstream":
        s3gen = speech.model.s3gen
        real = s3gen.inference

        def inference(**arguments: Any) -> Any:
            note(told, arguments["speech_tokens"])
            return real(**arguments)

        s3gen.inference = inference
        try:
            yield
        finally:
            del s3gen.inference
        return
    synthesis = speech._parts.synthesis
    waves = synthesis.waves

    def noted(pieces: Any) -> Any:
        for piece in pieces:
            note(told, piece.tokens)
        return waves(pieces)

    synthesis.waves = noted
    try:
        yield
    finally:
        del synthesis.waves


def note(told: Told, tokens: torch.Tensor) -> None:
    found = tokens.flatten().tolist()
    told.tokens[hash(tuple(found))] = found


def first_sound(ours: ChatterboxEngine, given: Sequence[Utterance], upstream_s: float) -> dict:
    """Upstream's first chunk against ours alone, and against the shorter one of the plan."""
    whole, _ = speak(ours, given[:1])
    found = {"ttfa_whole_chunk_ratio": upstream_s / whole}
    model: Any = ours._speech
    positions = getattr(model.model.t3.speech_pos_emb, "emb", None)
    planned = whole
    if positions is not None:  # the end of the random model stands in its position embedding
        before = positions.weight.detach().clone()
        end = int((before[:, 1] > 1).nonzero()[0])
        with torch.inference_mode():
            positions.weight[int(FIRST * end) :, 1] = 400.0
        short = Utterance(
            given[0].text[: int(FIRST * len(given[0].text))],
            *(given[0].voice, given[0].parameters, given[0].seed, "en"),
        )
        planned, _ = speak(ours, [short])
        with torch.inference_mode():
            positions.weight.copy_(before)
    found |= {"ttfa_s": planned, "upstream_ttfa_s": upstream_s, "ttfa_ratio": planned / upstream_s}
    return found


def floor(ours: ChatterboxEngine, given: Any, utterances: Sequence[Utterance]) -> dict:
    """A decoding step against reading its weights and keys once at the memory's speed."""
    speech: Any = ours._speech
    decoder = speech._parts.decoder
    from voicelab.engines.chatterbox.pipeline import _Batch

    batch = _Batch(speech._parts, utterances, lambda _: False, lambda _: ())
    with torch.inference_mode():
        rows = [decoder.begin(batch._sentence(one)) for one in utterances]
        for _ in range(5):
            decoder.step(rows)
        began = time.perf_counter()
        for _ in range(10):
            decoder.step(rows)
        step_s = (time.perf_counter() - began) / 10
        keys = sum(row.cache.length * row.cache.nbytes / row.cache._held.shape[4] for row in rows)
    block = torch.randn(64, 1 << 20)
    block.sum()
    began = time.perf_counter()
    for _ in range(3):
        block.sum()
    speed = 3 * block.nbytes / (time.perf_counter() - began)
    weights = WEIGHTS[given.model]
    return {
        "step_ms": 1e3 * step_s,
        "floor_ms": 1e3 * (weights + keys) / speed,
        "memory_gb_per_s": speed / 1e9,
    }


WEIGHTS = {"english": 4 * (30 * 16 * 1024 * 1024 + 8194 * 1024), "turbo": 4 * 24 * 12 * 1024 * 1024}
"""Bytes that a step reads."""


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def peak(given: Any) -> float:
    """Of a process of its own that speaks two chunks, in GB."""
    command = [sys.executable, __file__, "--memory", "--model", given.model]
    command += ["--device", given.device, "--tokens", str(given.tokens)]
    command += ["--chunks", "2"]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(out.stdout.split()[-1])


def highest_gb() -> float:
    """Of this process; what getrusage says counts the process that started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def checkpoint(name: str, tokens: int) -> Path:
    """Full-size random weights; built when they are not in the temporary folder."""
    folder = Path(tempfile.gettempdir()) / f"voicelab-benchmark-{name}-{tokens}"
    if not (folder / "conds.pt").exists():
        say(f"building {folder}")
        build(name, folder, tokens=tokens, full_size=True)
    return folder


def rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    return float(f"{found:.4g}") if isinstance(found, float) else found


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
