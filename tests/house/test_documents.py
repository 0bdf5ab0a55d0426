"""What is written beside the code, as far as a machine can check it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import voicelab
from tests.conftest import MakeLab
from tests.house.rooms import FLOORS
from tests.house.tables import ROUTES, SETTINGS, paths_in, routes_table, settings_table
from voicelab.engines.chatterbox.checkpoints import FILES
from voicelab.rest import build
from voicelab.settings import Settings

PACKAGE = Path(voicelab.__file__).parent
ROOT = PACKAGE.parent
HEADER = PACKAGE / "ui" / "templates" / "header.html"
ROOMS = [room for room in FLOORS if (PACKAGE / room).is_dir()]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / ".github").glob("*.md"),
    *PACKAGE.rglob("*.md"),
    *(ROOT / "tests").rglob("*.md"),
]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_table_of_routes_is_that_of_the_code() -> None:
    assert text_of(ROUTES) == routes_table()


def test_the_table_of_routes_names_every_documented_path(make_lab: MakeLab) -> None:
    assert paths_in(text_of(ROUTES)) >= set(build(make_lab()).openapi()["paths"])


def test_the_table_of_settings_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSTEM", raising=False)
    assert text_of(SETTINGS) == settings_table()


def test_the_table_of_settings_names_every_option() -> None:
    table = dict(
        re.findall(r"^\| `--([a-z-]+)` \| `(VOICELAB_[A-Z_]+)` \|", text_of(SETTINGS), re.M)
    )
    assert table == {
        field.replace("_", "-"): f"VOICELAB_{field.upper()}" for field in Settings.model_fields
    }


def test_the_readme_is_read_in_three_minutes() -> None:
    assert text_of(ROOT / "README.md").count("\n") <= 150


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_readme_of_one_screen(room: str) -> None:
    text = text_of(PACKAGE / room / "README.md")
    assert text.count("\n") <= 60
    assert text.startswith(f"# {room}")
    assert f"voicelab/{room}/README.md" in text_of(ROOT / "README.md")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", text_of(path))
    assert not [
        link for link in links if "://" not in link and not (path.parent / link).resolve().exists()
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_of_tests_that_is_named_is_there(path: Path) -> None:
    named = re.findall(r"\btests/[\w/]+\.(?:py|md)\b", text_of(path))
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("path", [ROOT / "README.md", HEADER], ids=lambda path: path.name)
def test_the_way_to_the_weights_names_their_repository(path: Path) -> None:
    command = re.search(r"hf download (\S+) --local-dir weights", text_of(path))
    assert command and command[1] == FILES["chatterbox-nano"][0]
    assert "--checkpoint-dir weights" in text_of(path)


def test_hooks_run_commands_of_the_project_alone() -> None:
    given = text_of(ROOT / ".pre-commit-config.yaml")
    assert re.findall(r"repo: (\S+)", given) == ["local"]
    assert set(re.findall(r"language: (\S+)", given)) == {"system"}
