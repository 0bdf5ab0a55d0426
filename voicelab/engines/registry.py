"""The engines of one lab: which there are, which is the default, what state each is in."""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from voicelab.engines import espeak, tone
from voicelab.engines.base import Engine, EngineInfo, Plugin, Presence
from voicelab.engines.chatterbox import plugin as chatterbox
from voicelab.engines.plugins import Broken, installed
from voicelab.errors import EngineUnavailable, InvalidInput, VoicelabError
from voicelab.settings import Settings

__all__ = ["BUILT_IN", "LoadState", "Registry", "SharedParameter", "engine_names"]

log = logging.getLogger(__name__)

BUILT_IN = (espeak.PLUGIN, chatterbox.PLUGIN, tone.PLUGIN)

NO_WEIGHTS = Presence(True, True, "it needs no weights.")


@dataclass(frozen=True)
class LoadState:
    """How far an engine is: not_started, initializing, ready or error."""

    state: str = "not_started"
    fraction: float = 0.0
    line: str = ""
    error: str | None = None


@dataclass(frozen=True)
class SharedParameter:
    """A parameter as a request may hold it, whichever engine speaks.

    Attributes:
        name: the key in the request.
        minimum, maximum: the widest range of all engines that have it.
        help: which engines those are, and what the first of them says of it.
    """

    name: str
    minimum: float
    maximum: float
    help: str


@dataclass(frozen=True)
class _Entry:
    """An engine that can be made.

    Attributes:
        make: it.
        source: "built in", "given", or the distribution's name and version.
        info: its declaration; None where only the engine itself has it.
        presence: whether it can be used here; None where it needs no weights.
    """

    make: Callable[[], Engine]
    source: str = "given"
    info: EngineInfo | None = None
    presence: Callable[[], Presence] | None = None


def engine_names() -> tuple[str, ...]:
    """What `Settings.engine` may be: "auto", the built-in engines, those of other packages."""
    plugins = [each.plugin for each in installed(_built_in_names())[0]]
    return ("auto", *(info.name for plugin in (*BUILT_IN, *plugins) for info in plugin.infos))


def _built_in_names() -> list[str]:
    return [info.name for plugin in BUILT_IN for info in plugin.infos]


class Registry:
    """Makes engines on demand and remembers them.

    Args:
        settings: which engine, device, checkpoint folder.
        engines: name -> factory, in place of all others; for embedding and tests.

    Attributes:
        default: name of the engine that speaks where a request names none.
        reason: why it is that one, in a sentence.
        broken: entry points of other packages that were left out.

    Raises:
        InvalidInput: the settings name an engine that is not there.
    """

    def __init__(
        self, settings: Settings, engines: Mapping[str, Callable[[], Engine]] | None = None
    ):
        self._settings = settings
        self.broken: tuple[Broken, ...] = ()
        self._entries = self._given(engines) if engines else self._all()
        self._engines: dict[str, Engine] = {}
        self._states: dict[str, LoadState] = {}
        self._lock = threading.Lock()
        self._presences = self._look()
        self.default, self.reason = self._choose(replaced=bool(engines))
        log.info("engine %s: %s", self.default, self.reason)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all engines, the default first."""
        return (self.default, *(name for name in self._entries if name != self.default))

    @property
    def parameters(self) -> Mapping[str, SharedParameter]:
        """All that a request may hold for one of the engines, by name."""
        found: dict[str, SharedParameter] = {}
        owners: dict[str, list[str]] = {}
        for engine in self._entries:
            for parameter in self.info(engine).parameters:
                name = parameter.name
                low, high = parameter.accepted or (parameter.minimum, parameter.maximum)
                owners.setdefault(name, []).append(engine)
                known = found.get(name) or SharedParameter(name, low, high, parameter.help)
                found[name] = replace(
                    known, minimum=min(low, known.minimum), maximum=max(high, known.maximum)
                )
        return {
            name: replace(each, help=": ".join(filter(None, (", ".join(owners[name]), each.help))))
            for name, each in found.items()
        }

    def info(self, name: str | None = None) -> EngineInfo:
        """What is known of an engine; the default's when None.

        Raises:
            InvalidInput: there is no engine of that name.
        """
        name = self._known(name)
        found = self.presence(name).info
        if found is not None and self.state(name).state != "ready":
            return found
        declared = self._entries[name].info
        if declared is None or name in self._engines:
            return self.engine(name).info
        return declared

    def source(self, name: str) -> str:
        """Where an engine comes from: "built in", or a distribution's name and version."""
        return self._entries[self._known(name)].source

    def named(self, name: str | None) -> str | None:
        """The name an engine has here; other servers' clients write underscores in it."""
        other = (name or "").replace("_", "-")
        return other if name not in self._entries and other in self._entries else name

    def _known(self, name: str | None) -> str:
        name = self.named(name) or self.default
        if name not in self._entries:
            raise InvalidInput(
                f"There is no engine '{name[:40]}'; there are {', '.join(self._entries)}.",
                param="engine",
            )
        return name

    def engine(self, name: str | None = None) -> Engine:
        """The engine, perhaps not loaded yet; the default when None.

        Raises:
            InvalidInput: there is no engine of that name.
            EngineUnavailable: it cannot be made.
        """
        name = self._known(name)
        with self._lock:
            if name not in self._engines:
                self._engines[name] = self._made(name)
            return self._engines[name]

    def _made(self, name: str) -> Engine:
        try:
            return self._entries[name].make()
        except VoicelabError:
            raise
        except Exception as error:  # of somebody else's module
            log.warning("engine %s", name, exc_info=True)
            raise EngineUnavailable(
                f"The engine '{name}' cannot be made: {type(error).__name__}."
            ) from error

    def device(self) -> str:
        """Where the default engine computes; "none" while it cannot be made."""
        try:
            return self.engine().device
        except EngineUnavailable:
            return "none"

    def check_language(self, code: str) -> None:
        """Whether one of the engines speaks it; raises InvalidInput."""
        spoken = {each for name in self.names for each in self.info(name).languages}
        if code.lower() not in spoken and code.lower().split("-")[0] not in spoken:
            raise InvalidInput(
                f"No engine here speaks '{code[:20]}'; they speak {', '.join(sorted(spoken))}.",
                param="language",
            )

    def presence(self, name: str) -> Presence:
        """Whether an engine could speak here, as found at the start or when it was loaded."""
        return self._presences.get(name, NO_WEIGHTS)

    def state(self, name: str | None = None) -> LoadState:
        """How far an engine is loaded; the default's when None."""
        return self._states.get(name or self.default, LoadState())

    def load(self, name: str) -> Engine:
        """The engine, ready to speak. Called from the scheduler's thread only.

        Raises:
            EngineUnavailable: with the reason; tried again at the next call.
        """
        if self.state(name).state == "ready":
            return self.engine(name)
        began = time.monotonic()
        label = self.info(name).label
        self._states[name] = LoadState("initializing", 0.0, f"Loading {label}")
        try:
            engine = self.engine(name)
            engine.load(lambda fraction, line: self._advance(name, fraction, line))
        except Exception as error:
            message = str(error) if isinstance(error, VoicelabError) else type(error).__name__
            sentence = f"{label} cannot be loaded: {message}"
            self._states[name] = LoadState("error", 0.0, "", sentence)
            log.warning(sentence, exc_info=not isinstance(error, VoicelabError))
            raise EngineUnavailable(sentence) from error
        self._states[name] = LoadState("ready", 1.0, "ready")
        if ask := self._entries[name].presence:  # what was fetched is here now
            self._presences[name] = ask()
        log.info("engine %s ready after %.1f s", name, time.monotonic() - began)
        return engine

    def unload(self) -> None:
        """Free the weights of all engines that have some; the next `load` brings them back."""
        for name in self._presences:
            if self.state(name).state == "ready":
                self.engine(name).close()
                self._states[name] = LoadState(line="its weights are freed until somebody speaks")
                log.info("engine %s: its weights are freed", name)

    def close(self) -> None:
        """Free every engine."""
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
            self._states.clear()

    def _advance(self, name: str, fraction: float, line: str) -> None:
        self._states[name] = replace(self.state(name), fraction=fraction, line=line)

    def _all(self) -> dict[str, _Entry]:
        """The built-in engines and those of other packages; says which were left out."""
        plugins, self.broken = installed(_built_in_names())
        for each in self.broken:
            log.warning("engine left out: %s (%s): %s", each.entry_point, each.source, each.reason)
        sources = [(plugin, "built in") for plugin in BUILT_IN]
        sources += [(each.plugin, each.source) for each in plugins]
        return {
            info.name: self._entry(plugin, info, source)
            for plugin, source in sources
            for info in plugin.infos
        }

    def _entry(self, plugin: Plugin, info: EngineInfo, source: str) -> _Entry:
        seen = plugin.presence
        return _Entry(
            lambda: plugin.make(info.name, self._settings),
            source,
            info,
            None if seen is None else lambda: _presence(lambda: seen(info.name, self._settings)),
        )

    def _given(self, engines: Mapping[str, Callable[[], Engine]]) -> dict[str, _Entry]:
        """Stand-ins for built-in engines have their weights."""
        known = {
            info.name: self._entry(plugin, info, "").presence
            for plugin in BUILT_IN
            for info in plugin.infos
        }
        return {name: _Entry(make, presence=known.get(name)) for name, make in engines.items()}

    def _look(self) -> dict[str, Presence]:
        """All at once: each may wait for an unreachable hub for two seconds."""
        asked = {name: entry.presence for name, entry in self._entries.items() if entry.presence}
        with ThreadPoolExecutor(len(asked) or 1) as pool:
            return dict(zip(asked, pool.map(lambda ask: ask(), asked.values()), strict=True))

    def _choose(self, replaced: bool) -> tuple[str, str]:
        wanted = self._settings.engine
        if wanted in self._entries:
            return wanted, "chosen by the settings"
        if wanted != "auto" and not replaced:
            raise InvalidInput(self._unknown(wanted), param="engine")
        if "chatterbox" in self._entries:
            return self._choose_chatterbox()
        return next(iter(self._entries)), "the only engine given"

    def _unknown(self, wanted: str) -> str:
        left_out = "".join(
            f" Left out: {each.entry_point} ({each.source}): {each.reason}" for each in self.broken
        )
        known = ", ".join(("auto", *self._entries))
        return f"There is no engine '{wanted[:40]}'; there are {known}.{left_out}"

    def _choose_chatterbox(self) -> tuple[str, str]:
        """Without a GPU the smaller models come first."""
        slow = self._settings.device == "cpu" or not _has_gpu()
        names = ["chatterbox"]
        if slow:
            names = ["chatterbox-nano", "chatterbox-turbo", "chatterbox"]
        for name in names:
            found = self.presence(name)
            if name in self._entries and found.installed and found.weights:
                mode = self._settings.mode
                named = "" if mode == "exact" else f" Mode {mode}: another sound than its makers'."
                return name, f"{found.reason} {_expectation(name, slow)}{named}"
        reason = self.presence("chatterbox").reason
        return "espeak", f"embedded default; Chatterbox is not used: {reason}"


def _presence(ask: Callable[[], Presence]) -> Presence:
    try:
        return ask()
    except Exception as error:  # of somebody else's module
        log.warning("whether an engine can be used is not known", exc_info=True)
        reason = f"whether it can be used is not known: {type(error).__name__}."
        return Presence(False, False, reason)


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
