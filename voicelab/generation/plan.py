"""Everything that is checked before the first sample: a request becomes a blueprint."""

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
from voicelab.engines import CHATTERBOX_INFOS, EngineInfo, Registry
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

__all__ = ["SHAPE", "Planner", "check_seed", "seeds_from"]

SHAPE = (*("speed", "gap_ms", "crossfade_ms", "max_chunk_chars", "first_chunk_chars", "normalize"),)
"""Parameters of a record that shape the take around the voice, whichever engine speaks."""

DOCUMENTED = ("exaggeration", "cfg_weight", "temperature")
"""Parameters that every body of /status has."""

FIRST_CHUNK_CHARS = 80
"""About five seconds of speech."""

Record = Mapping[str, Any]


def seeds_from(first: int, count: int) -> list[int]:
    """Chunk i is spoken with seed + i."""
    return [(first + index) % (MAX_SEED + 1) for index in range(count)]


class Planner:
    """What a request must pass, whichever door it came through.

    Args:
        settings, registry, library: of the lab.
    """

    def __init__(self, settings: Settings, registry: Registry, library: Library):
        self._settings = settings
        self._registry = registry
        self._library = library

    def blueprint(self, request: GenerationRequest, destination: Destination) -> Blueprint:
        """A checked request.

        Raises:
            InvalidInput (TextTooLong, BadClip), UnknownVoice, StoreFull.
        """
        self._library.files.check_free()
        text = check_text(request.text, self._settings.max_text)
        profile = self._library.profiles.resolve(request.voice)
        info = self._registry.info(request.engine or profile["default_engine"])
        language = _language(request.language, profile, info)
        parameters, warnings = self._parameters(request.parameters, info)
        shape = self._shape(request, info)
        chain = request.effects_chain
        effects = check_chain(profile["effects_chain"] if chain is None else chain)
        planned = self._plan(text, language, shape, info)
        seed, seeds = self._seeds(request, planned)
        clip, more = self._clip(request, profile, info)
        if destination.keeps:
            self._library.storage.check_quota(profile["id"], clip=clip)
        record = Generation(
            **self._new_sound(info),
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
            warnings=(*request.warnings, *planned.warnings, *warnings, *more),
            effects_chain=effects or None,
        )
        return self._drawn(
            record, planned, seeds, destination, request.listening, request.parameters
        )

    def again(
        self, record: Record, seeds: Sequence[int] | int, destination: Destination
    ) -> Blueprint:
        """A take made before, to be made with the same settings.

        Args:
            record: of the take.
            seeds: of its chunks, or the first one's.
            destination: where it goes now.

        Raises:
            EngineUnavailable: its engine is not here.
            Conflict: its text is cut into other chunks today.
            NotFound, StoreFull: its voice clip is gone, there is no room.
        """
        self._library.files.check_free()
        if record["engine"] not in self._registry.names:
            raise EngineUnavailable(
                f"This take was made with '{record['engine'][:40]}', which is not here."
            )
        info = self._registry.info(record["engine"])
        given = record["parameters"]
        shape = self._shape(_shaped(given), info)
        spoken = {key: value for key, value in given.items() if key not in SHAPE}
        parameters, warnings = self._parameters(spoken, info)
        planned = self._plan(record["text"], record["language"], shape, info)
        count = len(planned.chunks)
        if not isinstance(seeds, int) and len(seeds) != count:
            raise Conflict("This take was cut into other chunks; make it anew instead.")
        fields = {**record, **self._new_sound(info)}
        other = _other_stack(record["software"], fields["software"]) if info.random else ()
        said = (*planned.warnings, *warnings, *other)
        fields |= {"parameters": parameters | shape, "warnings": said}
        first = seeds if isinstance(seeds, int) else seeds[0]
        drawn = self._drawn(
            replace(Generation.from_document(fields), seed=first),
            planned,
            seeds_from(seeds, count) if isinstance(seeds, int) else list(seeds),
            destination,
        )
        # Last, for it may send takes away: not for one that is then refused.
        self._library.storage.check_quota(record["profile_id"], sparing=record["id"])
        return drawn

    def _seeds(self, request: GenerationRequest, planned: Plan) -> tuple[int, list[int]]:
        """The take's, and each chunk's: seed + i, or what it had before the text was edited."""
        if request.based_on is None:
            seed = check_seed(request.seed)
            return seed, seeds_from(seed, len(planned.chunks))
        base = self._library.history.get(request.based_on)
        seed = check_seed(base["seed"] if request.seed is None else request.seed)
        seeds = seeds_from(seed, len(planned.chunks))
        if seed != base["seed"]:
            return seed, seeds
        before = [chunk["text"] for chunk in base["chunks"]]
        after = [chunk.text for chunk in planned.chunks]
        for old, new, size in SequenceMatcher(None, before, after, False).get_matching_blocks():
            for step in range(size):
                seeds[new + step] = base["chunks"][old + step]["seed"]
        return seed, seeds

    def _drawn(
        self,
        record: Generation,
        planned: Plan,
        seeds: Sequence[int],
        destination: Destination,
        listening: bool = False,
        sent: Mapping[str, float] = MappingProxyType({}),
    ) -> Blueprint:
        parameters = dict(record.parameters)
        shape = {name: parameters.pop(name) for name in SHAPE}
        return Blueprint(
            record=record,
            plan=planned,
            job=Job(
                engine=record.engine,
                chunks=planned.chunks,
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
            effects=check_chain(record.effects_chain),  # an imported one may be any
            destination=destination,
            versions=self._registry.engine(record.engine).versions,
            shown=_documented(sent) | parameters,
        )

    def _new_sound(self, info: EngineInfo) -> dict[str, Any]:
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
        """Everything around the voice, checked; kept with the parameters in the record."""
        settings = self._settings
        gap_ms = request.gap_ms
        if gap_ms is None:  # who asks for a crossfade does not want the default gap
            gap_ms = 0 if request.crossfade_ms else settings.gap_ms
        crossfade_ms, max_chunk_chars = request.crossfade_ms, request.max_chunk_chars
        if crossfade_ms is None:
            crossfade_ms = settings.crossfade_ms
        if max_chunk_chars is None:
            max_chunk_chars = settings.max_chunk_chars
        first_chunk_chars = request.first_chunk_chars
        if first_chunk_chars is None:
            early = request.listening and info.random  # who draws nothing is quick anyway
            first_chunk_chars = FIRST_CHUNK_CHARS if early else max_chunk_chars
        return {
            "speed": _within("speed", request.speed, 0.25, 4),
            "gap_ms": int(_within("gap_ms", gap_ms, 0, 5000)),
            "crossfade_ms": int(_within("crossfade_ms", crossfade_ms, 0, 500)),
            "max_chunk_chars": int(_within("max_chunk_chars", max_chunk_chars, 100, 1000)),
            "first_chunk_chars": int(_within("first_chunk_chars", first_chunk_chars, 20, 1000)),
            "normalize": request.normalize,
        }

    def _parameters(
        self, given: Mapping[str, float], info: EngineInfo
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """The engine's parameters, complete; and a warning for those it does not have."""
        known = {parameter.name: parameter for parameter in info.parameters}
        values = {parameter.name: parameter.default for parameter in info.parameters}
        given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            if name in known:
                parameter = known[name]
                values[name] = _within(name, value, parameter.minimum, parameter.maximum)
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
        """The reference clip to speak like, kept; and a warning when it cannot be used."""
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
        kept = self._library.files.keep_clip(Path(clip) if request.voice_clip else clip)
        self._registry.engine(info.name).prepare_voice(self._library.files.target(kept))
        return kept, ()


def _documented(sent: Mapping[str, float]) -> dict[str, float]:
    """Chatterbox's three, as they were sent: the status shows them whichever engine speaks."""
    return {
        parameter.name: sent.get(parameter.name, parameter.default)
        for parameter in CHATTERBOX_INFOS["chatterbox"].parameters
        if parameter.name in DOCUMENTED
    }


def _shaped(parameters: Record) -> GenerationRequest:
    """The settings around the voice of a record, as a request asks for them."""
    # An older record has no length of its first chunk: it was as long as the others.
    given: dict[str, Any] = {"first_chunk_chars": parameters.get("max_chunk_chars")}
    given |= {name: parameters[name] for name in SHAPE if name in parameters}
    return GenerationRequest("", **given)


def _other_stack(before: Record | None, now: Record) -> tuple[str, ...]:
    """A warning when what makes the sound is not what it was."""
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
    """What is asked for, else the profile's where the engine speaks it, else the engine's."""
    if not wanted:
        own = profile["id"] != DEFAULT_PROFILE and profile["language"] in info.languages
        return profile["language"] if own else next(iter(info.languages))
    for code in (wanted.lower(), wanted.lower().split("-")[0]):
        if code in info.languages:
            return code
    known = ", ".join(info.languages)
    raise InvalidInput(
        f"{info.label} does not speak '{wanted[:20]}'; it speaks {known}.", param="language"
    )


def check_seed(wanted: int | None) -> int:
    """The seed, or a drawn one for None and -1; raises InvalidInput."""
    if wanted is None or wanted == RANDOM_SEED:
        return secrets.randbelow(MAX_SEED + 1)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted <= MAX_SEED:
        raise InvalidInput(
            f"seed is {str(wanted)[:40]}; a whole number from 0 to {MAX_SEED} is allowed, "
            f"or {RANDOM_SEED} for any.",
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
