"""Validation of requests: a request becomes a blueprint before anything is spoken."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from voicelab.audio import Join, check_chain
from voicelab.engines import CHATTERBOX_INFOS, EngineInfo, Registry, find_language
from voicelab.errors import BadClip, Conflict, EngineUnavailable, InvalidInput
from voicelab.generation.job import Job
from voicelab.generation.take import Blueprint
from voicelab.library import Destination, Library
from voicelab.records import (
    DEFAULT_PROFILE,
    MAX_SEED,
    RANDOM_SEED,
    Generation,
    GenerationRequest,
    now,
)
from voicelab.settings import Settings
from voicelab.text import Plan, check_text, plan

__all__ = ["SHAPE_PARAMETERS", "Planner", "check_seed", "seeds_from"]

SHAPE_PARAMETERS = (
    *("speed", "gap_ms", "crossfade_ms", "max_chunk_chars", "first_chunk_chars", "normalize"),
)
"""Parameters of a record that do not depend on the engine."""

DOCUMENTED = ("exaggeration", "cfg_weight", "temperature")
"""Chatterbox's parameters, which every body of /status has."""

FIRST_CHUNK_CHARS = 80
"""About five seconds of speech."""

Record = Mapping[str, Any]


def seeds_from(first: int, count: int) -> list[int]:
    """Seeds of `count` chunks: chunk i has seed first + i, modulo 2**32."""
    return [(first + index) % (MAX_SEED + 1) for index in range(count)]


class Planner:
    """Validates requests from all interfaces and resolves their defaults.

    Args:
        settings, registry, library: of the lab.
    """

    def __init__(self, settings: Settings, registry: Registry, library: Library):
        self._settings = settings
        self._registry = registry
        self._library = library

    def blueprint(self, request: GenerationRequest, destination: Destination) -> Blueprint:
        """The blueprint of a request.

        Args:
            request: the request to validate.
            destination: where the take is recorded.

        Raises:
            InvalidInput (TextTooLong, BadClip), UnknownVoice, StoreFull.
        """
        self._library.files.check_free()
        text = check_text(request.text, self._settings.max_text)
        profile = self._library.profiles.resolve(request.voice)
        info, stand_in = self._engine(request, profile)
        language = _language(request.language, profile, info)
        parameters, warnings = self._parameters(request.parameters, info)
        shape = self._shape(request, info)
        chain = request.effects_chain
        effects = check_chain(profile["effects_chain"] if chain is None else chain)
        text_plan = self._plan(text, language, shape, info)
        seed, seeds = self._seeds(request, text_plan)
        clip, more = self._clip(request, profile, info)
        if destination.keeps:
            self._library.storage.check_quota(profile["id"], clip=clip)
        record = Generation(
            **self._new_version(info),
            id=str(uuid4()),
            profile_id=profile["id"],
            text=text,
            language=language,
            duration=None,
            seed=seed,
            instruct=request.instruct,
            error=None,
            status="pending",
            is_favorited=False,
            created_at=now(),
            parameters=parameters | shape,
            source=request.source,
            response_format=request.response_format,
            voice="Voice clip" if request.voice_clip else profile["name"],
            voice_source=_voice_source(request, profile),
            clip=clip,
            warnings=(*request.warnings, *stand_in, *text_plan.warnings, *warnings, *more),
            effects_chain=effects or None,
        )
        return self._build(
            record, text_plan, seeds, destination, request.listening, request.parameters
        )

    def _engine(
        self, request: GenerationRequest, profile: Record
    ) -> tuple[EngineInfo, tuple[str, ...]]:
        """The engine of a request, and a warning where a stand-in speaks in its place."""
        wanted = request.engine or profile["default_engine"]
        default, speaker = self._registry.default, self._registry.speaker()
        # The page always names an engine; that it shows the default is nobody's choice.
        free = wanted is None or (request.source == "ui" and wanted == default)
        if not free or request.voice_clip is not None or speaker == default:
            return self._registry.info(wanted), ()
        label, info = self._registry.info(default).label, self._registry.info(speaker)
        state = "is being fetched" if self._registry.is_fetching(default) else "cannot be loaded"
        return info, (f"{label} {state}: {info.label} spoke in its place.",)

    def repeat(
        self, record: Record, seeds: Sequence[int] | int, destination: Destination
    ) -> Blueprint:
        """The blueprint that makes an existing take again with the same settings.

        Args:
            record: of the take.
            seeds: one for each chunk, or the seed of the first chunk.
            destination: where the result is recorded.

        Raises:
            EngineUnavailable: its engine is not installed.
            Conflict: its text is split into another number of chunks now.
            NotFound: its voice clip is missing.
            StoreFull: there is no disk space, or no quota, left.
        """
        self._library.files.check_free()
        if record["engine"] not in self._registry.names:
            raise EngineUnavailable(
                f"This take was made with '{record['engine'][:40]}', which is not here."
            )
        info = self._registry.info(record["engine"])
        given = record["parameters"]
        shape = self._shape(_shape_request(given), info)
        spoken = {key: value for key, value in given.items() if key not in SHAPE_PARAMETERS}
        parameters, warnings = self._parameters(spoken, info)
        text_plan = self._plan(record["text"], record["language"], shape, info)
        count = len(text_plan.chunks)
        if not isinstance(seeds, int) and len(seeds) != count:
            raise Conflict("This take was cut into other chunks; make it anew instead.")
        fields = {**record, **self._new_version(info)}
        other = _software_warnings(record["software"], fields["software"]) if info.random else ()
        all_warnings = (*text_plan.warnings, *warnings, *other)
        fields |= {"parameters": parameters | shape, "warnings": all_warnings}
        first = seeds if isinstance(seeds, int) else seeds[0]
        blueprint = self._build(
            replace(Generation.from_document(fields), seed=first),
            text_plan,
            seeds_from(seeds, count) if isinstance(seeds, int) else list(seeds),
            destination,
        )
        # Last, as it may delete takes: not for a request that is refused.
        self._library.storage.check_quota(record["profile_id"], except_id=record["id"])
        return blueprint

    def _seeds(self, request: GenerationRequest, text_plan: Plan) -> tuple[int, list[int]]:
        """Seeds of the take and its chunks; unchanged chunks of an edited take keep theirs."""
        if request.based_on is None:
            seed = check_seed(request.seed)
            return seed, seeds_from(seed, len(text_plan.chunks))
        base = self._library.history.get(request.based_on)
        seed = check_seed(base["seed"] if request.seed is None else request.seed)
        seeds = seeds_from(seed, len(text_plan.chunks))
        if seed != base["seed"]:
            return seed, seeds
        before = [chunk["text"] for chunk in base["chunks"]]
        after = [chunk.text for chunk in text_plan.chunks]
        for old, new, size in SequenceMatcher(None, before, after, False).get_matching_blocks():
            for step in range(size):
                seeds[new + step] = base["chunks"][old + step]["seed"]
        return seed, seeds

    def _build(
        self,
        record: Generation,
        text_plan: Plan,
        seeds: Sequence[int],
        destination: Destination,
        listening: bool = False,
        sent: Mapping[str, float] = MappingProxyType({}),
    ) -> Blueprint:
        parameters = dict(record.parameters)
        shape = {name: parameters.pop(name) for name in SHAPE_PARAMETERS}
        return Blueprint(
            record=record,
            plan=text_plan,
            job=Job(
                engine=record.engine,
                chunks=text_plan.chunks,
                clip=self._library.files.path(record.clip) if record.clip else None,
                language=record.language,
                parameters=parameters,
                seeds=seeds,
                keep=destination.keeps,
                listening=listening,
            ),
            join=Join(shape["gap_ms"], shape["crossfade_ms"], self._settings.paragraph_gap_ms),
            speed=shape["speed"],
            normalize=shape["normalize"],
            effects=check_chain(record.effects_chain),  # an imported record may have invalid ones
            destination=destination,
            versions=self._registry.engine(record.engine).versions,
            shown=_status_parameters(sent) | parameters,
        )

    def _new_version(self, info: EngineInfo) -> dict[str, Any]:
        version_id = str(uuid4())
        return {
            "active_version_id": version_id,
            "audio_path": self._library.files.take_path(version_id),
            "engine": info.name,
            "model_size": info.model_size,
            "sample_rate": info.sample_rate,
            "software": dict(self._registry.engine(info.name).versions()),
        }

    def _plan(self, text: str, language: str, shape: Record, info: EngineInfo) -> Plan:
        return plan(
            text,
            language=language,
            max_chunk_chars=min(shape["max_chunk_chars"], info.max_chunk_chars),
            first_chunk_chars=shape["first_chunk_chars"],
            event_tags=info.event_tags,
        )

    def _shape(self, request: GenerationRequest, info: EngineInfo) -> dict[str, Any]:
        """Speed, gaps, chunk lengths and loudness, validated, as kept in the record."""
        settings = self._settings
        gap_ms = request.gap_ms
        if gap_ms is None:  # a crossfade replaces the default gap
            gap_ms = 0 if request.crossfade_ms else settings.gap_ms
        crossfade_ms, max_chunk_chars = request.crossfade_ms, request.max_chunk_chars
        if crossfade_ms is None:
            crossfade_ms = settings.crossfade_ms
        if max_chunk_chars is None:
            max_chunk_chars = settings.max_chunk_chars
        first_chunk_chars = request.first_chunk_chars
        if first_chunk_chars is None:
            early = (
                request.listening and info.random
            )  # engines without random numbers are fast enough
            first_chunk_chars = FIRST_CHUNK_CHARS if early else max_chunk_chars
        return {
            "speed": _check_range("speed", request.speed, 0.25, 4),
            "gap_ms": int(_check_range("gap_ms", gap_ms, 0, 5000)),
            "crossfade_ms": int(_check_range("crossfade_ms", crossfade_ms, 0, 500)),
            "max_chunk_chars": int(_check_range("max_chunk_chars", max_chunk_chars, 100, 1000)),
            "first_chunk_chars": int(
                _check_range("first_chunk_chars", first_chunk_chars, 20, 1000)
            ),
            "normalize": request.normalize,
        }

    def _parameters(
        self, given: Mapping[str, float], info: EngineInfo
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """All parameters of the engine, and a warning for those it does not have."""
        known = {parameter.name: parameter for parameter in info.parameters}
        values = {parameter.name: parameter.default for parameter in info.parameters}
        given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            if name in known:
                parameter = known[name]
                values[name] = _check_range(name, value, parameter.minimum, parameter.maximum)
            elif name not in self._registry.parameters:
                raise InvalidInput(
                    f"{info.label} has no parameter '{name[:40]}'; it has {', '.join(known)}.",
                    param=name[:40],
                )
        dropped = sorted(set(given) - set(known))
        if not dropped:
            return values, ()
        return values, (f"{info.label} has no {', '.join(dropped)}; not used.",)

    def _clip(
        self, request: GenerationRequest, profile: Record, info: EngineInfo
    ) -> tuple[str | None, tuple[str, ...]]:
        """The path of the stored reference clip, and a warning when it cannot be used."""
        clip: Any = request.voice_clip
        if clip is not None and not info.clones_voices:
            raise BadClip(
                f"{info.label} cannot imitate a voice clip; choose an engine that can.",
                param="voice_file",
            )
        if clip is None:
            clip = self._library.profiles.reference(profile["id"])
            if clip is None:
                return None, ()
            if not info.clones_voices:
                return None, (f"{info.label} cannot imitate {profile['name']}; its own voice.",)
        stored = self._library.files.keep_clip(Path(clip) if request.voice_clip else clip)
        self._registry.engine(info.name).prepare_voice(self._library.files.target(stored))
        return stored, ()


def _status_parameters(sent: Mapping[str, float]) -> dict[str, float]:
    """Chatterbox's DOCUMENTED parameters as sent, or their defaults, for every /status body."""
    return {
        parameter.name: sent.get(parameter.name, parameter.default)
        for parameter in CHATTERBOX_INFOS["chatterbox"].parameters
        if parameter.name in DOCUMENTED
    }


def _shape_request(parameters: Record) -> GenerationRequest:
    """A request with the SHAPE_PARAMETERS of a record."""
    # Older records lack first_chunk_chars; it equalled max_chunk_chars.
    given: dict[str, Any] = {"first_chunk_chars": parameters.get("max_chunk_chars")}
    given |= {name: parameters[name] for name in SHAPE_PARAMETERS if name in parameters}
    return GenerationRequest("", **given)


def _software_warnings(before: Record | None, now: Record) -> tuple[str, ...]:
    """A warning when the software versions differ from those that made the take."""
    known = {name: value for name, value in (before or {}).items() if name in now}
    changed = [f"{name} {value}" for name, value in known.items() if value != now[name]]
    if not changed:
        return ()
    today = ", ".join(f"{name} {now[name]}" for name in known if known[name] != now[name])
    return (f"Made with {', '.join(changed)}, now with {today}: it may sound otherwise.",)


def _voice_source(request: GenerationRequest, profile: Record) -> str:
    if request.voice_clip:
        return "uploaded file"
    return "default" if profile["id"] == DEFAULT_PROFILE else "profile"


def _language(wanted: str | None, profile: Record, info: EngineInfo) -> str:
    """The language to speak: the requested one, the profile's if supported, or the engine's."""
    if not wanted:
        own = profile["language"] if profile["id"] != DEFAULT_PROFILE else ""
        return find_language(own, info.languages) or next(iter(info.languages))
    if code := find_language(wanted, info.languages):
        return code
    known = ", ".join(info.languages)
    raise InvalidInput(
        f"{info.label} does not speak '{wanted[:20]}'; it speaks {known}.", param="language"
    )


def check_seed(wanted: int | None) -> int:
    """The seed, or a random one for None and -1; raises InvalidInput when out of range."""
    if wanted is None or wanted == RANDOM_SEED:
        return secrets.randbelow(MAX_SEED + 1)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted <= MAX_SEED:
        raise InvalidInput(
            f"seed is {str(wanted)[:40]}; a whole number from 0 to {MAX_SEED} is allowed, "
            f"or {RANDOM_SEED} for any.",
            param="seed",
        )
    return wanted


def _check_range(name: str, value: float, minimum: float, maximum: float) -> float:
    """The value, if it is a number in the range (NaN is not); raises InvalidInput."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and minimum <= value <= maximum:
        return value
    raise InvalidInput(
        f"{name} is {str(value)[:40]}; {minimum:g} to {maximum:g} is allowed.", param=name
    )
