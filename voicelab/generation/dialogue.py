"""Scripts of "Name: line" rows, spoken into a story: each line is a take in that name's voice."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voicelab.errors import Interrupted, InvalidInput, Unavailable, VoicelabError
from voicelab.generation.take import Take
from voicelab.records import GenerationRequest

if TYPE_CHECKING:
    from voicelab.lab import VoiceLab

__all__ = ["Dialogue", "Line", "parse_script"]

MAX_LINES = 500
NAMED_LINE = re.compile(r"\s*([^\W\d][^:\n]{0,99}?)\s*:\s+(.*\S)\s*")
"""A name begins with a letter, which excludes 12:30; whitespace follows the colon."""


@dataclass(frozen=True)
class Line:
    """A line of a dialogue; `voice` is the name or id of a profile, None the default."""

    text: str
    voice: str | None = None


def parse_script(script: str) -> list[Line]:
    """The lines of a script; a row without a name continues with the previous voice."""
    lines: list[Line] = []
    voice = None
    for row in script.splitlines():
        named = NAMED_LINE.fullmatch(row)
        if named:
            voice = named[1]
        text = named[2] if named else row.strip()
        if text:
            lines.append(Line(text, voice))
    return lines


class Dialogue:
    """Speaks lines and appends them to a story, 200 ms apart.

    As many lines as the engine speaks at once are started together.

    Args:
        lab: the lab to speak with.
        story_id: id of the story.
        lines: 1 to MAX_LINES lines.
        source: of the takes, as in `GenerationRequest`.
    """

    def __init__(self, lab: VoiceLab, story_id: str, lines: Sequence[Line], source: str = "rest"):
        self._lab = lab
        self._story_id = story_id
        self._requests = [GenerationRequest(x.text, voice=x.voice, source=source) for x in lines]
        self._takes: list[Take] = []
        self._cancelled = threading.Event()

    def speak(
        self, progress: Callable[[int, int], object] = lambda done, total: None
    ) -> dict[str, Any]:
        """Speak all lines; may be called once.

        Args:
            progress: called with the number of finished lines and of all lines.

        Returns:
            The story.

        Raises:
            NotFound: no such story.
            InvalidInput, UnknownVoice: a line is invalid; the message names it, nothing was made.
            SpeechFailed, StoreFull, Cancelled...: a line failed; the message names it, the other
                takes are deleted and the story is unchanged.
            Interrupted: the app ends; all takes are deleted.
        """
        self._check()
        total = len(self._requests)
        done = 0
        try:
            while done < total:
                self._start_takes(done)
                with _line_errors(done + 1):
                    self._lab.drain(self._takes[done])
                done += 1
                progress(done, total)
            self._lab.library.stories.append(self._story_id, [take.id for take in self._takes])
        except BaseException as error:
            # The failed take is kept for inspection. An interrupted one is deleted: the next start
            # would resume it outside of the story. Its chunks are in the cache.
            failed = (
                []
                if isinstance(error, Interrupted)
                else [take.id for take in self._takes[done:] if take.live.ended]
            )
            for take in self._takes:
                take.close()
            self._lab.library.delete_many(
                [take.id for take in self._takes if take.id not in failed]
            )
            raise
        return self._lab.library.stories.get(self._story_id)

    def cancel(self) -> None:
        """Make `speak` raise Cancelled; may be called from any thread."""
        self._cancelled.set()
        for take in tuple(self._takes):
            take.cancel()

    def _check(self) -> None:
        self._lab.library.stories.get(self._story_id)
        if not 1 <= len(self._requests) <= MAX_LINES:
            raise InvalidInput(f"A script has 1 to {MAX_LINES} lines.", param="lines")
        for number, request in enumerate(self._requests, 1):
            with _line_errors(number):
                self._lab.check(request)

    def _start_takes(self, done: int) -> None:
        """Start as many lines as the engine speaks at once, at most a quarter of the queue."""
        # At most a quarter of the queue, so that a long script does not block others.
        size = min(self._lab.registry.info().batch_size, self._lab.settings.max_queue // 4)
        for index in range(len(self._takes), min(done + max(1, size), len(self._requests))):
            with _line_errors(index + 1):
                try:
                    take = self._lab.stream(self._requests[index])
                except Unavailable:
                    if index == done:
                        raise
                    return  # the queue is full: finish the started takes first
            self._takes.append(take)
            if self._cancelled.is_set():
                take.cancel()


@contextlib.contextmanager
def _line_errors(number: int) -> Iterator[None]:
    """Puts the number of the line before the message of an error."""
    try:
        yield
    except VoicelabError as error:
        error.message = f"Line {number}: {error.message}"
        error.args = (error.message,)
        raise
