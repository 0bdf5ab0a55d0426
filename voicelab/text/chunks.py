"""Text to chunks: what is said in one breath, and the silence after it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sentencex import segment

from voicelab.errors import InvalidInput, TextTooLong

__all__ = ["EVENT_TAGS", "Chunk", "Plan", "check_text", "halves", "plan"]

EVENT_TAGS = frozenset(
    ("laugh", "chuckle", "sigh", "cough", "gasp", "groan", "sniff", "shush", "clear throat")
)
"""What Chatterbox Turbo performs when it stands in brackets (its model card)."""

SHORT_SENTENCE_CHARS = 40
"""A sentence below this shares its chunk: neural voices speak very short lines badly, and a rule
that looks only at the next sentence keeps an edit from moving chunks far away."""

MAX_PAUSE_MS = 10_000

MAX_SILENCE_MS = 30 * 60 * 1000
"""All pauses of one text together: thousands of tags would else fill the disk with silence."""

LOOK_BACK_CHARS = 64
"""How far back a cut inside a word looks for a place that parts nothing."""

MAX_MARKS = 64
"""Combining marks on one letter. Scripts need under ten, and NFC is quadratic in their number."""

WINDOW_CHARS = 2000
"""How much of a paragraph sentencex sees at once: it is quadratic in the sentences it is given."""

_PAUSE = re.compile(r"\[pause:([^\[\]\n]*)\]", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)", re.IGNORECASE)
_TAG = re.compile(r"\[([a-z][a-z ]{1,30})\]", re.IGNORECASE)
_UNSPACED = (
    "\u3000-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff00-\uffef\U00020000-\U0003ffff"
)
"""Chinese and Japanese characters and their punctuation: no space stands between them."""

_LINE_BREAK = re.compile(rf"(?<=[{_UNSPACED}])[ \t]*\n[ \t]*(?=[{_UNSPACED}])")
_UNSPACED_JOINT = re.compile(rf"[{_UNSPACED}]{{2}}")
_PARAGRAPH = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_CLAUSE_END = re.compile(r"[;:,\u2014\u2013](?=\s)|[\u3001\uff0c\uff1b\uff1a]")
_ABBREVIATED = re.compile(r"(?:^|[\s(])(?:[A-Z]|Dr|Mrs?|Ms|Prof|Sra?|St)\.$")
_SHORT_NAME = re.compile(r"(?:^|[\s(])[A-Z][a-z]{1,3}\.$")
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
        InvalidInput: empty, nothing pronounceable, a control character, a lone surrogate,
            more combining marks on a letter than any script has.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"The text must be a string, not {type(text).__name__}.", param="input")
    if len(text) > max_chars:
        raise TextTooLong(
            f"The text has {len(text):,} characters; at most {max_chars:,} are allowed.",
            param="input",
        )
    _check_characters(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_INVISIBLE)
    if not text.strip():
        raise InvalidInput("The text is empty.", param="input")
    if not _pronounceable(_PAUSE.sub(" ", text)):
        raise InvalidInput("The text has no letter or digit to speak.", param="input")
    return unicodedata.normalize("NFC", text)


def _check_characters(text: str) -> None:
    if text.isascii() and text.isprintable():
        return
    marks = 0
    for position, character in enumerate(text):
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_MARKS:
            raise InvalidInput(
                f"The text has more than {MAX_MARKS} accents on one letter, "
                f"at position {position}.",
                param="input",
            )
        if character in "\n\r\t" or character.isprintable():
            continue
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidInput(
                f"The text has a character that is not text, U+{ord(character):04X}, "
                f"at position {position}.",
                param="input",
            )


def plan(
    text: str,
    *,
    language: str,
    max_chunk_chars: int,
    event_tags: frozenset[str],
    first_chunk_chars: int | None = None,
) -> Plan:
    """Chunks of a checked text: a sentence each, short ones together, long ones split.

    Args:
        text: from `check_text`.
        language: BCP 47 code, for the sentence ends (sentencex).
        max_chunk_chars: no chunk is longer.
        event_tags: tags that the engine performs; those of other engines are left out.
        first_chunk_chars: where the first one is cut, when it is longer than that by half.

    Raises:
        InvalidInput: a `[pause:...]` that is not a duration up to 10 s, or more than half an
            hour of them.
    """
    text, warnings = _without_foreign_tags(text, event_tags)
    _check_silence(text)
    symbols: dict[str, None] = {}
    chunks: list[Chunk] = []
    lead_ms = 0
    paragraphs = [part for part in _PARAGRAPH.split(text) if part.strip()]
    for paragraph in paragraphs:
        for passage, pause_ms in _passages(paragraph):
            texts = _spoken_texts(passage, language, max_chunk_chars)
            chunks.extend(Chunk(0, part) for part in texts if _pronounceable(part))
            for part in texts:
                if not _pronounceable(part):
                    symbols |= dict.fromkeys(c for c in part if unicodedata.category(c) == "So")
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
    if first_chunk_chars is not None and len(chunks[0].text) > 1.5 * first_chunk_chars:
        chunks[:1] = _shortened(chunks[0], first_chunk_chars)
    if symbols:
        shown = "".join(list(symbols)[:10])
        warnings += (f"Symbols that stand alone cannot be spoken: {shown}; left out.",)
    return Plan(tuple(replace(c, index=i) for i, c in enumerate(chunks)), lead_ms, warnings)


def _shortened(chunk: Chunk, max_chars: int) -> list[Chunk]:
    """In two: the sound of the first comes early."""
    cut = _cut(chunk.text, 0, max_chars)
    parts = chunk.text[:cut].strip(), chunk.text[cut:].strip()
    if not all(map(_pronounceable, parts)):
        return [chunk]
    return [Chunk(0, parts[0]), replace(chunk, text=parts[1])]


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


def _pause_ms(match: re.Match[str]) -> int:
    duration = _DURATION.fullmatch(match[1].strip())
    scale = 1 if duration and duration[2].lower() == "ms" else 1000
    value = float(duration[1]) * scale if duration else -1.0
    if 0 <= value <= MAX_PAUSE_MS:
        return round(value)
    shown = match[0] if len(match[0]) <= 40 else f"{match[0][:36]}...]"
    raise InvalidInput(
        f"{shown} is not a pause: write [pause:500ms] or [pause:1.5s], at most 10 s.",
        param="input",
    )


def _check_silence(text: str) -> None:
    total_ms = sum(_pause_ms(match) for match in _PAUSE.finditer(text))
    if total_ms > MAX_SILENCE_MS:
        raise InvalidInput(
            f"The pauses of the text are {total_ms / 60_000:.0f} minutes together; "
            f"at most {MAX_SILENCE_MS // 60_000} are allowed.",
            param="input",
        )


def _passages(paragraph: str) -> Iterator[tuple[str, int | None]]:
    """The stretches between pauses, each with the pause after it."""
    start = 0
    for match in _PAUSE.finditer(paragraph):
        yield paragraph[start : match.start()], _pause_ms(match)
        start = match.end()
    yield paragraph[start:], None


def _spoken_texts(passage: str, language: str, max_chars: int) -> list[str]:
    passage = " ".join(_LINE_BREAK.sub("", passage).split())
    if not passage:
        return []
    texts: list[str] = []
    for sentence in _sentences(passage, language):
        last = texts[-1] if texts else ""
        fits = len(last) + 1 + len(sentence) <= max_chars
        short = len(last) < SHORT_SENTENCE_CHARS or not _pronounceable(sentence)
        if last and fits and (short or not _pronounceable(last)):
            texts[-1] = _joined(last, sentence)
        else:
            texts.extend(_split_long(sentence, max_chars))
    if len(texts) > 1 and len(texts[-1]) < SHORT_SENTENCE_CHARS / 2:
        joined = _joined(texts[-2], texts[-1])
        if len(joined) <= max_chars:
            texts[-2:] = [joined]
    return texts


def _joined(first: str, second: str) -> str:
    """Two sentences with a space between them, where their script has spaces."""
    unspaced = _UNSPACED_JOINT.fullmatch(first[-1] + second[0])
    return f"{first}{second}" if unspaced else f"{first} {second}"


def _sentences(passage: str, language: str) -> Iterator[str]:
    """Stripped sentences; an end after what is plainly an abbreviation is no end."""
    held = ""
    for piece in _segments(passage, language):
        if held and not _goes_on(held, piece):
            yield held.strip()
            held = ""
        held += piece
    if held.strip():
        yield held.strip()


def _goes_on(sentence: str, following: str) -> bool:
    """Whether sentencex took an abbreviation for the end: "M. Dupont", "on Mon. the 5th"."""
    end = sentence[-12:].rstrip()
    if following[:1].islower() and _SHORT_NAME.search(end):
        return True
    return _ABBREVIATED.search(end) is not None


def _segments(passage: str, language: str) -> Iterator[str]:
    start = 0
    while start < len(passage):
        found = segment(language.split("-")[0], passage[start : start + WINDOW_CHARS])
        if start + WINDOW_CHARS < len(passage):
            # The last one may go on behind the window.
            cut = _cut(passage, start, start + WINDOW_CHARS)
            found = found[:-1] or [passage[start:cut]]
        yield from found
        start += sum(map(len, found))


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
    for cut in range(end, max(start, end - LOOK_BACK_CHARS), -1):
        if outside(cut) and not _inseparable(sentence, start, cut):
            return cut
    return end


def _inseparable(sentence: str, start: int, cut: int) -> bool:
    """Whether a cut would part a number, or a character from its marks; `start` is a cut too."""
    before, after = sentence[cut - 1], sentence[cut]
    return (
        unicodedata.category(after).startswith("M")
        or after == "\u200d"
        or before == "\u200d"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U000e0020" <= after <= "\U000e007f"
        or (_is_flag_half(after) and _flag_halves_before(sentence, start, cut) % 2 == 1)
        or (before.isdigit() and (after.isdigit() or after in ".,"))
        or (before in ".," and after.isdigit())
    )


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_halves_before(sentence: str, start: int, cut: int) -> int:
    """Flags are pairs, and nothing but counting tells the halves apart."""
    first = cut
    while first > start and _is_flag_half(sentence[first - 1]):
        first -= 1
    return cut - first


def halves(text: str) -> list[str]:
    """A text in two, cut near its middle like a long sentence; itself when that is impossible."""
    if len(text) < 2:
        return [text]
    cut = _cut(text, 0, (len(text) + 1) // 2)
    return [part for part in (text[:cut].strip(), text[cut:].strip()) if _pronounceable(part)]
