"""What an engine is: the seam between the scheduler and everything that can speak.

An engine takes *batches*. It keeps no state between calls that could change what a call
returns: the same utterance gives the same samples, whatever came before it and whoever
shares its batch. The scheduler calls `load` and `speak` from its one worker thread;
`prepare_voice` may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voicelab.errors import BadClip, SpeechFailed
from voicelab.settings import Settings

__all__ = [
    "Broken",
    "Engine",
    "EngineInfo",
    "LoadProgress",
    "More",
    "Parameter",
    "Plugin",
    "Presence",
    "Spoken",
    "Transfer",
    "Utterance",
    "Voice",
    "nothing_more",
    "own_voice",
]


@dataclass(frozen=True)
class Transfer:
    """How far weights are fetched.

    Attributes:
        bytes_done, bytes_total: of all files of an engine.
        bytes_per_second: over the last ten seconds.
    """

    bytes_done: int
    bytes_total: int
    bytes_per_second: float

    @property
    def fraction(self) -> float:
        """In 0..1."""
        return self.bytes_done / self.bytes_total if self.bytes_total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """None while the speed is not known."""
        left = self.bytes_total - self.bytes_done
        return left / self.bytes_per_second if self.bytes_per_second > 0 else None

    def __str__(self) -> str:
        done, total, rate = (
            f"{count / 1e6:,.1f}"
            for count in (self.bytes_done, self.bytes_total, self.bytes_per_second)
        )
        left = self.seconds_left
        text = f"{done} of {total} MB, {rate} MB/s"
        return text if left is None else f"{text}, {left // 60:.0f} min {left % 60:.0f} s left"


class LoadProgress(Protocol):
    """Told how far loading is."""

    def __call__(self, fraction: float, line: str, transfer: Transfer = ..., /) -> object:
        """A fraction in 0..1 and a line for the user; with a transfer while weights are fetched."""
        ...


@dataclass(frozen=True)
class Parameter:
    """One number that changes how an engine speaks.

    It is declared here alone: the bodies of requests, openapi.json, the page's sliders and
    GET /engines are made from it.

    Attributes:
        name: the key in a request and in the record.
        label: what the page writes beside the slider.
        default: used when the request is silent.
        minimum: smallest allowed value.
        maximum: largest allowed value.
        step: the slider's step; 1 with an int default means whole numbers.
        help: one sentence on what it does.
        accepted: (smallest, largest) that a request may hold whichever engine speaks, where
            clients send more than `minimum` to `maximum`; this engine itself refuses it.
    """

    name: str
    label: str
    default: float
    minimum: float
    maximum: float
    step: float
    help: str = ""
    accepted: tuple[float, float] | None = None


@dataclass(frozen=True)
class EngineInfo:
    """What is known of an engine without loading it (and without importing torch).

    Attributes:
        name: the key in settings, requests and records.
        label: the name on the page.
        model_size: written to the record, e.g. "0.5B"; None where it means nothing.
        sample_rate: of its audio, in Hz.
        languages: BCP 47 codes it speaks -> their names; the first is the default.
        parameters: what can be set, in the order of the page.
        max_chunk_chars: the longest chunk it should be given, in characters.
        batch_size: how many utterances it decodes together at most.
        clones_voices: whether `prepare_voice` takes a clip.
        event_tags: tags such as "laugh" that it performs when they stand in brackets.
        random: whether the seed changes the samples.
        description: one sentence for the page and /engines.
        offered: whether the page offers it where the settings do not choose it.
    """

    name: str
    label: str
    sample_rate: int
    languages: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    max_chunk_chars: int
    batch_size: int = 1
    model_size: str | None = None
    clones_voices: bool = False
    event_tags: frozenset[str] = frozenset()
    random: bool = True
    description: str = ""
    offered: bool = True


@dataclass(frozen=True)
class Presence:
    """Whether an engine can be used here.

    Attributes:
        installed: its packages can be imported.
        weights: its weights are on this machine (True for engines that need none).
        reason: one sentence for the user: why it can or cannot be used.
        remote: the weights are not here yet, but can be fetched.
        download_mb: megabytes that are fetched before it first speaks.
        info: its declaration, where what is here changes it.
    """

    installed: bool
    weights: bool
    reason: str
    remote: bool = False
    download_mb: int = 0
    info: EngineInfo | None = None


@dataclass(frozen=True)
class Voice:
    """A prepared voice: the engine's own, or one made from a reference clip.

    Attributes:
        key: "default", or the SHA-256 of the clip in hex. Equal keys speak alike.
        data: what the engine made of the clip; opaque to everybody else.
    """

    key: str = "default"
    data: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Utterance:
    """One chunk to speak.

    Attributes:
        text: not empty, at most `EngineInfo.max_chunk_chars` characters.
        voice: from the same engine's `prepare_voice`.
        parameters: complete and checked: every name of `EngineInfo.parameters`.
        seed: 0 .. 2**32 - 1.
        language: one of `EngineInfo.languages`.
        urgent: somebody listens already and has heard nothing of it yet. It changes when it is
            spoken, never how.
    """

    text: str
    voice: Voice
    parameters: Mapping[str, float]
    seed: int
    language: str
    urgent: bool = False


@dataclass(frozen=True)
class Spoken:
    """How one utterance of a batch ended.

    Attributes:
        index: which utterance of the batch, from 0.
        audio: float32, shape (n,), nominally -1..1, at `EngineInfo.sample_rate`.
        capped: the engine stopped at its length limit, so the end of the text is missing; it may
            give no audio then.
        failure: why this one, and it alone, has no audio.
    """

    index: int
    audio: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    capped: bool = False
    failure: SpeechFailed | None = None


More = Callable[[int], "Sequence[Utterance]"]
"""Told how many utterances there is room for; gives at most as many."""


def nothing_more(room: int) -> Sequence[Utterance]:
    """The `More` of a batch that does not grow."""
    return ()


def own_voice(label: str, clip: Path | None) -> Voice:
    """`Engine.prepare_voice` of an engine that has one voice; raises BadClip for a clip."""
    if clip is not None:
        raise BadClip(
            f"{label} cannot imitate a voice clip; choose a Chatterbox engine for that.",
            param="voice_file",
        )
    return Voice()


class Engine(Protocol):
    """A voice. See the module's docstring for the rules."""

    @property
    def info(self) -> EngineInfo:
        """What it is; available before `load`."""
        ...

    @property
    def device(self) -> str:
        """Where it computes: "cpu", "cuda", "mps"."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Versions of what makes the sound, for the record; cheap."""
        ...

    def load(self, progress: LoadProgress) -> None:
        """Make ready to speak; returns at once when it already is.

        Raises:
            EngineUnavailable: not installed, weights missing or broken. It can be called
                again later.
        """
        ...

    def prepare_voice(self, clip: Path | None) -> Voice:
        """The engine's own voice (None), or one made from a reference clip (a WAV file).

        Cheap: heavy work (conditionals) is done by `speak` and cached by the clip's hash.

        Raises:
            BadClip: the clip cannot be used by this engine, or it does not clone voices.
        """
        ...

    def speak(
        self,
        utterances: Sequence[Utterance],
        cancelled: Callable[[int], bool],
        more: More = nothing_more,
    ) -> Iterator[Spoken]:
        """Speak a batch; each utterance's audio as soon as it is done, in any order.

        Args:
            utterances: 1 .. `info.batch_size` of them.
            cancelled: asked with an utterance's index at every decoding step; once it says
                True that utterance is dropped and never yielded.
            more: asked when there is room beside those being spoken; what it gives joins
                them, and is counted on from the last index. An engine that speaks one by one
                need not ask.

        Raises:
            SpeechFailed: of the whole batch. Utterances that were not yielded before may be
                given again.
        """
        ...

    def close(self) -> None:
        """Free weights and handles; `load` may follow."""
        ...


@dataclass(frozen=True)
class Broken:
    """An engine that was left out.

    Attributes:
        entry_point: its name, or that of its file.
        source: its distribution's name and version, or the setting that names its folder.
        reason: one sentence; no text of an exception, since /health shows it to everybody.
    """

    entry_point: str
    source: str
    reason: str


@dataclass(frozen=True)
class Plugin:
    """What a module brings to the registry: engines, and how they are made.

    A package of somebody else names one as an entry point of the group `voicelab.engines`; the
    built-in engines are declared the same way. Importing it must be cheap: what is large is
    imported by `Engine.load`.

    Attributes:
        infos: its engines, without loading them.
        make: the engine of a name in `infos`, made from the settings; cheap, called once.
        presence: whether the engine of that name can be used here, asked when the registry is
            made; None where it needs no weights. An engine with one is closed when it is idle for
            `Settings.idle_unload_min`.
        fetch: brings an engine's weights to this machine, called in a thread of its own with the
            engine's name, the settings, the progress, and an event that ends it; it raises
            EngineUnavailable. None where nothing is fetched.
        discover: more engines, which depend on the settings, and those that were left out; asked
            once for each registry. It may raise InvalidInput.
    """

    infos: tuple[EngineInfo, ...]
    make: Callable[[str, Settings], Engine]
    presence: Callable[[str, Settings], Presence] | None = None
    fetch: Callable[[str, Settings, LoadProgress, Event], object] | None = None
    discover: Callable[[Settings], tuple[tuple[EngineInfo, ...], tuple[Broken, ...]]] | None = None
