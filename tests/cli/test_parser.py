"""The one parser: commands, grouped options, what `--help` shows, how it refuses."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

import pytest

from voicelab.cli import parse_settings
from voicelab.cli.command import Command
from voicelab.cli.main import COMMANDS, main
from voicelab.settings import GROUPS, Settings


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def serve_calls() -> Any:
    """The settings that `serve` was run with; nothing is served."""
    found: list[Settings] = []

    def run(settings: Settings, _: object) -> int:
        """Serve."""
        found.append(settings)
        return 0

    commands = {**COMMANDS, "serve": Command(run, settings=None)}
    with mock.patch("voicelab.cli.main.COMMANDS", commands):
        yield found


def test_help_names_each_command_in_one_line(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_of(capsys).splitlines()
    for name in COMMANDS:
        (line,) = (line for line in lines if line.startswith(f"    {name} "))
        assert line.endswith(".")


def test_help_shows_the_settings_in_groups(capsys) -> None:
    shown: dict[str, list[str]] = {}
    for line in help_of(capsys).splitlines():
        if title := re.fullmatch(r"([A-Z]\w+):", line):
            fields = shown.setdefault(title[1], [])
        elif option := re.match(r"  --([a-z-]+)", line):
            fields.append(option[1].replace("-", "_"))
    assert {title: tuple(fields) for title, fields in shown.items() if fields} == dict(GROUPS)
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(Settings.model_fields)


@pytest.mark.parametrize("words", [(), ("serve",)], ids=str)
def test_help_is_for_people(words: tuple[str, ...], capsys) -> None:
    text = " ".join(help_of(capsys, *words).split())
    for noise in ("<lambda>", "SecretStr", "None", "default: )", "{", "factory", "_frames"):
        assert noise not in text
    assert "listen on; 0 takes a free one (default: 7860)" in text
    assert "for all, the default on a Space (default: 127.0.0.1)" in text
    assert "where Chatterbox computes (one of auto, cpu, cuda, mps; default: auto)" in text
    assert "--share, --no-share make a public gradio.live link --open" in text
    assert "interrupted, at the next start (default: on)" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys) -> None:
    assert help_of(capsys, name).startswith(f"usage: voicelab {name} [")


def test_serve_is_what_runs_without_a_command(serve_calls: list[Settings], monkeypatch) -> None:
    monkeypatch.setenv("VOICELAB_GAP_MS", "7")
    monkeypatch.setenv("VOICELAB_PORT", "1")
    for words in ([], ["serve"]):
        assert main([*words, "--port", "8000", "--share", "--no-resume-interrupted"]) == 0
    chosen = [(s.port, s.share, s.resume_interrupted, s.gap_ms) for s in serve_calls]
    assert chosen == [(8000, True, False, 7)] * 2


def test_app_and_command_read_options_alike(serve_calls: list[Settings]) -> None:
    words = ["--data-dir", "here", "--api-key", "secret", "--threads", "2", "--tone-delay-s", "0.5"]
    assert main(words) == 0
    assert serve_calls == [parse_settings(words)]
    assert serve_calls[0].key() == "secret" and serve_calls[0].tone_delay_s == 0.5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--port", "abc"), "--port: Input should be a valid integer, unable to parse"),
        (("--port", "70000"), "--port: Input should be less than or equal to 65535"),
        (("--voice-aliases", "x"), "--voice-aliases: it takes name=profile, several"),
        (("--port",), "argument --port: expected one argument"),
        (("--nothing",), "unrecognized arguments: --nothing"),
        (("--por", "80"), "unrecognized arguments: --por 80"),
        (("--port", "80", "storage"), "unrecognized arguments: storage"),
        (("nothing",), "argument COMMAND: invalid choice: 'nothing' (choose from "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_refused_in_one_line(words, line: str, capsys) -> None:
    message = error_of(capsys, *words)
    assert message.startswith((f"voicelab: {line}", f"voicelab serve: {line}"))


def test_a_wrong_value_of_the_environment_is_named(capsys, monkeypatch) -> None:
    monkeypatch.setenv("VOICELAB_MAX_QUEUE", "many")
    line = error_of(capsys, "doctor")
    assert line.startswith("voicelab: VOICELAB_MAX_QUEUE: Input should be a valid integer")


def test_app_refuses_in_one_line_too(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--cache-mb", "-1"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--cache-mb: Input should be greater than or equal to 0" in line
