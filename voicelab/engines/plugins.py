"""Engines that other packages bring: entry points of the group `voicelab.engines`."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from voicelab.engines.base import Broken, EngineInfo, Parameter, Plugin

__all__ = ["GROUP", "RESERVED", "Installed", "installed", "problems"]

log = logging.getLogger(__name__)

GROUP = "voicelab.engines"

ENGINE_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PARAMETER_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")
MAX_NAME = 60
SAMPLE_RATES = range(8000, 192_001)
MIN_CHUNK_CHARS = 100

RESERVED = frozenset(
    (
        *("input", "text", "voice", "voice_file", "voice_clip", "model", "model_size", "engine"),
        *("language", "lang_code", "seed", "speed", "speed_factor", "profile_id", "parameters"),
        *("response_format", "stream_format", "stream", "store", "listening", "source"),
        *("instructions", "instruct", "max_chunk_chars", "max_chunk_length", "first_chunk_chars"),
        *("crossfade_ms", "gap_ms", "normalize", "effects_chain", "based_on", "session_id"),
        *("volume_multiplier", "warnings", "request", "values", "parameter_names", "keeps_null"),
        # Attributes of every pydantic model.
        *("construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj", "parse_raw"),
        *("schema", "schema_json", "update_forward_refs", "validate"),
    )
)
"""Names in the bodies of requests and in records that no parameter of an engine may have."""


@dataclass(frozen=True)
class Installed:
    """A plugin that can be used.

    Attributes:
        plugin: what the entry point names.
        source: its distribution's name and version.
    """

    plugin: Plugin
    source: str


def installed(built_in: Collection[str]) -> tuple[tuple[Installed, ...], tuple[Broken, ...]]:
    """The plugins that are installed, and those left out; in the order of their sources.

    Args:
        built_in: names of engines that no plugin may take.
    """
    taken = set(built_in)
    usable: list[Installed] = []
    broken: list[Broken] = []
    found = ((_source(point), point) for point in entry_points(group=GROUP))
    for source, point in sorted(found, key=lambda each: (each[0], each[1].name)):
        try:
            plugin = _checked(point, taken)
        except _Unusable as error:
            broken.append(Broken(point.name, source, str(error)))
        else:
            usable.append(Installed(plugin, source))
            taken |= {info.name for info in plugin.infos}
    return tuple(usable), tuple(broken)


class _Unusable(Exception):
    """A plugin cannot be used; the message is one sentence that says why."""


def _source(point: EntryPoint) -> str:
    if point.dist is None:
        return "unknown"
    return f"{point.dist.name} {point.dist.version}"


def _checked(point: EntryPoint, taken: Collection[str]) -> Plugin:
    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:  # whatever a module of somebody else does
        log.debug("entry point %s", point.name, exc_info=True)
        raise _Unusable(f"{point.value} cannot be imported: {type(error).__name__}.") from error
    if not isinstance(plugin, Plugin):
        raise _Unusable(f"{point.value} is no voicelab.engines.Plugin.")
    try:
        found = next(_plugin_problems(plugin, taken), None)
    except Exception as error:  # attributes of the wrong types
        raise _Unusable(f"Its EngineInfo cannot be read: {type(error).__name__}.") from error
    if found:
        raise _Unusable(found)
    return plugin


def _plugin_problems(plugin: Plugin, taken: Collection[str]) -> Iterator[str]:
    if not plugin.infos or not callable(plugin.make):
        yield "It has no engine, or nothing that makes one."
    names = [info.name for info in plugin.infos]
    if len(set(names)) < len(names):
        yield "Two of its engines have the same name."
    for info in plugin.infos:
        if info.name in taken:
            yield f"There is another engine '{info.name}'."
        for problem in problems(info):
            yield f"The EngineInfo of '{str(info.name)[:MAX_NAME]}' is wrong: {problem}."


def problems(info: EngineInfo) -> Iterator[str]:
    """What is wrong with a declaration, a phrase each; nothing for a right one."""
    if not _is_name(ENGINE_NAME, info.name) or info.name == "auto":
        yield "name is to be small letters and digits, with - between, and not auto"
    if not (isinstance(info.label, str) and info.label.strip()):
        yield "label is empty"
    if not isinstance(info.description, str):
        yield "description is to be a text"
    if not (isinstance(info.sample_rate, int) and info.sample_rate in SAMPLE_RATES):
        yield f"sample_rate is to be {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
    if not _are_languages(info.languages):
        yield "languages is to be BCP 47 codes in small letters and their names, one at least"
    if not (isinstance(info.max_chunk_chars, int) and info.max_chunk_chars >= MIN_CHUNK_CHARS):
        yield f"max_chunk_chars is to be {MIN_CHUNK_CHARS} or more"
    if not (isinstance(info.batch_size, int) and info.batch_size >= 1):
        yield "batch_size is to be 1 or more"
    names = [parameter.name for parameter in info.parameters]
    if len(set(names)) < len(names):
        yield "two parameters have the same name"
    for parameter in info.parameters:
        yield from _parameter_problems(parameter)


def _are_languages(languages: Mapping[str, str]) -> bool:
    return bool(languages) and all(
        _is_name(LANGUAGE, code) and isinstance(name, str) for code, name in languages.items()
    )


def _parameter_problems(parameter: Parameter) -> Iterator[str]:
    name = parameter.name
    if not _is_name(PARAMETER_NAME, name) or name.startswith("model_"):
        yield "a parameter's name is to be small letters and digits, with _ between"
    elif name in RESERVED:
        yield f"no parameter may be named '{name}', as requests have a field of that name"
    if not (isinstance(parameter.label, str) and isinstance(parameter.help, str)):
        yield f"label and help of '{name}' are to be texts"
    numbers = (parameter.minimum, parameter.default, parameter.maximum, parameter.step)
    low, high = parameter.accepted or (parameter.minimum, parameter.maximum)
    if not all(math.isfinite(number) for number in (*numbers, low, high)):
        yield f"the numbers of '{name}' are to be finite"
    elif not parameter.minimum <= parameter.default <= parameter.maximum or parameter.step <= 0:
        yield f"the default of '{name}' is outside of its range, or its step is not above 0"
    elif not (low <= parameter.minimum and parameter.maximum <= high):
        yield f"what '{name}' accepts is narrower than its range"


def _is_name(pattern: re.Pattern[str], name: object) -> bool:
    return isinstance(name, str) and len(name) <= MAX_NAME and bool(pattern.fullmatch(name))
