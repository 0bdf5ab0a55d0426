"""Which engine speaks where a request names none, and why."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from voicelab.engines.base import Broken, Presence
from voicelab.errors import InvalidInput
from voicelab.settings import Settings

__all__ = ["STAND_INS", "choose", "next_speakers"]

STAND_INS = ("piper", "espeak")
"""Engines that speak where Chatterbox cannot, the most natural first."""

PREFERRED = ("chatterbox-nano", "chatterbox-turbo", "chatterbox")
"""Chatterbox's English models, the fastest first."""

Presences = Callable[[str], Presence]


def choose(
    settings: Settings,
    names: Collection[str],
    presence: Presences,
    broken: Sequence[Broken],
    replaced: bool,
) -> tuple[str, str]:
    """The default engine, and a sentence that says why it is that one.

    Args:
        settings: which engine is wanted, and on which device.
        names: of the engines there are.
        presence: whether one can be used here.
        broken: engines that were left out, for the message.
        replaced: the engines were given in place of all others.

    Raises:
        InvalidInput: the settings name an engine that is not there.
    """
    wanted = settings.engine
    if wanted in names:
        return wanted, "chosen by the settings"
    if wanted != "auto" and not replaced:
        raise InvalidInput(_unknown(wanted, names, broken), param="engine")
    if "chatterbox" in names:
        return _choose_chatterbox(settings, names, presence)
    return next(iter(names)), "the only engine given"


def next_speakers(default: str, names: Collection[str], presence: Presences) -> Iterator[str]:
    """Engines that may speak in the default's place: other Chatterbox models that are here, then
    those of STAND_INS that are installed."""
    for name in PREFERRED:
        found = presence(name)
        here = found.installed and found.weights and not found.remote
        if here and name != default and name in names:
            yield name
    yield from _stand_ins(names, presence)


def _stand_ins(names: Collection[str], presence: Presences) -> Iterator[str]:
    return (name for name in STAND_INS if name in names and presence(name).installed)


def _unknown(wanted: str, names: Collection[str], broken: Sequence[Broken]) -> str:
    left_out = "".join(
        f" Left out: {each.entry_point} ({each.source}): {each.reason}" for each in broken
    )
    known = ", ".join(("auto", *names))
    return f"There is no engine '{wanted[:40]}'; there are {known}.{left_out}"


def _choose_chatterbox(
    settings: Settings, names: Collection[str], presence: Presences
) -> tuple[str, str]:
    """Without a GPU the smaller models come first."""
    slow = settings.device == "cpu" or not _has_gpu()
    for name in PREFERRED if slow else ("chatterbox",):
        found = presence(name)
        if name in names and found.installed and found.weights:
            mode = settings.mode
            named = "" if mode == "exact" else f" Mode {mode}: another sound than its makers'."
            return name, f"{found.reason} {_expectation(name, slow)}{named}"
    name = next(_stand_ins(names, presence), next(iter(names)))
    return name, f"Chatterbox cannot speak here: {presence('chatterbox').reason}"


def _expectation(name: str, slow: bool) -> str:
    if not slow:
        return "It computes on the GPU."
    if name == "chatterbox-nano":
        return "There is no GPU: Nano is the fastest of its models."
    if name == "chatterbox-turbo":
        return "There is no GPU: Turbo takes about as long as its speech lasts."
    return "There is no GPU: it takes several times as long as its speech lasts."


def _has_gpu() -> bool:
    """Without importing torch."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return apple or Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()
