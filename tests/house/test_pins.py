"""Everything that the project's commands install is pinned, and the pins fit what it asks for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLATFORMS = (("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows"))
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = [
    {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "sys_platform": platform,
        "platform_system": system,
        "platform_machine": "x86_64",
        "os_name": "nt" if platform == "win32" else "posix",
    }
    for python, (platform, system) in product(PYTHONS, PLATFORMS)
]


def lines(name: str) -> list[str]:
    content = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in content if line and not line.startswith("#")]


UV = PROJECT["tool"]["uv"]["constraint-dependencies"]
OVERRIDES = {
    canonicalize_name(Requirement(line).name): Requirement(line)
    for line in PROJECT["tool"]["uv"]["override-dependencies"]
}
LIGHT = PROJECT["project"]["dependencies"]
EXTRAS = [line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines]
DEV = PROJECT["dependency-groups"]["dev"]
LISTS = {
    "uv": (UV, [*LIGHT, *EXTRAS, *DEV]),
    "pip": (lines(".ci/constraints.txt"), [*LIGHT, *EXTRAS]),
    "Space": (lines("requirements.txt"), LIGHT),
}


def pins(given: Sequence[str], machine: dict[str, str]) -> dict[str, Version]:
    """The one version of each package there."""
    found: dict[str, Version] = {}
    for requirement in map(Requirement, given):
        if requirement.marker and not requirement.marker.evaluate(machine):
            continue
        (exact,) = requirement.specifier
        assert exact.operator == "==" and "*" not in exact.version, str(requirement)
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice"
        found[name] = Version(exact.version)
    return found


@cache
def required_by(name: str) -> list[Requirement]:
    return [Requirement(line) for line in distribution(name).requires or ()]


def needed(requirement: Requirement, machine: dict[str, str]) -> Iterator[Requirement]:
    """What a package that is installed here requires there, with the wanted extras."""
    for inner in required_by(requirement.name):
        for extra in ("", *requirement.extras):
            if inner.marker is None or inner.marker.evaluate({**machine, "extra": extra}):
                yield inner
                break


def closure(asked: Sequence[str], there: dict[str, Version], machine: dict[str, str]) -> set[str]:
    """All that is required there, as far as the same versions are installed here to be asked."""
    waiting, known = list(map(Requirement, asked)), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (one := (name, frozenset(requirement.extras))) in known:
            continue
        known.add(one)
        with suppress(PackageNotFoundError):  # of another platform or Python
            if Version(distribution(name).version) == there.get(name):
                waiting += needed(requirement, machine)
    return {name for name, _ in known}


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m['python_version']} {m['os_name']}")
@pytest.mark.parametrize("name", LISTS)
def test_the_pins_fit_what_the_project_asks_for(name: str, machine: dict[str, str]) -> None:
    given, asked = LISTS[name]
    there = pins(given, machine)
    for requirement in map(Requirement, asked):
        lifted = OVERRIDES.get(canonicalize_name(requirement.name)) if name != "pip" else None
        version = there[canonicalize_name(requirement.name)]
        assert (lifted or requirement).specifier.contains(version), f"{requirement}: {version}"


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m['python_version']} {m['os_name']}")
@pytest.mark.parametrize("name", ["uv", "Space"])
def test_all_that_is_required_is_pinned(name: str, machine: dict[str, str]) -> None:
    """By the metadata of what is installed here, read as another machine would read it."""
    given, asked = LISTS[name]
    there = pins(given, machine)
    assert closure(asked, there, machine) - there.keys() == set()


def test_what_is_installed_here_is_what_is_pinned() -> None:
    here = {key: str(value) for key, value in default_environment().items()}
    there = pins(UV, here)
    required = closure(LISTS["uv"][1], there, here)
    installed = {name: Version(distribution(name).version) for name in required}
    assert len(required) > 150
    assert installed == {name: there[name] for name in required}


def test_what_builds_the_project_is_pinned() -> None:
    given = PROJECT["tool"]["uv"]["build-constraint-dependencies"]
    there = pins(given, MACHINES[0])
    for requirement in map(Requirement, PROJECT["build-system"]["requires"]):
        assert requirement.specifier.contains(there[canonicalize_name(requirement.name)])


def test_a_space_gets_uvs_versions_and_that_gradio() -> None:
    assert set(LISTS["Space"][0]) <= set(UV)
    head = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    (sdk,) = [line for line in head.splitlines() if line.startswith("sdk_version: ")]
    assert f"gradio=={sdk.removeprefix('sdk_version: ')}" in LISTS["Space"][0]


def test_no_pin_names_a_host() -> None:
    assert not [line for given, _ in LISTS.values() for line in given if "://" in line]
