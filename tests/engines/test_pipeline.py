"""Our loops against upstream's own generate, and against themselves in other company."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from tiny_chatterbox import MODELS, clip, small, tiny_engine
from voicelab.engines.base import Utterance, Voice
from voicelab.engines.chatterbox import selftest
from voicelab.engines.chatterbox.decoding import Decoder
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.kv_cache import Cache
from voicelab.engines.chatterbox.linear import KERNELS, plain
from voicelab.engines.chatterbox.sentence import Row, Sentence
from voicelab.engines.chatterbox.suppression import suppressed_progress
from voicelab.engines.chatterbox.synthesis import Synthesis
from voicelab.engines.chatterbox.tokens import text_token_ids
from voicelab.engines.chatterbox.upstream import load_model
from yardstick import largest_difference, longest, tolerance

TEXTS = (
    "Hi there.",
    "A second, somewhat longer.",
    "Third!",
    "Far away, a bell.",
)
OTHERS = (
    {},
    {"temperature": 1.0, "top_p": 0.8, "repetition_penalty": 1.0},
    {"cfg_weight": 0.0, "min_p": 0.0, "top_k": 20},
    {"cfg_weight": 1.0, "exaggeration": 1.5, "temperature": 0.3},
)


@pytest.fixture(scope="module", params=MODELS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ChatterboxEngine, ChatterboxEngine]]:
    """With our loops, and with upstream's own generate."""
    folder = tmp_path_factory.mktemp(request.param)
    ours, upstream = (
        tiny_engine(request.param, folder, 12, kernel=kernel) for kernel in ("auto", "upstream")
    )
    assert ours.versions()["kernel"] != "upstream" == upstream.versions()["kernel"]
    yield ours, upstream
    ours.close()
    upstream.close()


@pytest.fixture
def ours(pair: tuple[ChatterboxEngine, ChatterboxEngine]) -> ChatterboxEngine:
    return pair[0]


def utterances(engine: ChatterboxEngine, voices: Sequence[Path | None] = ()) -> list[Utterance]:
    given = []
    for n, text in enumerate(TEXTS):
        values = {p.name: p.default for p in engine.info.parameters}
        values |= {k: v for k, v in OTHERS[n].items() if k in values}
        voice = engine.prepare_voice(voices[n % len(voices)] if voices else None)
        given.append(Utterance(text, voice, values, 40 + n, "en"))
    return given


def model(engine: ChatterboxEngine) -> Any:
    assert engine._speech is not None
    return engine._speech.model


def speak(engine: ChatterboxEngine, given: Sequence[Utterance], **options: Any) -> list[np.ndarray]:
    options.setdefault("cancelled", lambda _: False)
    spoken = {one.index: one for one in engine.speak(given, **options)}
    return [spoken[n].audio for n in sorted(spoken)]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Where both have samples: another seed may speak for longer."""
    shared = min(len(one), len(other))
    return float(np.abs(one[:shared] - other[:shared]).max())


def test_every_sentence_sounds_as_upstreams_alone(
    pair: tuple[ChatterboxEngine, ChatterboxEngine], tmp_path: Path
) -> None:
    ours, upstream = pair
    voices = [None, clip(tmp_path / "low.wav", 120), clip(tmp_path / "high.wav", 200)]
    given = utterances(ours, voices)
    s3gen = model(upstream).s3gen
    with longest(s3gen) as again:
        right = speak(upstream, given)
    found = speak(ours, given)
    assert [mine.shape for mine in found] == [theirs.shape for theirs in right]
    bound = tolerance(again, s3gen)
    assert largest_difference(found, right) < bound
    # The control: another seed is another sound, by orders of magnitude.
    others = speak(ours, [replace(one, seed=one.seed + 1) for one in given])
    assert all(apart(*pair) > 100 * bound for pair in zip(others, right, strict=True))


@pytest.mark.cpu
def test_company_changes_nothing_to_the_bit(ours: ChatterboxEngine) -> None:
    given = utterances(ours)
    together = speak(ours, given)
    for n, utterance in enumerate(given):
        assert np.array_equal(speak(ours, [utterance])[0], together[n])
    backwards = speak(ours, given[::-1])
    assert all(np.array_equal(a, b) for a, b in zip(backwards[::-1], together, strict=True))


@pytest.mark.cpu
def test_who_joins_while_others_speak_changes_nothing(ours: ChatterboxEngine) -> None:
    given = utterances(ours)
    together = speak(ours, given)
    waiting = list(given[1:])
    asked: list[int] = []

    def more(room: int) -> list[Utterance]:
        asked.append(room)
        # One at every third question: in the middle of what is being spoken.
        return [waiting.pop(0)] if waiting and len(asked) % 3 == 0 else []

    joined = speak(ours, given[:1], more=more)
    assert all(0 < room <= 8 for room in asked)
    assert all(np.array_equal(a, b) for a, b in zip(joined, together, strict=True))


@pytest.mark.cpu
def test_more_than_a_batch_waits_for_room(ours: ChatterboxEngine) -> None:
    given = utterances(ours) * 3
    spoken = speak(ours, given)
    assert len(spoken) == 12
    assert all(np.array_equal(spoken[n], spoken[n + 8]) for n in range(4))


@pytest.mark.cpu
def test_one_that_fails_leaves_the_others(ours: ChatterboxEngine) -> None:
    given = utterances(ours)
    values = given[0].parameters
    bad = Utterance("a" * 2100, Voice(), values, 1, "en")
    spoken = {s.index: s for s in ours.speak([given[0], bad, given[1]], lambda _: False)}
    assert "more tokens" in str(spoken[1].failure)
    assert spoken[0].failure is spoken[2].failure is None
    assert np.array_equal(spoken[0].audio, speak(ours, given[:1])[0])


@pytest.mark.cpu
def test_one_whose_draw_breaks_leaves_the_others(ours: ChatterboxEngine) -> None:
    given = utterances(ours)
    right = speak(ours, given)
    drawn = Decoder._sampled

    def broken(self: Decoder, row: Row, logits: Any) -> int:
        if row.sentence.generator.initial_seed() == given[1].seed and len(row.tokens) == 5:
            raise KeyError("a stranger")
        return drawn(self, row, logits)

    with mock.patch.object(Decoder, "_sampled", broken):
        spoken = {one.index: one for one in ours.speak(given, lambda _: False)}
    assert "KeyError" in str(spoken.pop(1).failure)
    assert all(np.array_equal(one.audio, right[index]) for index, one in spoken.items())


@pytest.mark.cpu
def test_one_without_a_watermark_is_not_given(ours: ChatterboxEngine) -> None:
    given = utterances(ours)
    right = speak(ours, given)
    watermarker = model(ours).watermarker
    mark, marked = watermarker.apply_watermark, []

    def broken(samples: Any, sample_rate: int) -> Any:
        marked.append(samples)
        if len(marked) == 2:
            raise ZeroDivisionError
        return mark(samples, sample_rate=sample_rate)

    with mock.patch.object(watermarker, "apply_watermark", broken):
        spoken = {one.index: one for one in ours.speak(given, lambda _: False)}
    (silent,) = [index for index, one in spoken.items() if one.failure is not None]
    assert "ZeroDivisionError" in str(spoken.pop(silent).failure)
    assert all(np.array_equal(one.audio, right[index]) for index, one in spoken.items())


@pytest.mark.cpu
def test_one_that_is_cancelled_leaves_the_others(ours: ChatterboxEngine) -> None:
    given, asked = utterances(ours), 0
    right = speak(ours, given)

    def cancelled(index: int) -> bool:
        nonlocal asked
        asked += index == 1
        return index == 1 and asked > 6

    spoken = list(ours.speak(given, cancelled))
    assert sorted(one.index for one in spoken) == [0, 2, 3]
    assert all(np.array_equal(one.audio, right[one.index]) for one in spoken)


@pytest.mark.cpu
@pytest.mark.parametrize("place", ["begin", "step"])
def test_without_memory_it_goes_on_with_fewer_and_says_so(
    ours: ChatterboxEngine, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = utterances(ours)
    right = speak(ours, given)
    real = getattr(Decoder, place)

    def limited(self: Decoder, what: Any) -> Any:
        rows = len(what) if isinstance(what, list) else len(held) + 1
        if rows > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(self, what)

    held: list[Row] = []
    begin = Decoder.begin

    def begun(self: Decoder, sentence: Sentence) -> Row:
        if place == "begin" and sum(not row.ended for row in held) >= 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        held.append(begin(self, sentence))
        return held[-1]

    with mock.patch.object(Decoder, "begin", begun):
        if place == "step":
            with mock.patch.object(Decoder, "step", limited):
                spoken = speak(ours, given)
        else:
            spoken = speak(ours, given)
    assert all(np.array_equal(a, b) for a, b in zip(spoken, right, strict=True))
    assert "going on with" in caplog.text


@pytest.mark.cpu
def test_a_sound_without_memory_is_made_when_others_are_done(ours: ChatterboxEngine) -> None:
    given = utterances(ours)
    right = speak(ours, given)
    waiting, asked, tries = list(given[1:]), [], []
    waves = Synthesis.waves

    def more(room: int) -> list[Utterance]:
        asked.append(room)
        return [waiting.pop(0)] if waiting and len(asked) % 3 == 0 else []

    def scarce(self: Synthesis, pieces: Any) -> Any:
        tries.append(len(pieces))
        if len(tries) == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return waves(self, pieces)

    with mock.patch.object(Synthesis, "waves", scarce):
        spoken = speak(ours, given[:1], more=more)
    assert len(tries) > 4
    assert all(np.array_equal(a, b) for a, b in zip(spoken, right, strict=True))


def test_memory_for_not_even_one_is_one_sentence(ours: ChatterboxEngine) -> None:
    error = MemoryError()
    with mock.patch.object(Decoder, "step", side_effect=error):
        spoken = list(ours.speak(utterances(ours)[:1], lambda _: False))
    assert "not enough memory" in str(spoken[0].failure)


@pytest.mark.cpu
def test_each_kernel_that_is_right_here_draws_upstreams_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "english"
    tiny_engine("chatterbox", folder, kernel="upstream").close()
    model = loaded(folder)
    sentences = [sentence(model, n) for n in range(3)]
    right = [upstream_tokens(model, one) for one in sentences]
    for name in {"plain", *selftest.timings()}:
        decoder = Decoder(loaded(folder).t3, KERNELS.get(name, plain))
        assert decoded(decoder, [sentence(model, n) for n in range(3)]) == right, name


def two_sentences(folder: Path) -> tuple[Any, list[Any], Decoder]:
    """A model, upstream's tokens of two sentences, and a decoder to compare with it."""
    tiny_engine("chatterbox", folder / "english", kernel="upstream").close()
    model = loaded(folder / "english")
    right = [upstream_tokens(model, sentence(model, n)) for n in range(2)]
    return model, right, Decoder(model.t3, plain)


def test_a_stranger_in_the_cache_is_heard(tmp_path: Path) -> None:
    """The control: were a sentence to read its neighbour's keys, equality would be lost."""
    model, right, decoder = two_sentences(tmp_path)
    put = Cache.put
    strange = torch.randn(1, 1, 4, 16, generator=torch.Generator().manual_seed(1))

    def leaking(self: Cache, layer: int, keys_values: Any, start: int) -> Any:
        keys, values = put(self, layer, keys_values, start)
        if keys_values.shape[1] > 1:  # a text is read under a mask of its own length
            return keys, values
        rows = keys.shape[0]
        foreign = strange.expand(rows, keys.shape[1], -1, -1)
        return torch.cat([foreign, keys], 2), torch.cat([foreign, values], 2)

    with mock.patch.object(Cache, "put", leaking):
        assert decoded(decoder, [sentence(model, n) for n in range(2)]) != right


def test_a_missing_causal_mask_is_heard(tmp_path: Path) -> None:
    model, right, decoder = two_sentences(tmp_path)
    with mock.patch("voicelab.engines.chatterbox.kv_cache._causal", lambda *_: None):
        assert decoded(decoder, [sentence(model, n) for n in range(2)]) != right


def test_a_loop_that_disagrees_with_upstream_gives_way_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with mock.patch("voicelab.engines.chatterbox.kv_cache._causal", lambda *_: None):
        engine = tiny_engine("chatterbox", tmp_path / "english")
    assert engine.versions()["kernel"] == "upstream"
    assert "does not agree with upstream" in caplog.text
    assert not (tmp_path / "cache" / "voicelab").exists()
    assert len(speak(engine, utterances(engine)[:1])[0]) > 2000


def test_a_loop_that_does_not_work_gives_way_to_upstreams(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with mock.patch.object(Decoder, "step", side_effect=RuntimeError("no such operation")):
        engine = tiny_engine("chatterbox", tmp_path / "english")
    assert engine.versions()["kernel"] == "upstream"
    assert "does not work here" in caplog.text
    assert len(speak(engine, utterances(engine)[:1])[0]) > 2000


def test_the_self_test_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with mock.patch.object(selftest, "timings", side_effect=selftest.timings) as timings:
        tiny_engine("chatterbox", tmp_path / "english").close()
        tiny_engine("chatterbox", tmp_path / "english").close()
    assert timings.call_count == 1
    (kept,) = (tmp_path / "cache" / "voicelab" / "selftest").glob("*.json")
    assert json.loads(kept.read_text())["kernel"] in {*KERNELS, "plain"}
    kept.write_text("no JSON")
    tiny_engine("chatterbox", tmp_path / "english").close()


def loaded(folder: Path) -> Any:
    with small("chatterbox"):
        model, _ = load_model(
            "chatterbox", device="cpu", checkpoint_dir=folder, threads=1, progress=lambda *_: None
        )
    return model


def sentence(model: Any, number: int) -> Sentence:
    values = {
        **{"temperature": 0.8, "top_p": 1.0, "min_p": 0.05, "repetition_penalty": 1.2},
        "cfg_weight": 0.5,
    }
    utterance = Utterance(TEXTS[number], Voice(), values, number, "en")
    generator = torch.Generator().manual_seed(number)
    text = text_token_ids(model, utterance)
    return Sentence(text, "own", copy.copy(model.conds.t3), values, generator)


def upstream_tokens(model: Any, one: Sentence) -> list[int]:
    with torch.inference_mode(), suppressed_progress(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(one.generator.initial_seed())
        drawn = model.t3.inference(
            t3_cond=copy.copy(one.conditioning),
            text_tokens=one.text.expand(2, -1),
            max_new_tokens=1000,
            **one.parameters,
        )
    return drawn[0].tolist()


def decoded(decoder: Decoder, sentences: Sequence[Sentence]) -> list[list[int]]:
    with torch.inference_mode():
        rows = [decoder.begin(one) for one in sentences]
        while live := [row for row in rows if not row.ended]:
            decoder.step(live)
    return [row.tokens for row in rows]
