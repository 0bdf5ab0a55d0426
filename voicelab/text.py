"""Text to chunks: what is said in one breath, and the silence after it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from voicelab.errors import InvalidInput, TextTooLong

__all__ = ["EVENT_TAGS", "Chunk", "Plan", "check_text", "estimate_duration_s", "halves", "plan"]

EVENT_TAGS = frozenset(
    ("laugh", "chuckle", "sigh", "cough", "gasp", "groan", "sniff", "shush", "clear throat")
)
"""What Chatterbox Turbo performs when it stands in brackets (its model card)."""

SHORT_SENTENCE_CHARS = 40
"""A sentence below this shares its chunk: neural voices speak very short lines badly, and a rule
that looks only at the next sentence keeps an edit from moving chunks far away."""

MAX_PAUSE_MS = 10_000

_PAUSE = re.compile(r"\[pause:\s*([^\]\n]{0,40})\]", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)", re.IGNORECASE)
_TAG = re.compile(r"\[([a-z][a-z ]{1,30})\]", re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_CLAUSE_END = re.compile(r"[;:,\u2014\u2013](?=\s)|[\u3001\uff0c\uff1b\uff1a]")
_INVISIBLE = dict.fromkeys([0xFEFF, 0x200B, 0x2060, 0x00AD])


@dataclass(frozen=True)
class Chunk:
    """What the engine is given at once.

    Attributes:
        index: from 0.
        text: not empty, at most `max_chunk_chars` characters.
        pause_ms: silence after it that the text asks for; None leaves it to the request.
        paragraph_end: a blank line follows.
    """

    index: int
    text: str
    pause_ms: int | None = None
    paragraph_end: bool = False


@dataclass(frozen=True)
class Plan:
    """A text made ready.

    Attributes:
        chunks: at least one.
        lead_ms: silence before the first chunk.
        warnings: sentences for the user about what was left out.
    """

    chunks: tuple[Chunk, ...]
    lead_ms: int
    warnings: tuple[str, ...]


def check_text(text: str, max_chars: int) -> str:
    """The text, in NFC and with plain line ends, when it can be spoken.

    Raises:
        TextTooLong: more than `max_chars` characters.
        InvalidInput: empty, nothing pronounceable, a control character, a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"The text must be a string, not {type(text).__name__}.", param="input")
    if len(text) > max_chars:
        raise TextTooLong(
            f"The text has {len(text):,} characters; at most {max_chars:,} are allowed.",
            param="input",
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_INVISIBLE)
    for position, character in enumerate(text):
        if character in "\n\t" or character.isprintable():
            continue
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidInput(
                f"The text has a character that is not text, U+{ord(character):04X}, "
                f"at position {position}.",
                param="input",
            )
    if not text.strip():
        raise InvalidInput("The text is empty.", param="input")
    if not _pronounceable(_PAUSE.sub(" ", text)):
        raise InvalidInput("The text has no letter or digit to speak.", param="input")
    return unicodedata.normalize("NFC", text)


def plan(text: str, *, language: str, max_chunk_chars: int, event_tags: frozenset[str]) -> Plan:
    """Chunks of a checked text: a sentence each, short ones together, long ones split.

    Args:
        text: from `check_text`.
        language: BCP 47 code, for the sentence ends (sentencex).
        max_chunk_chars: no chunk is longer.
        event_tags: tags that the engine performs; those of other engines are left out.

    Raises:
        InvalidInput: a `[pause:...]` that is not a duration up to 10 s.
    """
    text, warnings = _without_foreign_tags(text, event_tags)
    chunks: list[Chunk] = []
    lead_ms = 0
    paragraphs = [part for part in _PARAGRAPH.split(text) if part.strip()]
    for paragraph in paragraphs:
        for passage, pause_ms in _passages(paragraph):
            texts = _spoken_texts(passage, language, max_chunk_chars)
            chunks.extend(Chunk(0, part) for part in texts)
            if pause_ms is None:
                continue
            if chunks:
                chunks[-1] = replace(chunks[-1], pause_ms=(chunks[-1].pause_ms or 0) + pause_ms)
            else:
                lead_ms += pause_ms
        if chunks:
            chunks[-1] = replace(chunks[-1], paragraph_end=True)
    if not chunks:
        raise InvalidInput("The text has nothing to speak but tags.", param="input")
    chunks[-1] = replace(chunks[-1], paragraph_end=False)
    return Plan(tuple(replace(c, index=i) for i, c in enumerate(chunks)), lead_ms, warnings)


def estimate_duration_s(text: str) -> float:
    """Roughly how long a text is when spoken, in seconds; pauses counted."""
    wide = sum(1 for c in text if "\u2e80" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af")
    pauses_s = sum(_pause_ms(match, strict=False) for match in _PAUSE.finditer(text)) / 1000
    spoken = len(_PAUSE.sub("", text).strip()) - wide
    return spoken / 15 + wide / 4.5 + pauses_s


def _pronounceable(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _without_foreign_tags(text: str, event_tags: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    removed: set[str] = set()

    def keep(match: re.Match[str]) -> str:
        tag = match[1].lower()
        if tag not in EVENT_TAGS or tag in event_tags:
            return match[0]
        removed.add(tag)
        return " "

    text = _TAG.sub(keep, text)
    if not removed:
        return text, ()
    names = ", ".join(f"[{tag}]" for tag in sorted(removed))
    return text, (f"This engine does not perform {names}; left out.",)


def _pause_ms(match: re.Match[str], strict: bool = True) -> int:
    duration = _DURATION.fullmatch(match[1].strip())
    scale = 1 if duration and duration[2].lower() == "ms" else 1000
    value = float(duration[1]) * scale if duration else -1.0
    if 0 <= value <= MAX_PAUSE_MS:
        return round(value)
    if strict:
        raise InvalidInput(
            f"{match[0]} is not a pause: write [pause:500ms] or [pause:1.5s], at most 10 s.",
            param="input",
        )
    return 0


def _passages(paragraph: str) -> Iterator[tuple[str, int | None]]:
    """The stretches between pauses, each with the pause after it."""
    start = 0
    for match in _PAUSE.finditer(paragraph):
        yield paragraph[start : match.start()], _pause_ms(match)
        start = match.end()
    yield paragraph[start:], None


def _spoken_texts(passage: str, language: str, max_chars: int) -> list[str]:
    passage = " ".join(passage.split())
    if not passage:
        return []
    texts: list[str] = []
    for sentence in _sentences(passage, language):
        last = texts[-1] if texts else ""
        fits = len(last) + 1 + len(sentence) <= max_chars
        short = len(last) < SHORT_SENTENCE_CHARS or not _pronounceable(sentence)
        if last and fits and (short or not _pronounceable(last)):
            texts[-1] = f"{last} {sentence}"
        else:
            texts.extend(_split_long(sentence, max_chars))
    if len(texts) > 1 and len(texts[-1]) < SHORT_SENTENCE_CHARS / 2:
        joined = f"{texts[-2]} {texts[-1]}"
        if len(joined) <= max_chars:
            texts[-2:] = [joined]
    return [part for part in texts if _pronounceable(part)]


def _sentences(passage: str, language: str) -> Iterator[str]:
    from sentencex import segment

    for sentence in segment(language.split("-")[0], passage):
        stripped = sentence.strip()
        if stripped:
            yield stripped


def _split_long(sentence: str, max_chars: int) -> Iterator[str]:
    """Cut at clauses, then at spaces, and inside a word only where there is no other place."""
    start = 0
    while len(sentence) - start > max_chars:
        cut = _cut(sentence, start, start + max_chars)
        piece = sentence[start:cut].strip()
        if piece:
            yield piece
        start = cut
    if sentence[start:].strip():
        yield sentence[start:].strip()


def _cut(sentence: str, start: int, end: int) -> int:
    window = sentence[start:end]
    tags = [match.span() for match in _TAG.finditer(sentence, start, min(len(sentence), end + 40))]

    def outside(position: int) -> bool:
        return not any(a < position < b for a, b in tags)

    least = len(window) // 3
    clauses = [start + m.end() for m in _CLAUSE_END.finditer(sentence, start, end)]
    for cut in reversed(clauses):
        if cut - start >= least and outside(cut):
            return cut
    for cut in range(end, start, -1):
        if sentence[cut : cut + 1].isspace() and outside(cut):
            return cut
    return _grapheme_cut(sentence, start, end)


def _grapheme_cut(sentence: str, start: int, end: int) -> int:
    """The last place up to `end` that parts neither a number nor a character from its marks."""
    for cut in range(end, max(start, end - 64), -1):
        before, after = sentence[cut - 1], sentence[cut]
        joined = (
            unicodedata.combining(after)
            or after in "\u200d\ufe0f"
            or before == "\u200d"
            or "\U0001f3fb" <= after <= "\U0001f3ff"
            or (before.isdigit() and (after.isdigit() or after in ".,"))
            or (before in ".," and after.isdigit())
        )
        if not joined:
            return cut
    return end


def halves(text: str) -> list[str]:
    """A text in two, cut near its middle like a long sentence; itself when that is impossible."""
    if len(text) < 2:
        return [text]
    cut = _cut(text, 0, (len(text) + 1) // 2)
    return [part for part in (text[:cut].strip(), text[cut:].strip()) if _pronounceable(part)]
