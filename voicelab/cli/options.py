"""Options of the command line, one for each field of `Settings`."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from voicelab.settings import GROUPS, Settings

__all__ = ["OptionParser", "add_settings", "parse_settings", "settings_of"]


class OptionParser(argparse.ArgumentParser):
    """An `ArgumentParser` with one-line error messages and without abbreviated options."""

    def __init__(self, **arguments: Any):
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Help} | arguments)

    def error(self, message: str) -> NoReturn:
        """Print the message and end the process with status 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30)


def parse_settings(arguments: list[str] | None = None, engines: Sequence[str] = ()) -> Settings:
    """Settings from the command line and the environment, as `app.py` takes them.

    `--help` prints the options and exits; an invalid value is reported in one line, with status 2.

    Args:
        arguments: the options; those of the process when None.
        engines: names that `--help` lists for `engine`; the registry validates it.
    """
    parser = OptionParser(
        usage="%(prog)s [OPTION ...]",
        description=Settings.__doc__,
        epilog="`python -m voicelab --help` names the other commands.",
    )
    add_settings(parser, engines=engines)
    return settings_of(parser, parser.parse_args(arguments))


def add_settings(
    parser: argparse.ArgumentParser,
    names: Collection[str] | None = None,
    engines: Sequence[str] = (),
) -> None:
    """Add an option for each field, in groups; or for some fields, without groups.

    Args:
        parser: gets the options.
        names: of the fields; all when None.
        engines: names that the help lists for `engine`; the registry validates it.
    """
    for title, fields in GROUPS.items():
        target = parser.add_argument_group(title) if names is None else parser
        for name in fields:
            if names is None or name in names:
                known = engines if name == "engine" else ()
                target.add_argument(_flag(name), **_option(Settings.model_fields[name], known))


def settings_of(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> Settings:
    """Settings from parsed options and the environment; the parser reports errors."""
    given = {name: value for name, value in vars(chosen).items() if name in Settings.model_fields}
    try:
        return Settings(**given)
    except ValidationError as error:
        parser.error(_error_line(error, given))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _option(field: FieldInfo, known: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments of `add_argument` for a field; an option that is not given has no value."""
    option: dict[str, Any] = {"help": _help_text(field, known), "default": argparse.SUPPRESS}
    if field.annotation is bool:
        return option | {"action": argparse.BooleanOptionalAction}
    return option | {"metavar": _metavar(field.annotation)}


def _metavar(annotation: Any) -> str:
    kinds = {annotation, *get_args(annotation)}
    if get_origin(annotation) is Literal:
        return "NAME"
    return "N" if kinds & {int, float} else "PATH" if Path in kinds else "TEXT"


def _help_text(field: FieldInfo, choices: Sequence[str] = ()) -> str:
    """The description of a field, with its choices and its default, if any."""
    names = get_args(field.annotation) if get_origin(field.annotation) is Literal else choices
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, bool):
        default = "on" if default else None
    known = [f"one of {', '.join(names)}"] if names else []
    known += [] if default in (None, "") else [f"default: {default}"]
    text = f"{field.description} ({'; '.join(known)})" if known else str(field.description)
    return text.replace("%", "%%")


def _error_line(error: ValidationError, given: Mapping[str, Any]) -> str:
    """Validation errors in one line, without the values, which may be passwords."""
    wrong = []
    for each in error.errors(include_url=False, include_input=False):
        name = str(each["loc"][0])
        source = _flag(name) if name in given else f"VOICELAB_{name.upper()}"
        wrong.append(f"{source}: {each['msg'].removeprefix('Value error, ')}")
    return "; ".join(wrong)
