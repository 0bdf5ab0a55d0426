"""Engines that other packages bring, found by their entry points."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voicelab.engines as engines_room
from distributions import BROKEN, copy_hum, on_path, write
from voicelab.engines import (
    CHATTERBOX_INFOS,
    EngineInfo,
    Parameter,
    Presence,
    Registry,
    Utterance,
    engine_names,
)
from voicelab.engines.plugins import problems
from voicelab.engines.registry import BUILT_IN
from voicelab.errors import EngineUnavailable, InvalidInput
from voicelab.settings import Settings

RIGHT = EngineInfo(
    "other", "Other", 24_000, {"en": "English"}, (Parameter("depth", "Depth", 1, 0, 2, 0.1),), 300
)
MADE = """
from voicelab.engines import EngineInfo, Plugin
def make(name, settings): raise RuntimeError("no cable")
def presence(name, settings): raise OSError("no socket")
INFO = EngineInfo("{name}", "Other", 24_000, {{"en": "English"}}, (), 300)
PLUGIN = Plugin((INFO,), make{more})
"""


def registry(engine: str = "tone") -> Registry:
    return Registry(Settings(engine=engine))


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path, to install in."""
    folder = tmp_path / "packages"
    folder.mkdir()
    with on_path(folder):
        yield folder


def test_a_package_brings_an_engine(packages: Path) -> None:
    copy_hum(packages)
    engines = registry("hum")
    assert engines.default == "hum" and engines.reason == "chosen by the settings"
    assert engines.source("hum") == "voicelab-hum 0.3.0" and engines.source("tone") == "built in"
    assert engines.presence("hum") == Presence(True, True, "it needs no weights.")
    assert engines.broken == () and "hum" in engine_names()
    engine = engines.load("hum")
    values = {"hum_hz": 400.0, "temperature": 1.0}
    (spoken,) = engine.speak(
        [Utterance("Hello.", engine.prepare_voice(None), values, 1, "en")], lambda _: False
    )
    assert len(spoken.audio) == 4800  # 6 characters, 50 ms each
    assert np.argmax(np.abs(np.fft.rfft(spoken.audio))) == round(400 * 0.3)


def test_packages_are_found_when_a_registry_is_made(tmp_path: Path) -> None:
    copy_hum(tmp_path)
    assert "hum" not in registry().names
    with on_path(tmp_path):
        found = registry()
        assert "hum" in found.names
    assert "hum" in found.names and "hum" not in registry().names


def test_a_parameter_of_several_engines_has_the_widest_range(packages: Path) -> None:
    before = registry().parameters["temperature"]
    assert (before.minimum, before.maximum) == (0.05, 5.0)
    copy_hum(packages)
    found = registry().parameters
    assert (found["temperature"].minimum, found["temperature"].maximum) == (0, 10)
    names = [*CHATTERBOX_INFOS, "hum"]
    assert found["temperature"].help == f"{', '.join(names)}: Higher varies more."
    assert found["hum_hz"].help == "hum: Pitch of the hum."


def test_what_a_request_may_hold_is_wider_where_clients_send_more() -> None:
    found = registry().parameters
    assert (found["top_k"].minimum, found["top_k"].maximum) == (0, 10_000)
    assert (found["top_p"].minimum, found["top_p"].maximum) == (0, 1)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_is_reported_and_left_out(
    packages: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, reason = BROKEN[name]
    write(packages, f"bad-{name}", source, entry_point=name)
    copy_hum(packages)
    with caplog.at_level(logging.WARNING):
        engines = registry()
    (broken,) = engines.broken
    assert (broken.entry_point, broken.source) == (name, f"bad-{name} 1.0")
    assert broken.reason.startswith(reason) and broken.reason.endswith(".")
    assert f"engine left out: {name} (bad-{name} 1.0): {reason}" in caplog.text
    assert engines.names[-1] == "hum" and "other" not in engines.names
    assert engines.source("espeak") == "built in"


def test_of_two_with_the_same_name_the_first_by_its_package_is_used(packages: Path) -> None:
    write(packages, "b-second", MADE.format(name="other", more=""), entry_point="x")
    write(packages, "a-first", MADE.format(name="other", more=""), entry_point="y")
    engines = registry()
    assert engines.source("other") == "a-first 1.0"
    assert [each.reason for each in engines.broken] == ["There is another engine 'other'."]


def test_an_engine_that_cannot_be_made_is_an_error_when_it_is_wanted(packages: Path) -> None:
    write(packages, "other", MADE.format(name="other", more=""), entry_point="other")
    engines = registry("other")
    assert engines.info("other").label == "Other" and engines.device() == "none"
    with pytest.raises(EngineUnavailable, match="'other' cannot be made: RuntimeError"):
        engines.load("other")
    assert engines.state("other").state == "error"
    engines.load("tone")


def test_an_engine_of_unknown_presence_is_not_installed(packages: Path) -> None:
    write(packages, "other", MADE.format(name="other", more=", presence"), entry_point="other")
    found = registry().presence("other")
    assert not found.installed and not found.weights
    assert found.reason == "whether it can be used is not known: OSError."


def test_settings_that_name_no_engine_say_which_there_are(packages: Path) -> None:
    write(packages, "bad-number", "PLUGIN = 7", entry_point="pluto")
    with pytest.raises(InvalidInput) as raised:
        registry("pluto")
    assert str(raised.value) == (
        "There is no engine 'pluto'; there are auto, espeak, piper, "
        f"{', '.join(CHATTERBOX_INFOS)}, tone. "
        "Left out: pluto (bad-number 1.0): bad_number:PLUGIN is no voicelab.engines.Plugin."
    )


def test_the_built_in_engines_are_declared_rightly() -> None:
    for plugin in BUILT_IN:
        assert [problem for info in plugin.infos for problem in problems(info)] == []
        for info in plugin.infos:
            assert plugin.make(info.name, Settings()).info == info
    assert list(problems(RIGHT)) == []


def parameter(**changed: Any) -> dict[str, Any]:
    return {"parameters": (replace(RIGHT.parameters[0], **changed),)}


WRONG: list[dict[str, Any]] = [
    *({"name": name} for name in ("", "auto", "Other", "a b", "-a", "a" * 61, 7)),
    *({"label": label} for label in ("", "  ", None)),
    {"description": None},
    *({"sample_rate": rate} for rate in (0, 7999, 200_000, 24_000.0, "24000")),
    *({"languages": spoken} for spoken in ({}, {"EN": "English"}, {"en": 7}, {7: "seven"})),
    *({"max_chunk_chars": count} for count in (0, 99, 300.0)),
    *({"batch_size": count} for count in (0, 1.5)),
    {"parameters": RIGHT.parameters * 2},
    *(parameter(name=name) for name in ("Depth", "a b", "_a", "model_x", "json", "input", 7)),
    *(parameter(help=None), parameter(label=7)),
    *(parameter(default=number) for number in (-1, 3, float("nan"))),
    *(parameter(maximum=float("inf")), parameter(step=0)),
    *(parameter(accepted=accepted) for accepted in ((0, 1), (1, 2), (0, float("inf")))),
]


@pytest.mark.parametrize("changed", WRONG, ids=str)
def test_a_wrong_declaration_is_told(changed: dict[str, Any]) -> None:
    found = list(problems(replace(RIGHT, **changed)))
    assert len(found) == 1 and found[0]


def test_the_readme_shows_a_right_declaration() -> None:
    text = (Path(engines_room.__file__).parent / "README.md").read_text(encoding="utf-8")
    (cell,) = re.findall(r"```python\n(.*?)```", text, re.S)
    scope: dict[str, Any] = {"HumEngine": object}
    exec(compile(cell, "README.md", "exec"), scope)
    assert list(problems(scope["INFO"])) == [] and scope["PLUGIN"].infos == (scope["INFO"],)
