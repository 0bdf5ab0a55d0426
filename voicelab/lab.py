"""VoiceLab: the one composed object that page, REST, client and notebook share."""

from __future__ import annotations

import html
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from voicelab.audio import Join
from voicelab.engines import Engine, EngineInfo, Rack
from voicelab.errors import BadClip, InvalidInput
from voicelab.library import Files, Filters, History, Voices, export_archive, import_archive
from voicelab.records import MAX_SEED, Generation, GenerationRequest, now
from voicelab.runner import Job, Runner
from voicelab.settings import Settings
from voicelab.status import LiveRequest, Status
from voicelab.store import Store, TinyStore
from voicelab.take import Blueprint, Take
from voicelab.text import Plan, check_text, plan

if TYPE_CHECKING:
    from voicelab.server import Lab

__all__ = ["Speech", "VoiceLab"]

log = logging.getLogger(__name__)

NOT_SPOKEN = frozenset(("speed", "gap_ms", "crossfade_ms", "normalize", "max_chunk_chars"))


@dataclass(frozen=True)
class Speech:
    """A finished take in a notebook: shows itself as a player.

    Attributes:
        record: as /history/{id} gives it.
        path: the WAV file.
    """

    record: dict[str, Any]
    path: Path

    def _repr_html_(self) -> str:
        """A player with the audio inside, at its own loudness (IPython's normalises)."""
        import base64

        audio = base64.b64encode(self.path.read_bytes()).decode()
        text = html.escape(self.record["text"][:300])
        facts = (
            f"{self.record['engine']}, seed {self.record['seed']}, {self.record['duration']:.1f} s"
        )
        return (
            f"<figure style='margin:0'><figcaption dir='auto'>{text}</figcaption>"
            f"<audio controls src='data:audio/wav;base64,{audio}'></audio>"
            f"<div><small>{html.escape(facts)}</small></div></figure>"
        )


class VoiceLab:
    """Check, plan, run, save audio, record.

    Args:
        settings: from arguments and environment; the environment alone when None.
        store: where records are kept; TinyDB JSON in the data folder when None.
        engines: name -> factory, in place of the built-in engines.

    Raises:
        StoreLocked, StoreCorrupt, StorageError: the data folder cannot be used.

    Closed by `close` or by leaving its `with` block.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: Store | None = None,
        engines: Mapping[str, Callable[[], Engine]] | None = None,
    ):
        self.settings = settings or Settings.from_environment()
        self.rack = Rack(self.settings, engines)
        self.store = store or TinyStore(self.settings.data_dir)
        self.files = Files(self.settings.data_dir, self.settings.min_free_disk_mb)
        self.voices = Voices(self.store)
        self.history = History(self.store, self.files, self.voices)
        self.status = Status(self.store, self.settings.request_log)
        self.runner = Runner(self.rack, self.settings.max_queue)
        self._page: Lab | None = None
        self._closed = False
        self._recover()

    @classmethod
    def open(cls, data_dir: str | Path | None = None, **settings: Any) -> VoiceLab:
        """A lab for a notebook or a script, its engine loading in the background.

        Args:
            data_dir: the data folder; VOICELAB_DATA_DIR or ./voicelab-data when None.
            **settings: any field of `Settings`, e.g. engine="espeak".
        """
        if data_dir is not None:
            settings["data_dir"] = Path(data_dir)
        lab = cls(Settings(**settings))
        lab.runner.preload(lab.rack.default)
        return lab

    def stream(self, request: GenerationRequest) -> Take:
        """Check everything, then give the take to iterate over. Nothing was sent or saved
        when it raises.

        Raises:
            InvalidInput (TextTooLong, BadClip), UnknownVoice, StoreFull, Unavailable.
        """
        blueprint = self._blueprint(request)
        live = self._begin(blueprint)
        job = blueprint.job
        job.on_start = live.speaking
        return Take(blueprint, live, runner=self.runner, history=self.history, files=self.files)

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
        record = self.drain(self.stream(request), progress)
        return Speech(record, self.files.path(record["audio_path"]))

    def drain(self, take: Take, progress: bool = False) -> dict[str, Any]:
        """Run a take to its end, with a bar if wanted; its record."""
        from tqdm.auto import tqdm

        with take, tqdm(total=take.total_chunks, unit="chunk", disable=not progress) as bar:
            for piece in take:
                bar.update(piece.chunk is not None)
        return take.record

    def submit(self, request: GenerationRequest) -> dict[str, Any]:
        """Start a take in the background; its pending record. Raises as `stream`."""
        take = self.stream(request)
        name = f"voicelab-take-{take.id[:8]}"
        threading.Thread(target=self._drain_quietly, args=(take,), name=name, daemon=True).start()
        return self.history.get(take.id)

    def cancel(self, request_id: str) -> None:
        """Stop a running request; raises NotFound, or Conflict when it has ended."""
        self.status.cancel(request_id)

    def delete(self, id: str) -> None:
        """Delete a take with its files; one still being made is stopped first."""
        self.history.delete(id, stop=self._stop)

    def delete_many(self, ids: list[str] | None = None, filters: Filters | None = None) -> int:
        """Delete by ids, or all that match; how many went."""
        return self.history.delete_many(ids, filters, stop=self._stop)

    def export_archive(self, id: str) -> bytes:
        """A take as a ZIP of the studio's layout."""
        return export_archive(self.history.get(id), self.files)

    def import_archive(self, file: BinaryIO) -> dict[str, Any]:
        """Add the take of a ZIP; its record. Raises BadArchive, TooLarge, StoreFull."""
        self.files.check_free()
        return import_archive(
            file, store=self.store, files=self.files, voices=self.voices, history=self.history
        )

    def audio_path(self, id: str) -> Path:
        """The WAV of a take's default version; raises NotFound while there is none."""
        record = self.history.get(id)
        return self.files.path(record["audio_path"] or "")

    def engine_info(self, name: str | None = None) -> EngineInfo:
        """What is known of an engine; the default's when None."""
        return self.rack.info(name)

    def stats(self) -> dict[str, Any]:
        """Totals of the takes, and of the requests."""
        return self.history.stats() | {"requests": self.status.statistics()}

    def launch(self, **arguments: Any) -> Lab:
        """Open the page, with REST beside it, over this lab; launching again replaces it.

        Args:
            **arguments: for `gradio.Blocks.launch`, e.g. inline=True in a notebook.
        """
        from voicelab.server import Lab

        if self._page is not None:
            self._page.close()
        self._page = Lab(self)
        self._page.launch(**{"prevent_thread_lock": True, **arguments})
        return self._page

    def close(self) -> None:
        """Stop what runs, write what is due, release the data folder."""
        if self._closed:
            return
        self._closed = True
        if self._page is not None:
            self._page.close()
        self.runner.close()
        self.rack.close()
        self.store.close()

    def __enter__(self) -> VoiceLab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _recover(self) -> None:
        """What a process that died left behind: half-written files, pending records."""
        self.files.sweep_temporary()
        for record in self.history.recover():
            live = self.status.begin(record["text"], source=record["source"])
            live.finish(error="interrupted", generation_id=record["id"])

    def _stop(self, request_id: str) -> None:
        try:
            self.status.cancel(request_id)
        except Exception:
            log.debug("request %s had ended before it was stopped", request_id)

    def _drain_quietly(self, take: Take) -> None:
        try:
            self.drain(take)
        except Exception as error:
            log.info("take %s: %s", take.id, error)

    def _begin(self, blueprint: Blueprint) -> LiveRequest:
        record = blueprint.record
        return self.status.begin(
            record.text,
            voice=record.voice,
            voice_source=record.voice_source,
            parameters={k: v for k, v in record.parameters.items() if k not in NOT_SPOKEN},
            source=record.source,
            engine=record.engine,
        )

    def _blueprint(self, request: GenerationRequest) -> Blueprint:
        self.runner.check()
        self.files.check_free()
        text = check_text(request.text, self.settings.max_text)
        info = self.rack.info(request.engine)
        language = _language(request.language, info)
        parameters, dropped = self._parameters(request.parameters, info)
        profile = self.voices.resolve(request.voice)
        shape = self._shape(request)
        planned = plan(
            text,
            language=language,
            max_chunk_chars=min(shape["max_chunk_chars"], info.max_chunk_chars),
            event_tags=info.event_tags,
        )
        seed = _seed(request.seed)
        clip = self._clip(request, info)
        job = Job(
            engine=info.name,
            chunks=planned.chunks,
            clip=self.files.target(clip) if clip else None,
            language=language,
            parameters=parameters,
            seed=seed,
        )
        planned = replace(planned, warnings=(*planned.warnings, *dropped))
        record = self._pending(request, text, info, planned, profile, clip)
        record = replace(record, language=language, seed=seed, parameters=parameters | shape)
        return Blueprint(
            record=record,
            plan=planned,
            job=job,
            join=Join(shape["gap_ms"], shape["crossfade_ms"], self.settings.paragraph_gap_ms),
            speed=shape["speed"],
            normalize=shape["normalize"],
            sample_rate=info.sample_rate,
            store=request.store,
        )

    def _pending(
        self,
        request: GenerationRequest,
        text: str,
        info: EngineInfo,
        planned: Plan,
        profile: Mapping[str, Any],
        clip: str | None,
    ) -> Generation:
        version_id = str(uuid4())
        return Generation(
            id=str(uuid4()),
            profile_id=profile["id"],
            text=text,
            language="",
            audio_path=self.files.take_path(version_id),
            duration=None,
            seed=None,
            instruct=request.instruct,
            engine=info.name,
            model_size=info.model_size,
            status="pending",
            error=None,
            is_favorited=False,
            created_at=now(),
            sample_rate=info.sample_rate,
            source=request.source,
            voice="Voice clip" if clip else profile["name"],
            voice_source="uploaded file" if clip else "default",
            clip=clip,
            warnings=planned.warnings,
            software=dict(self.rack.engine(info.name).versions()),
            active_version_id=version_id,
        )

    def _shape(self, request: GenerationRequest) -> dict[str, Any]:
        """Everything around the voice, checked; kept with the parameters in the record."""
        settings = self.settings
        gap_ms = request.gap_ms
        if gap_ms is None:  # who asks for a crossfade does not want the default gap
            gap_ms = 0 if request.crossfade_ms else settings.gap_ms
        shape = {
            "speed": _within("speed", request.speed, 0.25, 4),
            "gap_ms": int(_within("gap_ms", gap_ms, 0, 5000)),
            "crossfade_ms": request.crossfade_ms,
            "max_chunk_chars": request.max_chunk_chars,
        }
        defaults = {"crossfade_ms": (0, 500), "max_chunk_chars": (100, 1000)}
        for name, (least, most) in defaults.items():
            value = getattr(settings, name) if shape[name] is None else shape[name]
            shape[name] = int(_within(name, value, least, most))
        return shape | {"normalize": request.normalize}

    def _parameters(
        self, given: Mapping[str, float], info: EngineInfo
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """The engine's parameters, complete; and a warning for those it does not have."""
        known = {parameter.name: parameter for parameter in info.parameters}
        values = {parameter.name: parameter.default for parameter in info.parameters}
        foreign = {p.name for name in self.rack.names for p in self.rack.info(name).parameters}
        for name, value in given.items():
            if name in known:
                parameter = known[name]
                values[name] = _within(name, value, parameter.minimum, parameter.maximum)
            elif name not in foreign:
                raise InvalidInput(
                    f"{info.label} has no parameter '{name[:40]}'; it has {', '.join(known)}.",
                    param=name[:40],
                )
        dropped = sorted(set(given) - set(known))
        if not dropped:
            return values, ()
        return values, (f"{info.label} has no {', '.join(dropped)}; not used.",)

    def _clip(self, request: GenerationRequest, info: EngineInfo) -> str | None:
        if request.voice_clip is None:
            return None
        if not info.clones_voices:
            raise BadClip(
                f"{info.label} cannot imitate a voice clip; choose an engine that can.",
                param="voice_file",
            )
        clip = self.files.keep_clip(request.voice_clip)
        self.rack.engine(info.name).prepare_voice(self.files.target(clip))
        return clip


def _language(wanted: str | None, info: EngineInfo) -> str:
    if not wanted:
        return next(iter(info.languages))
    for code in (wanted.lower(), wanted.lower().split("-")[0]):
        if code in info.languages:
            return code
    known = ", ".join(info.languages)
    raise InvalidInput(
        f"{info.label} does not speak '{wanted[:20]}'; it speaks {known}.", param="language"
    )


def _seed(wanted: int | None) -> int:
    if wanted is None:
        return secrets.randbelow(MAX_SEED + 1)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted <= MAX_SEED:
        raise InvalidInput(
            f"seed is {str(wanted)[:40]}; a whole number from 0 to {MAX_SEED} is allowed.",
            param="seed",
        )
    return wanted


def _within(name: str, value: float, least: float, most: float) -> float:
    """The value, when it is a number in the range; NaN never is."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and least <= value <= most:
        return value
    raise InvalidInput(
        f"{name} is {str(value)[:40]}; {least:g} to {most:g} is allowed.", param=name
    )
