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

from voicelab.engines.base import Engine, EngineInfo, Presence
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.weights import presence
from voicelab.engines.espeak import INFO as ESPEAK
from voicelab.engines.espeak import EspeakEngine
from voicelab.engines.tone import INFO as TONE
from voicelab.engines.tone import ToneEngine
from voicelab.errors import EngineUnavailable, InvalidInput, VoicelabError
from voicelab.settings import Settings

__all__ = ["LoadState", "Registry"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadState:
    """How far an engine is: not_started, initializing, ready or error."""

    state: str = "not_started"
    fraction: float = 0.0
    line: str = ""
    error: str | None = None


class Registry:
    """Makes engines on demand and remembers them.

    Args:
        settings: which engine, device, checkpoint folder.
        engines: name -> factory, in place of the built-in ones; for embedding and tests.
    """

    def __init__(
        self, settings: Settings, engines: Mapping[str, Callable[[], Engine]] | None = None
    ):
        self._settings = settings
        self._factories = dict(engines or self._built_in())
        self._engines: dict[str, Engine] = {}
        self._states: dict[str, LoadState] = {}
        self._lock = threading.Lock()
        self._presences = self._look()
        self.default, self.reason = self._choose()
        log.info("engine %s: %s", self.default, self.reason)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all engines, the default first."""
        return (self.default, *(name for name in self._factories if name != self.default))

    def info(self, name: str | None = None) -> EngineInfo:
        """What is known of an engine; the default's when None.

        Raises:
            InvalidInput: there is no engine of that name.
        """
        return self.engine(name).info

    def named(self, name: str | None) -> str | None:
        """The name an engine has here; other servers' clients write underscores in it."""
        other = (name or "").replace("_", "-")
        return other if name not in self._factories and other in self._factories else name

    def engine(self, name: str | None = None) -> Engine:
        """The engine, perhaps not loaded yet; raises InvalidInput for an unknown name."""
        name = self.named(name) or self.default
        if name not in self._factories:
            known = ", ".join(self._factories)
            raise InvalidInput(
                f"There is no engine '{name[:40]}'; there are {known}.", param="engine"
            )
        with self._lock:
            if name not in self._engines:
                self._engines[name] = self._factories[name]()
            return self._engines[name]

    def check_language(self, code: str) -> None:
        """Whether one of the engines speaks it; raises InvalidInput."""
        spoken = {each for name in self.names for each in self.info(name).languages}
        if code.lower() not in spoken and code.lower().split("-")[0] not in spoken:
            raise InvalidInput(
                f"No engine here speaks '{code[:20]}'; they speak {', '.join(sorted(spoken))}.",
                param="language",
            )

    def presence(self, name: str) -> Presence:
        """Whether an engine could speak here, as found when the registry was made."""
        return self._presences.get(name, Presence(True, True, "it needs no weights."))

    def state(self, name: str | None = None) -> LoadState:
        """How far an engine is loaded; the default's when None."""
        return self._states.get(name or self.default, LoadState())

    def load(self, name: str) -> Engine:
        """The engine, ready to speak. Called from the scheduler's thread only.

        Raises:
            EngineUnavailable: with the reason; tried again at the next call.
        """
        engine = self.engine(name)
        if self.state(name).state == "ready":
            return engine
        began = time.monotonic()
        self._states[name] = LoadState("initializing", 0.0, f"Loading {engine.info.label}")
        try:
            engine.load(lambda fraction, line: self._advance(name, fraction, line))
        except Exception as error:
            message = str(error) if isinstance(error, VoicelabError) else type(error).__name__
            sentence = f"{engine.info.label} cannot be loaded: {message}"
            self._states[name] = LoadState("error", 0.0, "", sentence)
            log.warning(sentence, exc_info=not isinstance(error, VoicelabError))
            raise EngineUnavailable(sentence) from error
        self._states[name] = LoadState("ready", 1.0, "ready")
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

    def _built_in(self) -> Mapping[str, Callable[[], Engine]]:
        settings = self._settings

        def chatterbox(name: str) -> Callable[[], Engine]:
            return lambda: ChatterboxEngine(
                name,
                device=settings.device,
                checkpoint_dir=settings.checkpoint_dir,
                threads=settings.threads,
                mode=settings.mode,
                kernel=settings.kernel,
            )

        return {
            ESPEAK.name: EspeakEngine,
            **{name: chatterbox(name) for name in CHATTERBOX_INFOS},
            TONE.name: lambda: ToneEngine(settings.tone_delay_s, settings.tone_fail_on),
        }

    def _look(self) -> dict[str, Presence]:
        """All at once: each may wait for an unreachable hub for two seconds."""
        names = [name for name in CHATTERBOX_INFOS if name in self._factories]
        with ThreadPoolExecutor(len(names) or 1) as pool:
            found = pool.map(lambda name: presence(name, self._settings.checkpoint_dir), names)
            return dict(zip(names, found, strict=True))

    def _choose(self) -> tuple[str, str]:
        wanted = self._settings.engine
        if wanted != "auto" and wanted in self._factories:
            return wanted, "chosen by the settings"
        if "chatterbox" in self._factories:
            return self._choose_chatterbox()
        return next(iter(self._factories)), "the only engine given"

    def _choose_chatterbox(self) -> tuple[str, str]:
        """Without a GPU Turbo comes first: it speaks about as fast as it is listened to."""
        slow = self._settings.device == "cpu" or not _has_gpu()
        names = ["chatterbox-turbo", "chatterbox"] if slow else ["chatterbox"]
        for name in names:
            found = self.presence(name)
            if name in self._factories and found.installed and found.weights:
                mode = self._settings.mode
                named = "" if mode == "exact" else f" Mode {mode}: another sound than its makers'."
                return name, f"{found.reason} {_expectation(name, slow)}{named}"
        reason = self.presence("chatterbox").reason
        return "espeak", f"embedded default; Chatterbox is not used: {reason}"


def _expectation(name: str, slow: bool) -> str:
    if not slow:
        return "It computes on the GPU."
    if name == "chatterbox-turbo":
        return "There is no GPU: Turbo takes about as long as its speech lasts."
    return "There is no GPU: it takes several times as long as its speech lasts."


def _has_gpu() -> bool:
    """Without importing torch."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return apple or Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()
