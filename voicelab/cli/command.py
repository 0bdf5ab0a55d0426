"""The description of a command: its options and its function."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from voicelab.cli.options import add_settings
from voicelab.settings import Settings

__all__ = ["Command", "add_commands"]


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        run: the function; returns the exit status, or raises VoicelabError with a message for the
            user. Its docstring is the help text.
        options: adds the command's own options to a parser.
        settings: fields of `Settings` that are options of the command; None for all.
    """

    run: Callable[[Settings, argparse.Namespace], int]
    options: Callable[[argparse.ArgumentParser], None] = lambda _: None
    settings: tuple[str, ...] | None = ("data_dir",)


def add_commands(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, Command],
    dest: str,
    engines: Sequence[str] = (),
) -> None:
    """Add commands and their options to a parser.

    Args:
        parser: gets the commands.
        commands: name -> command.
        dest: attribute of the parsed options that holds the chosen `Command`.
        engines: see `add_settings`.
    """
    words = parser.add_subparsers(
        title="Commands", prog=parser.prog, metavar="COMMAND", required=True
    )
    for name, command in commands.items():
        text = inspect.getdoc(command.run) or ""
        word = words.add_parser(name, help=text.splitlines()[0], description=text)
        if command.settings is None:
            word.usage = "%(prog)s [OPTION ...]"
        add_settings(word, command.settings, engines)
        command.options(word)
        word.set_defaults(**{dest: command})
