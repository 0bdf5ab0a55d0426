"""What a command is: a word of the command line, its options, and what it does."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from voicelab.settings import Settings

__all__ = ["Command", "add_commands"]


@dataclass(frozen=True)
class Command:
    """A word of the command line.

    Attributes:
        run: does it; the exit status. Its docstring is the help, the first line of it the one in
            the list of commands. It may raise VoicelabError, whose message is for the user.
        options: adds the command's own options.
        settings: the fields of `Settings` that are options of the command; None for all.
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
    """Let a parser take the name of a command and its options.

    Args:
        dest: the name under which the parsed options have the chosen `Command`.
        engines: see `Settings.add_options`.
    """
    words = parser.add_subparsers(
        title="Commands", prog=parser.prog, metavar="COMMAND", required=True
    )
    for name, command in commands.items():
        text = inspect.getdoc(command.run) or ""
        word = words.add_parser(name, help=text.splitlines()[0], description=text)
        if command.settings is None:
            word.usage = "%(prog)s [OPTION ...]"
        Settings.add_options(word, command.settings, engines)
        command.options(word)
        word.set_defaults(**{dest: command})
