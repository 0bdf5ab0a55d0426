"""Codes of languages: written in any way, and each that an engine lists speaks."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_chatterbox import MODELS, tiny_engine
from voicelab.engines import Engine, Registry, Utterance, Voice, find_language
from voicelab.settings import Settings

CHATTERBOX = [name for name in MODELS if not name.endswith("-v2")]
GREETINGS = {
    **{"ar": "مرحبا", "fa": "سلام", "ur": "سلام", "hi": "नमस्ते", "bn": "নমস্কার", "ta": "வணக்கம்"},
    **{"te": "నమస్తే", "ka": "გამარჯობა", "ru": "привет", "uk": "привіт", "bg": "здравей"},
    **{
        "mk": "здраво",
        "sr": "здраво",
        "el": "γεια",
        "ja": "こんにちは",
        "ko": "안녕하세요",
        "zh": "你好",
    },
}
"""Language -> a word in its script; the others are written in Latin letters."""


@pytest.mark.parametrize(
    ("code", "found"),
    [
        *(("en", "en"), ("EN", "en"), ("en-GB", "en"), ("en_AU", "en"), ("en-US", "en-us")),
        *(("eng-x", None), ("zh", "zh"), ("zh-CN", "zh"), ("zh_Hant_TW", "zh"), ("cmn", "zh")),
        *(("pt-br", "pt-br"), ("pt_BR", "pt-br"), ("pt-PT", "pt"), ("PT", "pt"), ("no", "nb")),
        *(("nn-NO", "nb"), ("", None), ("-", None), ("de\0", None), ("x" * 1000, None)),
        *(("mr-IN", None), ("se-NO", None), ("fi_no", None), ("x-no", None)),
        *(("de", None), ("e", None), (" en ", "en")),
    ],
)
def test_a_code_finds_its_language(code: str, found: str | None) -> None:
    assert find_language(code, ["en", "en-us", "zh", "pt", "pt-br", "nb", "id"]) == found


def test_a_language_without_region_finds_the_one_with() -> None:
    assert find_language("en", ["de-de", "en-us", "en-gb"]) == "en-us"
    assert find_language("en-AU", ["en-us"]) == "en-us"
    assert find_language("zh-cmn", ["zh"]) == "zh" and find_language("zh", ["cmn"]) == "cmn"


@pytest.fixture(scope="module", params=["espeak", "piper", "tone", *CHATTERBOX])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    if request.param in CHATTERBOX:
        engine = tiny_engine(request.param, tmp_path_factory.mktemp("tiny"), tokens=5)
    else:
        engine = Registry(Settings(engine=request.param)).load(request.param)
    yield engine
    engine.close()


def test_every_listed_language_speaks(engine: Engine) -> None:
    values = {parameter.name: parameter.default for parameter in engine.info.parameters}
    silent = []
    for language in engine.info.languages:
        text = GREETINGS.get(language, "Hallo anna")
        (spoken,) = engine.speak([Utterance(text, Voice(), values, 1, language)], lambda _: False)
        if spoken.failure and language == "zh" and engine.info.name.startswith("chatterbox"):
            assert "fetched from the internet the first time" in str(spoken.failure)
        elif spoken.failure or not np.abs(spoken.audio).max(initial=0) > 0.001:
            silent.append(language)
    assert silent == []
