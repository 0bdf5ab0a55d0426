"""From a text to the numbers of its phonemes, as Piper's voices were trained on them."""

from __future__ import annotations

import re
import unicodedata

from voicelab.engines.espeak_library import EspeakLibrary
from voicelab.engines.piper.voice_files import BOS, EOS, PAD, VoiceFile
from voicelab.errors import EngineUnavailable, SpeechFailed

__all__ = ["check_espeak_voice", "phoneme_ids"]

MARKS = str.maketrans("。！？，、；：।؟،؛…", ".!?,,;:.?,;.")
"""Punctuation of other scripts as that of the phoneme maps."""

END_MARK = re.compile(r"([.,;:!?])[^\w.,;:!?]*\w?[^\w.,;:!?]*$")
"""The mark at a clause's end, perhaps with the first character of the next behind it."""

TITLE = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|Mt|Sr|Jr|vs)\.\W*\w?$")
"""An abbreviation after which nobody pauses."""

SWITCH = re.compile(r"\([a-z]{2,3}(?:-[a-z0-9]+)*\)")
"""eSpeak's note that another language begins, e.g. (en)."""


def check_espeak_voice(voice: VoiceFile) -> None:
    """Raise EngineUnavailable when eSpeak NG has no voice that gives its phonemes."""
    if voice.config.phoneme_type != "espeak":
        return
    try:
        with EspeakLibrary() as library:
            library.choose_voice(voice.espeak_voice)
    except SpeechFailed as error:
        raise EngineUnavailable(str(error)) from error


def phoneme_ids(text: str, voice: VoiceFile) -> list[int]:
    """Numbers for the model: start, each phoneme with padding after it, end.

    Characters that the voice does not know are left out; a text of nothing else gives [].

    Args:
        text: a sentence.
        voice: whose map is used.

    Raises:
        SpeechFailed, EngineUnavailable: eSpeak NG cannot be used, or cannot read the text.
    """
    known = voice.config.phoneme_id_map
    symbols = [symbol for symbol in _symbols(text, voice) if symbol in known]
    if not any(symbol.isalpha() for symbol in symbols):
        return []
    ids = [*known[BOS], *known[PAD]]
    for symbol in symbols:
        ids += [*known[symbol], *known[PAD]]
    return [*ids, *known[EOS]]


def _symbols(text: str, voice: VoiceFile) -> str:
    if voice.config.phoneme_type == "text":
        return unicodedata.normalize("NFD", text.lower())
    spoken = []
    with EspeakLibrary() as library:
        library.choose_voice(voice.espeak_voice)
        for clause, phonemes in library.clauses(text.replace("\0", " ")):
            if phonemes:
                spoken.append(SWITCH.sub("", phonemes) + _mark(clause))
    # Marks over letters are symbols of their own in the maps.
    return unicodedata.normalize("NFD", " ".join(spoken))


def _mark(clause: str) -> str:
    """The punctuation that ends a clause; eSpeak's phonemes have none."""
    clause = clause.translate(MARKS)
    found = END_MARK.search(clause)
    return found[1] if found and not TITLE.search(clause) else ""
