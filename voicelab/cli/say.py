"""`python -m voicelab say`: speaks a text into an audio file, and keeps the take."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from voicelab.audio import FORMATS, half_written
from voicelab.cli.command import Command
from voicelab.errors import InvalidInput, StorageError, StoreLocked
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.settings import Settings

__all__ = ["COMMAND"]


def _say(settings: Settings, chosen: argparse.Namespace) -> int:
    """Speak a text into a file, without a server.

    The take is kept in the library as any other; its id and duration are printed.
    """
    _check_output(chosen.output)
    text = _read_text() if chosen.text == "-" else chosen.text
    with _lab(settings, chosen.keep) as lab:
        take = lab.stream(_request(text, lab, chosen))
        for warning in take.warnings:
            print(f"voicelab: {warning}", file=sys.stderr)
        speech = lab.speech(lab.drain(take, progress=True)["id"])
        name = f"take {speech.id}" if chosen.keep else "not kept"
        # Printed before the export: the take exists even if that fails.
        print(f"{name}, {speech.record['duration']:.2f} s", flush=True)
        speech.export(chosen.output)
    return 0


def _request(text: str, lab: VoiceLab, chosen: argparse.Namespace) -> GenerationRequest:
    return GenerationRequest(
        text=text,
        voice=chosen.voice,
        # An engine given as an option takes precedence over that of the profile.
        engine=lab.registry.default if "engine" in chosen else None,
        speed=chosen.speed,
        seed=chosen.seed,
        language=chosen.language,
        source="cli",
    )


@contextlib.contextmanager
def _lab(settings: Settings, keep: bool) -> Iterator[VoiceLab]:
    """A lab over the data folder, or over a temporary one."""
    with contextlib.ExitStack() as stack:
        if not keep:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="voicelab-"))
            elsewhere = {"data_dir": Path(folder), "database_url": None, "audio_url": None}
            settings = settings.model_copy(update=elsewhere)
        try:
            lab = stack.enter_context(VoiceLab(settings))
        except StoreLocked as error:
            raise StoreLocked(f"{error.message} With --no-keep no data folder is needed.") from None
        yield lab


def _check_output(path: Path) -> None:
    """Check, before anything is spoken, that the output file can be written.

    Raises:
        InvalidInput: the suffix is no format, or the path is a folder.
        StorageError: the file cannot be written.
    """
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise InvalidInput(
            f"{path.name} names no format; the end of the name may be "
            f"{', '.join(form.suffix for form in FORMATS.values())}."
        )
    probe = half_written(path)
    try:
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder; name a file.")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error


def _read_text() -> str:
    """Standard input as UTF-8 text, stripped."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InvalidInput("The text that was read is not UTF-8.") from None


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", help="what to say; - reads it from the input")
    forms = ", ".join(form.suffix for form in FORMATS.values())
    text = f"file to write; its end says the format: {forms}"
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=text)
    text = "name or id of a voice profile; the default voice if unset"
    parser.add_argument("--voice", metavar="NAME", help=text)
    text = "0.25 to 4, the pitch kept (default: 1)"
    parser.add_argument("--speed", type=float, default=1.0, metavar="N", help=text)
    text = "a number, for the same sound again; drawn if unset"
    parser.add_argument("--seed", type=int, metavar="N", help=text)
    text = "code such as en or de; the first of the engine or of the voice if unset"
    parser.add_argument("--language", metavar="CODE", help=text)
    text = "keep no take, and use no data folder, so that only the engine's own voice is known"
    parser.add_argument("--no-keep", dest="keep", action="store_false", help=text)


COMMAND = Command(_say, _options, settings=("engine", "data_dir"))
