"""VoiceLab: the object that combines all parts, shared by page, REST, clients and notebooks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicelab.engines import Engine, Registry
from voicelab.errors import Conflict, NotFound, StoreFull
from voicelab.generation import (
    Blueprint,
    ChunkCache,
    Maintenance,
    Planner,
    Resumption,
    Scheduler,
    Speech,
    Status,
    Take,
    check_seed,
)
from voicelab.library import (
    INTERRUPTED,
    MIN_AGE_S,
    FailedTake,
    InterruptedTake,
    Library,
    NewTake,
    NewVersion,
    UnsavedTake,
)
from voicelab.records import GenerationRequest
from voicelab.settings import Settings
from voicelab.store import Store

if TYPE_CHECKING:
    from voicelab.server import Lab

__all__ = ["VoiceLab"]

log = logging.getLogger(__name__)


class VoiceLab:
    """A speech lab: registry, scheduler, library and status over one data folder.

    Args:
        settings: from arguments and environment; the environment alone when None.
        store: where records are kept; as the settings say when None.
        engines: name -> factory, in place of all other engines.

    Raises:
        InvalidInput: the settings name an engine that is not there.
        StoreLocked, StoreCorrupt, StorageError: the data folder cannot be used.

    It is closed by `close` or by leaving its `with` block. Once `ending` is set, nothing new is
    started.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: Store | None = None,
        engines: Mapping[str, Callable[[], Engine]] | None = None,
    ):
        settings = self.settings = self.configured = settings or Settings.from_environment()
        self.registry = Registry(settings, engines)
        self.cache = ChunkCache(settings.data_dir / "cache", settings.cache_mb << 20)
        library = self.library = Library(
            settings,
            store,
            make_room=self.cache.clear,
            is_live=lambda request_id: self.status.is_live(request_id),
            stop=self._cancel_if_live,
        )
        self.history = library.history
        self.status = Status(library.store, settings.request_log)
        idle_s = 60 * settings.idle_unload_min or None
        self.scheduler = Scheduler(self.registry, self.cache, settings.max_queue, idle_s)
        self.planner = Planner(settings, self.registry, library)
        self._page: Lab | None = None
        self.ending, self._closing = threading.Event(), threading.Event()
        self._resumption = Resumption(self.history, self._resume_take)
        library.files.sweep_temporary(MIN_AGE_S if library.store.shared else 0)
        self._recover()
        library.replicas.watch(self._recover)
        self.maintenance = Maintenance(library.storage, library.files, self.cache)
        self.maintenance.start()

    @classmethod
    def open(cls, data_dir: str | Path | None = None, **settings: Any) -> VoiceLab:
        """A lab for a notebook or a script; its engine is loaded in the background.

        Args:
            data_dir: the data folder; VOICELAB_DATA_DIR or ./voicelab-data when None.
            **settings: any field of `Settings`, e.g. engine="espeak".
        """
        if data_dir is not None:
            settings["data_dir"] = Path(data_dir)
        lab = cls(Settings(**settings))
        lab.scheduler.preload(lab.registry.default)
        return lab

    def stream(self, request: GenerationRequest) -> Take:
        """Validate a request and return the take to iterate over.

        Nothing has been stored when it raises.

        Raises:
            InvalidInput (TextTooLong, BadClip), UnknownVoice, StoreFull, StoreLost, Unavailable.
        """
        destination = (
            NewTake(self.history, self.library.versions) if request.store else UnsavedTake()
        )
        destination.check()
        self.scheduler.check()
        return self._begin(self.planner.blueprint(request, destination))

    def check(self, request: GenerationRequest) -> None:
        """Validate a request without speaking it; raises as `stream`."""
        self.planner.blueprint(request, UnsavedTake())

    def generate(
        self,
        text: str,
        *,
        progress: bool = True,
        speed: float = 1.0,
        seed: int | None = None,
        voice: str | None = None,
        voice_clip: str | Path | None = None,
        engine: str | None = None,
        language: str | None = None,
        normalize: bool = False,
        gap_ms: int | None = None,
        crossfade_ms: int | None = None,
        max_chunk_chars: int | None = None,
        **parameters: float,
    ) -> Speech:
        """Speak a text and keep the take.

        Args:
            text: 1 character up to `Settings.max_text`.
            progress: show a bar (tqdm).
            **parameters: the engine's own, see `engine_info().parameters`. The others are
                those of `GenerationRequest`.

        Raises:
            As `stream` and the iteration over a `Take`.
        """
        request = GenerationRequest(
            text=text,
            speed=speed,
            seed=seed,
            voice=voice,
            voice_clip=Path(voice_clip) if voice_clip else None,
            engine=engine,
            language=language,
            normalize=normalize,
            gap_ms=gap_ms,
            crossfade_ms=crossfade_ms,
            max_chunk_chars=max_chunk_chars,
            parameters=parameters,
        )
        return self.speech(self.drain(self.stream(request), progress)["id"])

    def speech(self, id: str) -> Speech:
        """A stored take for display in a notebook; raises NotFound."""
        return Speech(self.history.get(id), self.library.audio_path(id))

    def drain(self, take: Take, progress: bool = False) -> dict[str, Any]:
        """Iterate over a take to its end, optionally with a progress bar; its record."""
        from tqdm.auto import tqdm  # start-up time: 30 ms

        with take, tqdm(total=take.total_chunks, unit="chunk", disable=not progress) as bar:
            for piece in take:
                bar.update(piece.chunk is not None)
        return take.record

    def submit(self, take: Take | GenerationRequest) -> dict[str, Any]:
        """Make a take in a background thread; its record as it is now. Raises as `stream`."""
        take = take if isinstance(take, Take) else self.stream(take)
        name = f"voicelab-take-{take.id[:8]}"
        threading.Thread(
            target=self._drain_in_background, args=(take,), name=name, daemon=True
        ).start()
        return self.history.get(take.id)

    def regenerate(self, id: str, seed: int | None = None) -> Take:
        """Speak a take again with a new seed, as a new version.

        Args:
            id: of a finished take.
            seed: 0 .. 2**32 - 1; random when None.

        Raises:
            NotFound; Conflict: it is being made, or failed (then `resume` or `retry` it).
            InvalidInput, EngineUnavailable, Unavailable, StoreFull.
        """
        record = self._completed_record(id)
        return self._new_version(record, check_seed(seed), "regenerated")

    def regenerate_chunk(self, id: str, index: int, seed: int | None = None) -> Take:
        """Speak one chunk again with a new seed and keep the others, as a new version.

        Args:
            id: of a finished take.
            index: of the chunk, from 0.
            seed: 0 .. 2**32 - 1; random when None.

        Raises:
            NotFound: there is no such take or chunk; otherwise as `regenerate`.
        """
        record = self._completed_record(id)
        seeds = [chunk["seed"] for chunk in record["chunks"]]
        if not 0 <= index < len(seeds):
            raise NotFound(f"This take has {len(seeds)} chunks, no chunk {index}.", param="index")
        seeds[index] = check_seed(seed)
        return self._new_version(record, seeds, f"chunk {index + 1} again")

    def retry(self, id: str) -> Take:
        """Speak a take again with the same text, settings and seeds, for the same audio.

        A failed take is completed; a finished one gets a new version.

        Raises:
            As `regenerate`.
        """
        record = self._ended_record(id)
        if record["status"] == "failed":
            return self._complete_failed(record, use_cache=False)
        seeds = [chunk["seed"] for chunk in record["chunks"]]
        return self._new_version(record, seeds or record["seed"], "retried", use_cache=False)

    def resume(self, id: str) -> Take:
        """Complete a failed or interrupted take, reusing the chunks already spoken.

        Raises:
            Conflict: it is finished already; otherwise as `regenerate`.
        """
        record = self._ended_record(id)
        if record["status"] == "completed":
            raise Conflict("This take is finished: there is nothing to resume.")
        return self._complete_failed(record, use_cache=True)

    def resume_interrupted(self) -> None:
        """Resume interrupted takes in the background, if the settings say so."""
        if self.settings.resume_interrupted:
            self._resumption.start()

    def cancel(self, request_id: str) -> None:
        """Stop a running request; raises NotFound, or Conflict when it has ended."""
        self.status.cancel(request_id)

    def stats(self) -> dict[str, Any]:
        """Totals of takes and of requests."""
        return self.history.stats() | {"requests": self.status.statistics()}

    def launch(self, **arguments: Any) -> Lab:
        """Open the page and the REST routes over this lab; a previous page is closed.

        Args:
            **arguments: for `gradio.Blocks.launch`, e.g. inline=True in a notebook.
        """
        from voicelab.server import Lab  # start-up time: it brings gradio, a second or more

        if self._page is not None:
            self._page.close()
        self._page = Lab(self)
        self._page.launch(**{"prevent_thread_lock": True, **arguments})
        return self._page

    def interrupt(self) -> None:
        """Interrupt what runs and start nothing new: the first step of `close`."""
        self.ending.set()
        self.scheduler.interrupt()
        self.status.interrupt()

    def close(self) -> None:
        """Stop all work, write what is pending, release the data folder."""
        if self._closing.is_set():
            return
        self._closing.set()
        self.interrupt()
        if self._page is not None:
            self._page.close()
        self._resumption.stop()
        self.scheduler.close()
        self.registry.close()
        self.library.replicas.leave()
        self.maintenance.stop()
        self.library.store.close()

    def __enter__(self) -> VoiceLab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _recover(self) -> None:
        """Mark pending records of processes that died as interrupted."""
        for record in self.history.recover(self.library.replicas.alive()):
            live = self.status.begin(record["text"], source=record["source"])
            with suppress(
                StoreFull
            ):  # a full disk must not prevent the start, which can free space
                live.finish(error=INTERRUPTED, generation_id=record["id"])
            self._resumption.notify()

    def _resume_take(self, record: dict[str, Any]) -> None:
        destination = InterruptedTake(self.history, self.library.versions)
        self.drain(
            self._repeat(self._ended_record(record["id"]), record["seed"], destination, True)
        )

    def _cancel_if_live(self, request_id: str) -> None:
        try:
            self.status.cancel(request_id)
        except Exception:
            log.debug("request %s had ended before it was stopped", request_id)

    def _drain_in_background(self, take: Take) -> None:
        try:
            self.drain(take)
        except Exception as error:
            log.info("take %s: %s", take.id, error)

    def _ended_record(self, id: str) -> dict[str, Any]:
        record = self.history.get(id)
        if record["status"] == "pending" or self.status.is_live(record["request_id"]):
            raise Conflict("This take is being made: wait, or cancel it.")
        if record["seed"] is None:
            raise Conflict("This take was imported without a seed: it cannot be made again.")
        return record

    def _completed_record(self, id: str) -> dict[str, Any]:
        record = self._ended_record(id)
        if record["status"] != "completed":
            raise Conflict("This take failed: resume or retry it first.")
        return record

    def _new_version(
        self, record: dict[str, Any], seeds: list[int] | int, label: str, use_cache: bool = True
    ) -> Take:
        """Make a new version, through the effects of the default version."""
        active = self.library.versions.get(record["active_version_id"])
        record = record | {"effects_chain": active["effects_chain"]}
        destination = NewVersion(self.history, self.library.versions, label=label)
        return self._repeat(record, seeds, destination, use_cache)

    def _complete_failed(self, record: dict[str, Any], use_cache: bool) -> Take:
        destination = FailedTake(self.history, self.library.versions)
        return self._repeat(record, record["seed"], destination, use_cache)

    def _repeat(
        self,
        record: dict[str, Any],
        seeds: list[int] | int,
        destination: NewTake,
        use_cache: bool,
    ) -> Take:
        destination.check()
        self.scheduler.check()
        blueprint = self.planner.repeat(record, seeds, destination)
        blueprint.job.use_cache = use_cache
        return self._begin(blueprint)

    def _begin(self, blueprint: Blueprint) -> Take:
        record = blueprint.record
        live = self.status.begin(
            record.text,
            voice=record.voice,
            voice_source=record.voice_source,
            parameters=blueprint.shown,
            source=record.source,
            engine=record.engine,
        )
        blueprint.job.on_start = live.speaking
        return Take(blueprint, live, scheduler=self.scheduler, files=self.library.files)
