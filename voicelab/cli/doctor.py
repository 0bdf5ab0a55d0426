"""`python -m voicelab doctor`: checks the engines of this machine and measures their speed."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

import psutil
from tqdm import tqdm

from voicelab.cli.command import Command
from voicelab.engines import Engine, Registry, Utterance, Voice
from voicelab.errors import VoicelabError
from voicelab.settings import Settings

__all__ = ["COMMAND"]

SENTENCES = (
    "The fjord was quiet, and far away a bell rang.",
    "Nobody on the deck said a word until the light came.",
    "Then the ferry turned, slowly, towards the open sea.",
    "It was the first warm morning of the year.",
)
PACKAGES = ("voicelab", "torch", "chatterbox-tts", "transformers", "gradio")


def _doctor(settings: Settings, _: argparse.Namespace) -> int:
    """Say what this machine can do, and how fast.

    Exit status 1 if it cannot speak.
    """
    registry = Registry(settings)
    try:
        for line in (*_machine(), *_engines(registry), *_matrix_products()):
            print(line)
        for line in _measure_engine(registry, registry.default):
            print(line)
    except VoicelabError as error:
        print(f"it does not speak: {error.message}")
        return 1
    finally:
        registry.close()
    return 0


COMMAND = Command(
    _doctor,
    settings=(
        *("engine", "device", "checkpoint_dir", "multilingual_version", "mode", "kernel"),
        *("threads", "piper_voices"),
    ),
)


def _machine() -> Iterator[str]:
    memory = psutil.virtual_memory()
    cores = psutil.cpu_count(logical=False) or os.cpu_count()
    yield f"machine    {platform.system()} {platform.machine()}, {cores} cores, " + (
        f"{memory.total / 1e9:.0f} GB of memory, {memory.available / 1e9:.0f} free"
    )
    yield "versions   " + ", ".join(f"{name} {found}" for name, found in _versions())


def _versions() -> Iterator[tuple[str, str]]:
    yield "Python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _engines(registry: Registry) -> Iterator[str]:
    for name in registry.names:
        found = registry.presence(name)
        usable = "ready to use" if found.installed and found.weights else "not usable"
        source = registry.source(name)
        origin = "" if source == "built in" else f" (from {source})"
        yield f"engine     {name}{origin}: {usable}: {found.reason}"
    for each in registry.broken:
        yield f"left out   {each.entry_point} (from {each.source}): {each.reason}"
    yield f"chosen     {registry.default}: {registry.reason}"


def _matrix_products() -> Iterator[str]:
    """Times of the matrix products with few rows that decoding consists of, by kernel."""
    try:
        from voicelab.engines.chatterbox.selftest import ROWS, timings  # of the extra chatterbox
    except ImportError:
        return
    found = timings()
    if not found:
        yield "products   plain: torch's own, since no packed ones are right here"
    for name, spent in found.items():
        times = ", ".join(f"{ms:.2f}" for ms in spent)
        yield f"products   {name}: {times} ms a layer with {', '.join(map(str, ROWS))} rows"


def _measure_engine(registry: Registry, name: str) -> Iterator[str]:
    info = registry.info(name)
    with tqdm(total=100, unit="%", desc=f"loading {info.label}", leave=False) as bar:
        began = time.perf_counter()
        engine = registry.engine(name)

        def shown(fraction: float, *_: object) -> None:
            bar.update(round(100 * fraction) - bar.n)

        engine.load(shown)
    yield f"loaded     in {time.perf_counter() - began:.1f} s; " + ", ".join(
        f"{key} {value}" for key, value in engine.versions().items()
    )
    kernel = engine.versions().get("kernel")
    if kernel is not None:
        agrees = "does not agree with" if kernel == "upstream" else "agrees with"
        yield f"self-test  our decoding {agrees} upstream's"
    yield "one        " + _measure(engine, SENTENCES[:1])
    if info.batch_size > 1:
        yield f"{len(SENTENCES)} at once  " + _measure(engine, SENTENCES)


def _measure(engine: Engine, texts: Sequence[str]) -> str:
    values = {parameter.name: parameter.default for parameter in engine.info.parameters}
    language = next(iter(engine.info.languages))
    utterances = [Utterance(text, Voice(), values, n, language) for n, text in enumerate(texts)]
    began, first_s, sound_s = time.perf_counter(), 0.0, 0.0
    for spoken in engine.speak(utterances, lambda _: False):
        if spoken.failure is not None:
            raise spoken.failure
        first_s = first_s or time.perf_counter() - began
        sound_s += len(spoken.audio) / engine.info.sample_rate
    took_s = time.perf_counter() - began
    return (
        f"{sound_s:.1f} s of speech in {took_s:.2f} s, the first after {first_s:.2f} s; "
        f"real-time factor {took_s / sound_s:.2f}"
    )
