"""A script of "Name: line" rows made into a story: each line a take in that name's voice."""

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


class Dialogue:
    """Lines spoken into a story, behind what it has, 200 ms apart.

    As many are begun as the engine speaks at once, so that a dialogue is as quick as a text.

    Args:
        lab: where.
        story_id: of the story.
        lines: 1 to 500.
        source: the door.
    """

    def __init__(self, lab: VoiceLab, story_id: str, lines: Sequence[Line], source: str = "rest"):
        self._lab = lab
        self._story_id = story_id
        self._requests = [GenerationRequest(x.text, voice=x.voice, source=source) for x in lines]
        self._begun: list[Take] = []
        self._cancelled = threading.Event()

    def speak(
        self, progress: Callable[[int, int], object] = lambda done, total: None
    ) -> dict[str, Any]:
        """Speak them all, once; the story.

        Args:
            progress: called with how many lines are done, and how many there are.

        Raises:
            NotFound: no such story.
            InvalidInput, UnknownVoice: a line cannot be spoken; it is named, nothing was made.
            SpeechFailed, StoreFull, Cancelled...: a line failed; it is named, the other takes
                made here are gone again, the story is as it was.
            Interrupted: the app ends; all takes made here are gone.
        """
        self._check()
        total = len(self._requests)
        done = 0
        try:
            while done < total:
                self._begin(done)
                with _line(done + 1):
                    self._lab.drain(self._begun[done])
                done += 1
                progress(done, total)
            self._lab.library.stories.append(self._story_id, [take.id for take in self._begun])
        except BaseException as error:
            # A line that failed stays, to be looked at. One that was interrupted would be resumed
            # at the next start, alone and in no story; its chunks are in the cache.
            failed = (
                []
                if isinstance(error, Interrupted)
                else [take.id for take in self._begun[done:] if take.live.ended]
            )
            for take in self._begun:
                take.close()
            self._lab.library.delete_many(
                [take.id for take in self._begun if take.id not in failed]
            )
            raise
        return self._lab.library.stories.get(self._story_id)

    def cancel(self) -> None:
        """Let `speak` raise Cancelled; from any thread."""
        self._cancelled.set()
        for take in tuple(self._begun):
            take.cancel()

    def _check(self) -> None:
        self._lab.library.stories.get(self._story_id)
        if not 1 <= len(self._requests) <= MAX_LINES:
            raise InvalidInput(f"A script has 1 to {MAX_LINES} lines.", param="lines")
        for number, request in enumerate(self._requests, 1):
            with _line(number):
                self._lab.check(request)

    def _begin(self, done: int) -> None:
        """Let as many lines wait for the engine as it speaks at once, others' requests aside."""
        # A quarter of the queue: a long script must not shut others out.
        size = min(self._lab.registry.info().batch_size, self._lab.settings.max_queue // 4)
        for index in range(len(self._begun), min(done + max(1, size), len(self._requests))):
            with _line(index + 1):
                try:
                    take = self._lab.stream(self._requests[index])
                except Unavailable:
                    if index == done:
                        raise
                    return  # the queue is full: those that were begun come first
            self._begun.append(take)
            if self._cancelled.is_set():
                take.cancel()


@contextlib.contextmanager
def _line(number: int) -> Iterator[None]:
    """Puts the number of the line before what went wrong with it."""
    try:
        yield
    except VoicelabError as error:
        error.message = f"Line {number}: {error.message}"
        error.args = (error.message,)
        raise
