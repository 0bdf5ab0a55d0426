"""The engines of one lab: which there are, which is the default, what state each is in."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from voicelab.engines import espeak, piper, tone
from voicelab.engines.base import (
    Broken,
    Engine,
    EngineInfo,
    LoadProgress,
    Plugin,
    Presence,
    Transfer,
)
from voicelab.engines.chatterbox import plugin as chatterbox
from voicelab.engines.choice import STAND_INS, choose, next_speakers
from voicelab.engines.fetches import Fetches
from voicelab.engines.languages import find_language
from voicelab.engines.parameters import SharedParameter, shared_parameters
from voicelab.engines.plugins import installed
from voicelab.errors import EngineUnavailable, InvalidInput, VoicelabError
from voicelab.settings import Settings

__all__ = ["BUILT_IN", "LoadState", "Registry", "engine_names"]

log = logging.getLogger(__name__)

BUILT_IN = (espeak.PLUGIN, piper.PLUGIN, chatterbox.PLUGIN, tone.PLUGIN)

NO_WEIGHTS = Presence(True, True, "it needs no weights.")


@dataclass(frozen=True)
class LoadState:
    """How far an engine is: not_started, initializing, ready or error.

    Attributes:
        fraction: in 0..1.
        line: for the user.
        error: a sentence, in the state error.
        transfer: while its weights are fetched.
    """

    state: str = "not_started"
    fraction: float = 0.0
    line: str = ""
    error: str | None = None
    transfer: Transfer | None = None


@dataclass(frozen=True)
class _Entry:
    """An engine that can be made.

    Attributes:
        make: it.
        source: "built in", "given", or the distribution's name and version.
        info: its declaration; None where only the engine itself has it.
        presence: whether it can be used here; None where it needs no weights.
        fetch: brings its weights here; None where nothing is fetched.
    """

    make: Callable[[], Engine]
    source: str = "given"
    info: EngineInfo | None = None
    presence: Callable[[], Presence] | None = None
    fetch: Callable[[LoadProgress, threading.Event], object] | None = None


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
        broken: engines of other packages, and files of voices, that were left out.

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
        self._fetches = Fetches()
        self._presences = self._look()
        self.default, self.reason = choose(
            settings, self._entries, self.presence, self.broken, bool(engines)
        )
        log.info("engine %s: %s", self.default, self.reason)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all engines, the default first."""
        return (self.default, *(name for name in self._entries if name != self.default))

    @property
    def stands_in(self) -> bool:
        """Whether the default engine speaks because Chatterbox cannot."""
        return self._settings.engine == "auto" and self.default in STAND_INS

    @property
    def parameters(self) -> Mapping[str, SharedParameter]:
        """All that a request may hold for one of the engines, by name."""
        return shared_parameters(self.info(engine) for engine in self._entries)

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
        if find_language(code, spoken) is None:
            raise InvalidInput(
                f"No engine here speaks '{code[:20]}'; they speak {', '.join(sorted(spoken))}.",
                param="language",
            )

    def presence(self, name: str) -> Presence:
        """Whether an engine could speak here, as found at the start or when it was loaded."""
        return self._presences.get(name, NO_WEIGHTS)

    def is_fetching(self, name: str) -> bool:
        """Whether an engine's weights are being fetched: it cannot speak before."""
        return self._fetches.running(name)

    def begin_fetch(self, name: str, ended: Callable[[EngineUnavailable | None], None]) -> bool:
        """Begin to fetch an engine's weights, when they are not here but can be.

        Args:
            name: of the engine.
            ended: called in another thread when they are here, or with what went wrong.

        Returns:
            Whether they are being fetched now.
        """
        entry = self._entries[self._known(name)]
        if entry.fetch is None or entry.presence is None or self.state(name).state == "ready":
            return False
        if not self.is_fetching(name):
            found = self._presences[name] = entry.presence()
            if not found.remote:
                return False
            fetch, label = entry.fetch, self.info(name).label
            self._states[name] = LoadState("initializing", 0.0, f"Fetching {label}")
            self._fetches.start(
                name,
                lambda stop: fetch(functools.partial(self._advance, name), stop),
                lambda error: self._fetched(name, error, ended),
            )
        return True

    def _fetched(
        self,
        name: str,
        error: EngineUnavailable | None,
        ended: Callable[[EngineUnavailable | None], None],
    ) -> None:
        if error is not None:
            sentence = f"{self.info(name).label} cannot be loaded: {error.message}"
            self._states[name] = LoadState("error", error=sentence)
            if name == self.default:
                self.reason = "Its weights could not be fetched."
            log.warning(sentence)
            error = EngineUnavailable(sentence)
        elif presence := self._entries[name].presence:
            found = self._presences[name] = presence()
            if name == self.default:
                self.reason = found.reason
            self._states[name] = LoadState("initializing", 0.4, "loading weights")
        ended(error)

    def speaker(self) -> str:
        """The engine that speaks where a request names none: the default, or a stand-in for it.

        A stand-in speaks while the weights of an engine that "auto" chose are fetched, and where
        it could not be fetched or loaded.
        """
        away = self.is_fetching(self.default) or self.state(self.default).state == "error"
        if not away or self._settings.engine != "auto" or self.stands_in:
            return self.default
        return next(next_speakers(self.default, self._entries, self.presence), self.default)

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
            engine.load(functools.partial(self._advance, name))
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
        """Free every engine; what is being fetched is left as it is."""
        self._fetches.close()
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
            self._states.clear()

    def _advance(
        self, name: str, fraction: float, line: str, transfer: Transfer | None = None
    ) -> None:
        self._states[name] = LoadState("initializing", fraction, line, transfer=transfer)

    def _all(self) -> dict[str, _Entry]:
        """The built-in engines and those of other packages; says which were left out."""
        plugins, self.broken = installed(_built_in_names())
        sources = [(plugin, "built in") for plugin in BUILT_IN]
        sources += [(each.plugin, each.source) for each in plugins]
        entries = {
            info.name: self._entry(plugin, info, source)
            for plugin, source in sources
            for info in plugin.infos
        }
        for plugin, source in sources:
            infos, broken = plugin.discover(self._settings) if plugin.discover else ((), ())
            self.broken += broken
            for info in infos:
                entries.setdefault(info.name, self._entry(plugin, info, source))
        for each in self.broken:
            log.warning("engine left out: %s (%s): %s", each.entry_point, each.source, each.reason)
        return entries

    def _entry(self, plugin: Plugin, info: EngineInfo, source: str) -> _Entry:
        seen, fetch = plugin.presence, plugin.fetch
        return _Entry(
            lambda: plugin.make(info.name, self._settings),
            source,
            info,
            None if seen is None else lambda: _presence(lambda: seen(info.name, self._settings)),
            None
            if fetch is None
            else lambda progress, stop: fetch(info.name, self._settings, progress, stop),
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


def _presence(ask: Callable[[], Presence]) -> Presence:
    try:
        return ask()
    except Exception as error:  # of somebody else's module
        log.warning("whether an engine can be used is not known", exc_info=True)
        reason = f"whether it can be used is not known: {type(error).__name__}."
        return Presence(False, False, reason)
