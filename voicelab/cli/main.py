"""`python -m voicelab` and the script `voicelab`: one parser for all commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from voicelab.cli import check_takes, db, doctor, say, serve, storage
from voicelab.cli.command import Command, add_commands
from voicelab.cli.options import OptionParser, add_settings, settings_of
from voicelab.engines import engine_names
from voicelab.errors import VoicelabError
from voicelab.settings import Settings

__all__ = ["COMMANDS", "main"]

SERVE = "serve"
HELP = ("-h", "--help")

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        SERVE: serve.COMMAND,
        "say": say.COMMAND,
        "doctor": doctor.COMMAND,
        "storage": storage.COMMAND,
        "db": db.COMMAND,
        "check-takes": check_takes.COMMAND,
    }
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command, `serve` when none is named; the exit status.

    Invalid options are reported in one line, and end the process with status 2.

    Args:
        arguments: a command and its options; those of the process when None.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words or (words[0].startswith("-") and words[0] not in HELP):
        words = [SERVE, *words]
    # Only the help lists engines: for that, packages with engines are imported.
    parser = _parser(engine_names() if any(word in HELP for word in words) else ())
    chosen = parser.parse_args(words)
    settings = settings_of(parser, chosen)
    _log(logging.INFO if chosen.command is serve.COMMAND else logging.WARNING)
    try:
        return chosen.command.run(settings, chosen)
    except VoicelabError as error:
        print(f"voicelab: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(engines: Sequence[str]) -> OptionParser:
    parser = OptionParser(
        prog="voicelab",
        usage="%(prog)s [COMMAND] [OPTION ...]",
        description=f"{Settings.__doc__} Without a command it serves, with the options below.",
        epilog="Each command has a --help of its own. Each option here can also be set in the "
        "environment: --data-dir as VOICELAB_DATA_DIR.",
    )
    add_commands(parser, COMMANDS, "command", engines)
    add_settings(parser, engines=engines)  # for the help: `serve` has them, too
    return parser


def _log(level: int) -> None:
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # They log a line for every request, with its address, which may hold a password.
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
