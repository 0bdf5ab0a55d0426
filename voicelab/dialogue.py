"""A script of "Name: line" rows made into a story: each line a take in that name's voice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from voicelab.errors import InvalidInput, VoicelabError
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest

__all__ = ["Line", "parse_script", "speak_lines"]

MAX_LINES = 500
NAMED = re.compile(r"\s*([^\W\d][^:\n]{0,99}?)\s*:\s+(.*\S)\s*")
"""A name begins with a letter, so that 12:30 is none; a space follows the colon."""


@dataclass(frozen=True)
class Line:
    """What one voice says; `voice` is the name or id of a profile, None the default."""

    text: str
    voice: str | None = None


def parse_script(script: str) -> list[Line]:
    """Rows of "Name: line"; a row without a name goes on with the voice before it."""
    lines: list[Line] = []
    voice = None
    for row in script.splitlines():
        named = NAMED.fullmatch(row)
        if named:
            voice = named[1]
        text = named[2] if named else row.strip()
        if text:
            lines.append(Line(text, voice))
    return lines


def speak_lines(
    lab: VoiceLab,
    story_id: str,
    lines: Sequence[Line],
    *,
    source: str = "rest",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Speak lines and put them behind what the story has, 200 ms apart; the story.

    Args:
        lab: where.
        story_id: of the story.
        lines: 1 to 500.
        source: the door.
        progress: called with how many lines are done, and how many there are.

    Raises:
        NotFound: no such story.
        InvalidInput, UnknownVoice: a line cannot be spoken; it is named, nothing was made.
        SpeechFailed, StoreFull, Cancelled...: a line failed; it is named, the takes made for
            this call are gone again, the story is as it was.
    """
    lab.stories.get(story_id)
    if not 1 <= len(lines) <= MAX_LINES:
        raise InvalidInput(f"A script has 1 to {MAX_LINES} lines.", param="lines")
    requests = [GenerationRequest(line.text, voice=line.voice, source=source) for line in lines]
    for number, request in enumerate(requests, 1):
        with _line(number):
            lab.check(request)
    made: list[str] = []
    try:
        for number, request in enumerate(requests, 1):
            with _line(number):
                made.append(lab.drain(lab.stream(request))["id"])
            progress(number, len(requests))
        lab.stories.append(story_id, made)
    except BaseException:
        lab.delete_many(made)
        raise
    return lab.stories.get(story_id)


@contextlib.contextmanager
def _line(number: int) -> Iterator[None]:
    """Puts the number of the line before what went wrong with it."""
    try:
        yield
    except VoicelabError as error:
        error.message = f"Line {number}: {error.message}"
        error.args = (error.message,)
        raise
