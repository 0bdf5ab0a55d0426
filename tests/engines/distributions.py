"""Distributions with engines, installed in a folder without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["HUM", "BROKEN", "build_and_install", "copy_hum", "on_path", "write"]

HUM = Path(__file__).parent / "plugin"

_DECLARED = """
from dataclasses import replace
from voicelab.engines import EngineInfo, Parameter, Plugin
INFO = EngineInfo("other", "Other", 24_000, {"en": "English"}, (), 300)
def make(name, settings): raise RuntimeError(name)
"""

BROKEN: Mapping[str, tuple[str, str]] = {
    "absent": ("import no_such_module", "bad_absent:PLUGIN cannot be imported: ModuleNotFoundE"),
    "ends": ("raise SystemExit(3)", "bad_ends:PLUGIN cannot be imported: SystemExit."),
    "nameless": ("x = 1", "bad_nameless:PLUGIN cannot be imported: AttributeError."),
    "number": ("PLUGIN = 7", "bad_number:PLUGIN is no voicelab.engines.Plugin."),
    "clash": (
        f"{_DECLARED}PLUGIN = Plugin((replace(INFO, name='espeak'),), make)",
        "There is another engine 'espeak'.",
    ),
    "rate": (
        f"{_DECLARED}PLUGIN = Plugin((replace(INFO, sample_rate=10),), make)",
        "The EngineInfo of 'other' is wrong: sample_rate is to be 8000 to 192000.",
    ),
    "parameter": (
        f"{_DECLARED}speed = Parameter('speed', 'Speed', 1, 0, 2, 0.1)\n"
        "PLUGIN = Plugin((replace(INFO, parameters=(speed,)),), make)",
        "The EngineInfo of 'other' is wrong: no parameter may be named 'speed', as requests have "
        "a field of that name.",
    ),
    "types": (
        f"{_DECLARED}PLUGIN = Plugin((replace(INFO, parameters=7),), make)",
        "Its EngineInfo cannot be read: TypeError.",
    ),
}
"""Entry point -> source of its module, and how the reason begins for which it is left out."""


def write(folder: Path, name: str, source: str, *, entry_point: str, version: str = "1.0") -> None:
    """A distribution with one module, as an installer leaves it.

    Args:
        folder: that stands on the path.
        name: of the distribution; the module has underscores in it.
        source: of the module.
        entry_point: name of the one for its PLUGIN.
        version: of the distribution.
    """
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    _describe(folder, name, version, {entry_point: f"{module}:PLUGIN"})


def copy_hum(folder: Path) -> None:
    """The package of `plugin/`, where nothing can build it: copied, and described by hand."""
    project = tomllib.loads((HUM / "pyproject.toml").read_text())["project"]
    shutil.copytree(HUM / "voicelab_hum", folder / "voicelab_hum")
    points = project["entry-points"]["voicelab.engines"]
    _describe(folder, project["name"], project["version"], points)


def _describe(folder: Path, name: str, version: str, points: Mapping[str, str]) -> None:
    told = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (told / "entry_points.txt").write_text(f"[voicelab.engines]\n{lines}")


def build_and_install(folder: Path) -> None:
    """The package of `plugin/`, built from a copy and installed by uv with its own backend."""
    source = folder.parent / "hum-source"
    shutil.copytree(HUM, source, ignore=shutil.ignore_patterns("__pycache__"))
    uv = os.environ.get("UV") or "uv"
    options = ["--offline", "--no-deps", "--quiet", "--python", sys.executable]
    subprocess.run(
        [uv, "pip", "install", *options, "--target", str(folder), str(source)], check=True
    )


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """What is installed in the folder can be found, and is forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        try:
            yield
        finally:
            for name, module in list(sys.modules.items()):
                if str(getattr(module, "__file__", "") or "").startswith(str(folder)):
                    del sys.modules[name]
