"""The plan of the package: which room stands on which floor, and its drawing.

`python -m tests.house.rooms` prints the drawing that README.md shows.
"""

from __future__ import annotations

import ast
from pathlib import Path
from types import MappingProxyType

import voicelab

ROOT = Path(voicelab.__file__).parent

FLOORS = MappingProxyType(
    {
        "server": 7,
        "__main__": 7,
        "ui": 6,
        "rest": 6,
        "cli": 6,
        "lab": 5,
        "generation": 4,
        "engines": 3,
        "library": 3,
        "text": 2,
        "audio": 2,
        "store": 2,
        "settings": 1,
        "records": 1,
        "errors": 1,
    }
)
"""Imports go down only: a room imports from rooms on lower floors."""

STEPS_UP = frozenset((("lab", "server"),))
"""`VoiceLab.launch` opens the page, which is built on the lab; imported when it is called."""


def summary(room: str) -> str:
    """The first line of its docstring."""
    path = ROOT / f"{room}.py"
    source = (path if path.exists() else ROOT / room / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def drawing() -> str:
    """A line a room, the highest floor first."""
    lines = []
    above = 0
    for room, floor in FLOORS.items():
        name = f"{room}/" if (ROOT / room).is_dir() else f"{room}.py"
        lines.append(f"{floor if floor != above else ' '}  {name:13}{summary(room)}")
        above = floor
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawing())
