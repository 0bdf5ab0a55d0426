"""The contract of every engine, tried on each in turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.threads import at_once
from tiny_chatterbox import MODELS, clip, tiny_engine
from voicelab.engines import Engine, Utterance
from voicelab.engines.espeak import EspeakEngine
from voicelab.engines.piper import PLUGIN
from voicelab.engines.tone import ToneEngine
from voicelab.errors import BadClip
from voicelab.settings import Settings


@pytest.fixture(scope="module", params=["tone", "espeak", "piper", *MODELS])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    if request.param == "tone":
        engine: Engine = ToneEngine()
    elif request.param == "espeak":
        engine = EspeakEngine()
    elif request.param == "piper":
        engine = PLUGIN.make("piper", Settings())
    else:
        engine = tiny_engine(request.param, tmp_path_factory.mktemp(request.param))
    engine.load(lambda fraction, line: None)
    yield engine
    engine.close()


def say(
    engine: Engine,
    text: str = "Hello there.",
    seed: int = 1,
    voice: Path | None = None,
    cancelled: Callable[[int], bool] = lambda _: False,
    **parameters: float,
) -> np.ndarray | None:
    values = {p.name: p.default for p in engine.info.parameters} | parameters
    language = next(iter(engine.info.languages))
    utterance = Utterance(text, engine.prepare_voice(voice), values, seed, language)
    spoken = list(engine.speak([utterance], cancelled))
    return spoken[0].audio if spoken else None


def test_audio_is_float32_mono_and_within_range(engine: Engine) -> None:
    audio = say(engine)
    assert audio.dtype == np.float32 and audio.ndim == 1
    assert 0.3 < len(audio) / engine.info.sample_rate < 20
    assert 0.001 < np.abs(audio).max() <= 1.0


def test_the_same_seed_gives_the_same_samples(engine: Engine) -> None:
    assert np.array_equal(say(engine, seed=5), say(engine, seed=5))


def test_another_seed_gives_other_samples_where_the_engine_is_random(engine: Engine) -> None:
    assert np.array_equal(say(engine, seed=5), say(engine, seed=6)) is not engine.info.random


def test_voices_do_not_leak(engine: Engine, tmp_path: Path) -> None:
    if not engine.info.clones_voices:
        with pytest.raises(BadClip, match="cannot imitate"):
            engine.prepare_voice(clip(tmp_path / "a.wav"))
        return
    own = say(engine)
    low, high = clip(tmp_path / "a.wav", 120), clip(tmp_path / "b.wav", 220)
    first, other, again = (say(engine, voice=voice) for voice in (low, high, low))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(own, say(engine))


@pytest.mark.cpu
def test_two_threads_give_what_one_gives(engine: Engine) -> None:
    texts = ["One sentence.", "Another sentence here."]
    alone = [say(engine, text) for text in texts]
    together = at_once(*(partial(say, engine, text) for text in texts))
    assert all(map(np.array_equal, together, alone))


def test_a_cancelled_utterance_is_dropped_and_the_next_is_whole(engine: Engine) -> None:
    before = say(engine)
    polls = iter([False] * 3)
    assert say(engine, cancelled=lambda _: next(polls, True)) is None or engine.info.name in (
        "tone",
        "espeak",
        "piper",
    )
    assert say(engine, cancelled=lambda _: True) is None
    assert np.array_equal(before, say(engine))


def test_every_parameter_may_stand_at_its_ends(engine: Engine) -> None:
    for parameter in engine.info.parameters:
        for value in (parameter.minimum, parameter.maximum):
            if parameter.name == "temperature" and value > 2:
                continue  # random weights at temperature 5 say nothing about the engine
            assert len(say(engine, "Hi there.", **{parameter.name: value}))


def test_the_versions_are_told(engine: Engine) -> None:
    assert all(isinstance(value, str) for value in engine.versions().values())
    assert engine.versions()
