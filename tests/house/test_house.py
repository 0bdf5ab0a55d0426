"""What a machine can check of how the house is built."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import voicelab
from tests.conftest import MakeLab
from tests.house.rooms import FLOORS, STEPS_UP, drawing
from voicelab.settings import Settings

ROOT = Path(voicelab.__file__).parent
README = (ROOT.parent / "README.md").read_text(encoding="utf-8")
MODULES = sorted(path for path in ROOT.rglob("*.py"))
PAST_THE_DOOR = {"voicelab.engines.chatterbox.selftest"}
"""Imports torch, so it is imported where it is used."""

OWNERS = {
    "torch": {"engines/chatterbox"},
    "tinydb": {"store/tinydb"},
    "sqlalchemy": {"store/postgres"},
    "psycopg": {"store/postgres"},
    "fsspec": {"library/files/remote.py"},
    "pedalboard": {"audio/effects.py"},
    "gradio": {"ui", "server.py"},
    "fastapi": {"rest"},
    "starlette": {"rest"},
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> list[str]:
    """All imported modules, those inside functions too, those for type checkers not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: list[str] = []
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "voicelab"
                else [node.module]
            )
    return found


def room_of(path: Path) -> str:
    return name(path).split("/")[0].removesuffix(".py")


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)
    assert sorted(set(FLOORS.values())) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    for module in imports(path):
        other = module.split(".")[1] if module.startswith("voicelab.") else room
        if other in FLOORS and other != room and room != "__init__":
            assert FLOORS[other] < FLOORS[room] or (room, other) in STEPS_UP, module


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_rooms_are_entered_by_their_door(path: Path) -> None:
    """What another room offers is imported from it, not from one of its modules."""
    room = room_of(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "voicelab" and len(parts) > 2 and parts[1] != room:
            offered = importlib.import_module(f"voicelab.{parts[1]}").__all__
            assert (module in PAST_THE_DOOR) or (len(parts) == 3 and parts[2] in offered), module


def test_the_readme_shows_the_plan() -> None:
    assert f"```text\n{drawing()}\n```" in README


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_each_outside_thing_has_one_owner(path: Path) -> None:
    for module in imports(path):
        owners = OWNERS.get(module.split(".")[0])
        assert owners is None or any(name(path).startswith(owner) for owner in owners), module


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_module_holds_state(path: Path) -> None:
    """Module-level names are constants, types, or `log`; no mutable display is bound to one."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Global):
            raise AssertionError(ast.unparse(node))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Dict | ast.Set):
            targets = [ast.unparse(target) for target in node.targets]
            assert all(t == "__all__" or t.isupper() for t in targets), targets


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_say_what_they_offer(path: Path) -> None:
    module = "voicelab." + name(path).removesuffix(".py").replace("/", ".").removesuffix(
        ".__init__"
    )
    module = "voicelab" if name(path) == "__init__.py" else module
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    assert all(hasattr(loaded, public) for public in loaded.__all__)


def test_the_public_surface_is_exact() -> None:
    assert voicelab.__all__ == [
        "Filters",
        "GenerationRequest",
        "Settings",
        "Speech",
        "VoiceLab",
        "VoicelabError",
        "__version__",
    ]


def test_importing_voicelab_is_light() -> None:
    heavy = {"torch", "gradio", "pandas", "numpy", "sqlalchemy", "fsspec"}
    code = f"import voicelab, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_starting_writes_no_type_stubs() -> None:
    code = """if True:
        import sys
        opened = []
        sys.addaudithook(lambda name, args: opened.append(args[0]) if name == "open" else None)
        import voicelab.server
        print([path for path in opened if str(path).endswith(".pyi")])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_explains_every_option() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "voicelab", "--help"], capture_output=True, text=True, check=True
    )
    for field, info in Settings.model_fields.items():
        assert f"--{field.replace('_', '-')}" in done.stdout
        assert info.description


def test_the_readmes_python_runs(make_lab: MakeLab, tmp_path: Path, monkeypatch) -> None:
    cell = re.search(r"```python\n(.*?)```", README, re.S)
    assert cell
    monkeypatch.setenv("VOICELAB_DATA_DIR", str(tmp_path / "readme"))
    monkeypatch.setenv("VOICELAB_ENGINE", "espeak")
    scope: dict[str, object] = {}
    exec(compile(cell[1], "README.md", "exec"), scope)
    scope["lab"].close()  # type: ignore[attr-defined]
