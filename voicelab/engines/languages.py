"""Which of an engine's languages a code means: any case, with or without a region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

__all__ = ["find_language"]

OTHER_CODES: Mapping[str, str] = MappingProxyType(
    {"cmn": "zh", "zh": "cmn", "no": "nb", "nb": "no", "nn": "nb", "iw": "he", "in": "id"}
)
"""Code -> another of the same language, or of one that its speakers understand."""

MAX_CODE = 35
"""Characters; BCP 47 asks programs to take as many."""


def find_language(code: str, languages: Iterable[str]) -> str | None:
    """The language that a code names, or None when it is not among them.

    "EN", "en_GB" and "en-Latn-GB" find "en"; "zh-TW" and "cmn" find "zh"; "en" finds "en-us"
    where there is no "en".

    Args:
        code: BCP 47 as clients write it; with _ for - and in any case.
        languages: codes in small letters, e.g. of `EngineInfo.languages`; the first that fits
            is taken.
    """
    known = list(languages)
    if not 0 < len(code) <= MAX_CODE:
        return None
    for wanted in _candidates(code.strip().lower().replace("_", "-")):
        if wanted in known:
            return wanted
        if found := next((each for each in known if each.startswith(f"{wanted}-")), None):
            return found
    return None


def _candidates(code: str) -> Iterator[str]:
    """The code and its prefixes, the longest first, then other codes of the language."""
    parts = code.split("-")
    for count in range(len(parts), 0, -1):
        yield "-".join(parts[:count])
    if parts[0] in OTHER_CODES:
        yield OTHER_CODES[parts[0]]
