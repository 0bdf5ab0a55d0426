"""Our loops against upstream's own generate, with random weights of the real size.

    python tests/benchmarks/engine.py --chunks 8 --tokens 120 --model turbo --modes exact,fast

Both speak the same chunks with the same seeds in one process, in turn: in each round upstream one
chunk and ours all. Ratios are medians over the rounds. A mode may name its matrix products, as
`fast:int8`. The checkpoint is built once in the temporary folder (3 GB). The last line is JSON.
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
from unittest import mock

# A script's own folder comes first on the path, and there http.py hides the library's `http`.
sys.path[:1] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "engines")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tiny_chatterbox import END, TURBO_PREFIX, build  # noqa: E402
from voicelab.engines.base import Utterance, Voice  # noqa: E402
from voicelab.engines.chatterbox import selftest  # noqa: E402
from voicelab.engines.chatterbox.engine import ChatterboxEngine  # noqa: E402
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS  # noqa: E402
from voicelab.engines.chatterbox.linear import FAST_KERNELS, KERNELS, plain  # noqa: E402
from voicelab.engines.chatterbox.pipeline import _Batch  # noqa: E402

MODELS = {
    "nano": "chatterbox-nano",
    "turbo": "chatterbox-turbo",
    "english": "chatterbox",
    "multilingual": "chatterbox-multilingual",
}
NANO = {"n_embd": 768, "hidden_size": 768, "n_head": 12, "n_layer": 12}
RATE = 24_000
TEXT = (
    "The ferry left the quay before dawn, and nobody on the deck said a word until the light "
    "came over the ridge."
)
FIRST = 0.3
"""Share of a chunk that the first one has when somebody listens: 80 of 280 characters."""
FOLLOWED = 2
"""Chunks on which the cost of rounded weights is counted."""


@dataclass
class Told:
    """What speakers were asked to make audible: tokens of each chunk, in order of its seed."""

    tokens: dict[int, list[int]] = field(default_factory=dict)


@dataclass
class Measured:
    """One mode against upstream, a number for each round.

    Attributes:
        upstream_s: of one chunk.
        ours_s: of all chunks.
        whole_s, planned_s: of the first chunk alone, and of the shorter one that a listener gets.
    """

    upstream_s: list[float] = field(default_factory=list)
    ours_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    planned_s: list[float] = field(default_factory=list)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--chunks", type=int, default=8)
    options.add_argument("--tokens", type=int, default=120, help="speech tokens a chunk")
    options.add_argument("--model", choices=MODELS, default="english")
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=None)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--modes", default="exact,fast")
    options.add_argument("--quick", action="store_true", help="chunks of 60 tokens, one round")
    options.add_argument("--memory", action="store_true", help="speak once, print the peak alone")
    given = options.parse_args()
    if given.quick:
        given.tokens, given.rounds = 60, 1
    with sizes(given.model):
        folder = checkpoint(given.model, given.tokens)
        if given.memory:
            speak(engine(given, folder, "exact"), chunks(given))
            print(highest_gb())
            return
        print(json.dumps(compared(given, folder)))


@contextlib.contextmanager
def sizes(model: str) -> Iterator[None]:
    """Nano's, while no engine of that name is known: Turbo's classes with another configuration."""
    if model != "nano" or MODELS["nano"] in CHATTERBOX_INFOS:
        yield
        return
    from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS

    with mock.patch.dict(LLAMA_CONFIGS["GPT2_medium"], NANO):
        yield


def engine_name(model: str) -> str:
    """Of the engine that speaks the model; see `sizes`."""
    name = MODELS[model]
    return name if name in CHATTERBOX_INFOS else MODELS["turbo"]


def compared(given: Any, folder: Path) -> dict[str, Any]:
    """The whole measurement."""
    utterances = chunks(given)
    upstream = engine(given, folder, "exact", "upstream")
    speech: Any = upstream._speech
    t3 = speech.model.t3
    found: dict[str, Any] = {"model": given.model, "device": upstream.device}
    found |= {"threads": torch.get_num_threads(), "capability": capability()}
    found["ms_a_layer"] = products(selftest.shapes(t3)) if upstream.device == "cpu" else {}
    right: dict[int, np.ndarray] = {}
    told_right, told, per_chunk = Told(), Told(), []
    exact = None
    for mode in given.modes.split(","):
        ours = engine(given, folder, *mode.split(":"))
        spent, sounds = Measured(), {}
        for number in range(given.rounds):
            with listened(upstream, told_right):
                spent.upstream_s += one_by_one(upstream, utterances, [number % 8], right)
            with listened(ours, told) if mode == "exact" else contextlib.nullcontext():
                seconds, sounds = speak(ours, utterances)
            spent.ours_s.append(seconds)
            first_sound(ours, utterances, spent)
            say(f"{mode}: {spent}")
        per_chunk += spent.upstream_s
        found[mode] = ratios(spent, utterances, sounds) | {
            "kernel": ours.versions().get("kernel"),
            "floor": floor(ours, given, utterances, t3),
        }
        say(f"{mode}: {found[mode]}")
        if mode == "exact":
            found[mode]["max_diff"] = max(difference(right[n], sounds[n]) for n in right)
            equal = [tokens in told.tokens.values() for tokens in told_right.tokens.values()]
            found[mode]["tokens_equal"] = all(equal)
            exact = ours
            continue
        if exact is not None:
            found[mode] |= cost(exact, ours, utterances[:FOLLOWED])
        ours.close()
    if exact is not None:
        exact.close()
    upstream.close()
    seconds = len(right[0]) / RATE
    found["upstream"] = {"chunk_s": statistics.median(per_chunk), "chunk_sound_s": seconds}
    found["upstream"]["rtf"] = found["upstream"]["chunk_s"] / seconds
    if not given.quick:
        found["peak_rss_gb"] = peak(given)
    return rounded(found)


def ratios(spent: Measured, utterances: Sequence[Utterance], sounds: dict) -> dict[str, float]:
    """Medians over the rounds; upstream needs as long for each chunk."""
    one = spent.upstream_s
    times = zip(one, spent.ours_s, spent.whole_s, spent.planned_s, strict=True)
    rows = [
        (len(utterances) * up / all_, up / whole, first / up) for up, all_, whole, first in times
    ]
    ratio, whole, first = (statistics.median(column) for column in zip(*rows, strict=True))
    return {
        "ratio": ratio,
        "rtf": statistics.median(spent.ours_s) / (sum(map(len, sounds.values())) / RATE),
        "whole_chunk_alone_ratio": whole,
        "first_audio_of_upstreams_chunk": first,
        "first_audio_s": statistics.median(spent.planned_s),
    }


def products(layer: Sequence[tuple[int, int]]) -> dict[str, list[float]]:
    """Each kernel's times, printed; torch's own among them, which are not the same in company."""
    with mock.patch.object(selftest, "_is_right", lambda *_: True):
        found = selftest.timings(layer, {"plain": plain})
    found |= selftest.timings(layer, {**KERNELS, **FAST_KERNELS})
    say(f"{'ms a layer with rows:':24}" + "".join(f"{rows:8}" for rows in selftest.ROWS))
    for name, times in found.items():
        say(f"{name:24}" + "".join(f"{ms:8.2f}" for ms in times))
    return found


def capability() -> str:
    """The instructions torch uses, and oneDNN's limit when one is set."""
    import os

    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return " ".join(filter(None, [torch.backends.cpu.get_cpu_capability(), limit]))


def cost(
    exact: ChatterboxEngine, fast: ChatterboxEngine, given: Sequence[Utterance]
) -> dict[str, float]:
    """What the fast mode changes: tokens, each drawn after the exact ones before it, and mel
    frames of the same tokens, as a share of their spread."""
    ours: Any = exact._speech
    theirs: Any = fast._speech
    different = total = 0
    errors, controls = [], []
    with torch.inference_mode():
        for utterance in given:
            batch = _Batch(ours._parts, [utterance], lambda _: False, lambda _: ())
            row = ours._parts.decoder.begin(batch._sentence(utterance))
            while not row.ended:
                ours._parts.decoder.step([row])
            sentence = batch._sentence(utterance)
            drawn = selftest.followed(theirs._parts.decoder, sentence, row.tokens)
            different += sum(a != b for a, b in zip(drawn, row.tokens, strict=True))
            total += len(drawn)
            right, other = (mels(batch, row, ours, seed) for seed in (1, 2))
            spread = float(right.std())
            errors.append(rms(right - mels(batch, row, theirs, 1)) / spread)
            controls.append(rms(right - other) / spread)
    return {
        "tokens_differing_per_100": 100 * different / total,
        "mel_distance": statistics.mean(errors),
        "mel_distance_of_another_seed": statistics.mean(controls),
    }


def mels(batch: Any, row: Any, speech: Any, seed: int) -> torch.Tensor:
    """Mel frames of a row's tokens."""
    row.sentence.generator.manual_seed(seed)
    (frames,) = speech._parts.synthesis._mels([batch._piece(0, row)])
    return frames


def rms(x: torch.Tensor) -> float:
    return float(x.pow(2).mean().sqrt())


def chunks(given: Any) -> list[Utterance]:
    """Texts of different lengths, each with a seed of its own."""
    info = ChatterboxEngine(engine_name(given.model)).info
    values = {p.name: p.default for p in info.parameters}
    texts = [TEXT[: 60 + 6 * n] for n in range(given.chunks)]
    return [Utterance(text, Voice(), values, 100 + n, "en") for n, text in enumerate(texts)]


def engine(given: Any, folder: Path, mode: Any, kernel: str = "auto") -> ChatterboxEngine:
    made = ChatterboxEngine(
        engine_name(given.model),
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


def first_sound(ours: ChatterboxEngine, given: Sequence[Utterance], spent: Measured) -> None:
    """The first chunk alone, and the shorter one of the plan."""
    spent.whole_s.append(speak(ours, given[:1])[0])
    model: Any = ours._speech
    text = given[0].text[: int(FIRST * len(given[0].text))]
    # The end of the random model stands in its position embedding; GPT-2's counts the text, too.
    if model.model.t3.is_gpt:
        positions, offset = model._parts.decoder._backbone._positions, TURBO_PREFIX
    else:
        positions, offset = model.model.t3.speech_pos_emb.emb.weight, 0
    before = positions.detach().clone()
    end = int((before[:, END] > 1).nonzero()[0])
    if offset:
        end = offset + len(text) + int(FIRST * (end - offset - len(given[0].text)))
    else:
        end = int(FIRST * end)
    with torch.inference_mode():
        positions[end:, END] = 400.0
    values = (given[0].voice, given[0].parameters, given[0].seed, "en")
    spent.planned_s.append(speak(ours, [Utterance(text, *values)])[0])
    with torch.inference_mode():
        positions.copy_(before)


def floor(
    ours: ChatterboxEngine, given: Any, utterances: Sequence[Utterance], t3: Any
) -> dict[str, float]:
    """A decoding step against reading its weights and keys once at the memory's speed."""
    speech: Any = ours._speech
    decoder = speech._parts.decoder
    batch = _Batch(speech._parts, utterances, lambda _: False, lambda _: ())
    with torch.inference_mode():
        rows = [decoder.begin(batch._sentence(one)) for one in utterances]
        one_s, all_s = step_s(decoder, rows[:1]), step_s(decoder, rows)
        keys = sum(row.cache.length * row.cache.nbytes / row.cache.tensor.shape[4] for row in rows)
    block = torch.randn(64, 1 << 20)
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        block.sum()
        spent.append(time.perf_counter() - began)
    speed = block.nbytes / min(spent)
    layers = getattr(t3.tfmr.config, "num_hidden_layers", None) or t3.tfmr.config.n_layer
    numbers = layers * sum(out * into for out, into in selftest.shapes(t3))
    numbers += t3.speech_head.weight.numel()
    size = {"float16": 2, "int8": 1}.get(str(ours.versions()["kernel"]), 4)
    return {
        "step_of_one_ms": 1e3 * one_s,
        "step_of_all_ms": 1e3 * all_s,
        "floor_of_one_ms": 1e3 * (size * numbers + keys / len(rows)) / speed,
        "floor_of_all_ms": 1e3 * (size * numbers + keys) / speed,
        "memory_gb_per_s": speed / 1e9,
    }


def step_s(decoder: Any, rows: Sequence[Any]) -> float:
    """The fastest of some steps."""
    spent = []
    for _ in range(8):
        began = time.perf_counter()
        decoder.step(rows)
        spent.append(time.perf_counter() - began)
    return min(spent)


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


def checkpoint(model: str, tokens: int) -> Path:
    """Full-size random weights; built when they are not in the temporary folder."""
    folder = Path(tempfile.gettempdir()) / f"voicelab-benchmark-{MODELS[model]}-{tokens}"
    if not (folder / "conds.pt").exists():
        say(f"building {folder}")
        build(engine_name(model), folder, tokens=tokens, full_size=True)
    return folder


def rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return float(f"{found:.4g}") if isinstance(found, float) else found


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
