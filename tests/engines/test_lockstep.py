"""Decoding in lockstep, as a GPU does it, here on the CPU: the recording of graphs apart."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import tiny_chatterbox
from tiny_chatterbox import MODELS, small, tiny_engine
from voicelab.engines.base import Utterance, Voice
from voicelab.engines.chatterbox import assembly, decoding, lockstep
from voicelab.engines.chatterbox.decoding import Decoder
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.kv_cache import STEP
from voicelab.engines.chatterbox.linear import plain
from voicelab.engines.chatterbox.lockstep import STRIDE
from voicelab.engines.chatterbox.sampling import BatchSampler, Sampler, TurboSampler
from voicelab.engines.chatterbox.sentence import STOP_TOKEN, Row, Sentence
from voicelab.engines.chatterbox.slots import SlotAttention
from voicelab.engines.chatterbox.tokens import text_token_ids
from voicelab.engines.chatterbox.upstream import load_model
from yardstick import largest_difference, longest, tolerance

NAMES = tuple(name for name in MODELS if name != "chatterbox-multilingual-v2")
TEXTS = ("Hi there.", "A second, somewhat longer.", "Third!", "Far away, a bell.")
PARAMETERS = {
    **{"temperature": 0.8, "top_p": 1.0, "min_p": 0.05, "repetition_penalty": 1.2},
    **{"cfg_weight": 0.5, "top_k": 1000},
}
OTHERS = (
    {},
    {"temperature": 1.0, "top_p": 0.8, "repetition_penalty": 1.0},
    {"cfg_weight": 0.0, "min_p": 0.0, "top_k": 20},
    {"cfg_weight": 1.0, "temperature": 0.3, "top_p": 0.95},
)
TOKENS = 20


class Pair:
    """One checkpoint's model twice: decoded apart and in lockstep."""

    def __init__(self, name: str, folder: Path):
        tiny_engine(name, folder, TOKENS, kernel="upstream").close()
        with small(name):
            self.model, other = (
                load_model(
                    name,
                    device=tiny_chatterbox.DEVICE,
                    checkpoint_dir=folder,
                    threads=1,
                    progress=lambda *_: None,
                )[0]
                for _ in range(2)
            )
        self.apart, self.abreast = Decoder(self.model.t3, plain), Decoder(other.t3, plain, 4)

    def sentence(self, number: int) -> Sentence:
        values = PARAMETERS | OTHERS[number % 4]
        text = text_token_ids(
            self.model, Utterance(TEXTS[number % 4], Voice(), values, number, "en")
        )
        generator = torch.Generator(tiny_chatterbox.DEVICE).manual_seed(number)
        return Sentence(text, "own", copy.copy(self.model.conds.t3), values, generator)

    def right(self, numbers: Sequence[int]) -> list[Row]:
        return decoded(self.apart, [self.sentence(n) for n in numbers])


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def decoded(decoder: Decoder, sentences: Sequence[Sentence]) -> list[Row]:
    rows = [decoder.begin(one) for one in sentences]
    while live := [row for row in rows if not row.ended]:
        decoder.step(live)
    return rows


def assert_same(found: Sequence[Row], right: Sequence[Row]) -> None:
    for ours, theirs in zip(found, right, strict=True):
        assert ours.failure is theirs.failure is None
        assert ours.tokens == theirs.tokens
        # The noise of the waveform comes next from it.
        states = [row.sentence.generator.get_state() for row in (ours, theirs)]
        assert torch.equal(*states)


@pytest.mark.parametrize("turbo", [False, True])
def test_draws_are_those_of_each_ones_own_sampler(turbo: bool) -> None:
    values = [PARAMETERS | other for other in OTHERS]
    generators = [[torch.Generator().manual_seed(n) for n in range(4)] for _ in range(2)]
    kind = TurboSampler if turbo else Sampler
    own = [kind(*pair, 7) for pair in zip(values, generators[0], strict=True)]
    logits = torch.randn(30, 4, 500, generator=torch.Generator().manual_seed(1)) * 3
    right = [[sampler.draw(step[n : n + 1]) for n, sampler in enumerate(own)] for step in logits]
    # Turbo's penalty knows the start in the first draw alone.
    first, rest = (1, logits[1:]) if turbo else (0, logits)
    ids = [[right[0][n]] if turbo else [7] for n in range(4)]
    if turbo:
        for generator in generators[1]:
            BatchSampler.skip(generator, 1, 500)
    draws = BatchSampler(values, ids, generators[1], 500, turbo=turbo)
    assert [draws(step).tolist() for step in rest] == right[first:]
    assert draws.finite.all()
    draws(torch.full((4, 500), torch.nan))
    assert not draws.finite.any()


def test_tokens_are_those_of_each_sentence_apart(pair: Pair) -> None:
    right = pair.right(range(4))
    assert all(len(row.tokens) > STRIDE for row in right)
    assert_same(decoded(pair.abreast, [pair.sentence(n) for n in range(4)]), right)
    for number in range(4):
        assert_same(decoded(pair.abreast, [pair.sentence(number)]), [right[number]])


def test_sentences_come_and_go(pair: Pair) -> None:
    right = pair.right(range(6))
    waiting = [pair.sentence(n) for n in range(6)]
    found, live = [], []
    while waiting or live:
        if waiting and len(live) < 4:
            row = pair.abreast.begin(waiting.pop(0))
            found.append(row)
            live.append(row)
        pair.abreast.step(live)
        live = [row for row in live if not row.ended]
    assert_same(found, right)


def test_one_that_is_taken_away_leaves_its_slot(pair: Pair) -> None:
    right = pair.right(range(5))
    rows = [pair.abreast.begin(pair.sentence(n)) for n in range(4)]
    pair.abreast.step(rows)
    del rows[1]
    rows.append(pair.abreast.begin(pair.sentence(4)))
    while live := [row for row in rows if not row.ended]:
        pair.abreast.step(live)
    assert_same(rows, [right[n] for n in (0, 2, 3, 4)])


def test_a_step_that_fails_may_be_tried_again(pair: Pair) -> None:
    right = pair.right(range(3))
    rows = [pair.abreast.begin(pair.sentence(n)) for n in range(3)]
    together = pair.abreast._lockstep
    assert together
    error = RuntimeError("CUDA out of memory")
    steps = [*(together._forward,) * 4, mock.Mock(side_effect=error)]
    with (
        mock.patch.object(together, "_forward", lambda *sizes: steps.pop(0)(*sizes)),
        pytest.raises(RuntimeError),
    ):
        pair.abreast.step(rows)
    assert all(len(row.tokens) == 1 for row in rows)
    while live := [row for row in rows if not row.ended]:
        pair.abreast.step(live)
    assert_same(rows, right)


def test_the_length_limit_is_noticed_within_a_stride(pair: Pair) -> None:
    with mock.patch.object(decoding, "CAP_TOKENS", 11):
        right = pair.right([0])
        found = decoded(pair.abreast, [pair.sentence(0)])
    assert found[0].capped and found[0].tokens[-1] != STOP_TOKEN
    assert_same(found, right)


def test_numbers_that_are_none_end_their_sentence_alone(pair: Pair) -> None:
    right = pair.right(range(2))
    rows = [pair.abreast.begin(pair.sentence(n)) for n in range(2)]
    real = BatchSampler.__call__

    def poisoned(self: BatchSampler, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[1] = torch.nan
        return real(self, logits)

    with mock.patch.object(BatchSampler, "__call__", poisoned):
        pair.abreast.step(rows)
    assert "not finite" in str(rows[1].failure) and rows[1].ended
    while not rows[0].ended:
        pair.abreast.step(rows[:1])
    assert_same(rows[:1], right[:1])


def test_keys_beyond_a_sentences_end_are_heard_without_the_mask(pair: Pair) -> None:
    """The control: were the mask left out, equality would be lost."""
    right = pair.right(range(2))
    init = SlotAttention.__init__

    def unmasked(self: SlotAttention, *given: Any) -> None:
        init(self, *given)
        self._seen = torch.ones_like(self._seen)

    with mock.patch.object(SlotAttention, "__init__", unmasked):
        found = decoded(pair.abreast, [pair.sentence(n) for n in range(2)])
    assert [row.tokens for row in found] != [row.tokens for row in right]


def test_room_grows_in_the_middle_of_a_sentence(pair: Pair) -> None:
    assert pair.abreast._lockstep
    slots = pair.abreast._lockstep._slots
    rows = [pair.abreast.begin(pair.sentence(n)) for n in range(2)]
    pair.abreast.step(rows)
    capacity = slots.capacity
    assert slots.reserve(capacity + 1) and slots.capacity == capacity + STEP
    assert not slots.reserve(capacity)
    while live := [row for row in rows if not row.ended]:
        pair.abreast.step(live)
    assert_same(rows, pair.right(range(2)))


def test_what_cannot_be_recorded_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    def add(count: int, length: int) -> torch.Tensor:
        return torch.tensor(count + length)

    with mock.patch.object(torch.cuda, "Stream", side_effect=RuntimeError("no such operation")):
        recorded = lockstep._CudaGraphs(add)
        assert recorded(1, 2) == 3 and recorded(2, 2) == 4
    assert caplog.text.count("cannot be recorded") == 1
    with (
        mock.patch.object(torch.cuda, "Stream", side_effect=RuntimeError("CUDA out of memory")),
        pytest.raises(RuntimeError, match="memory"),
    ):
        lockstep._CudaGraphs(add)(1, 2)


@pytest.mark.parametrize("name", MODELS)
def test_an_engine_in_lockstep_sounds_as_upstream_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    upstream = tiny_engine(name, tmp_path, TOKENS, kernel="upstream")
    monkeypatch.setattr(assembly, "is_gpu", lambda device: True)
    monkeypatch.setattr(assembly, "default_batch_size", lambda info, device: 4)
    ours = tiny_engine(name, tmp_path, TOKENS)
    assert ours.versions()["kernel"] != "upstream" and ours.info.batch_size == 4
    values = {p.name: p.default for p in ours.info.parameters}
    given = [Utterance(text, Voice(), values, n, "en") for n, text in enumerate(TEXTS * 2)]

    def say(engine: ChatterboxEngine) -> list[np.ndarray]:
        spoken = {one.index: one for one in engine.speak(given, lambda _: False)}
        assert all(one.failure is None for one in spoken.values())
        return [spoken[index].audio for index in sorted(spoken)]

    assert upstream._speech
    s3gen = upstream._speech.model.s3gen
    with longest(s3gen) as again:
        right = say(upstream)
    found = say(ours)
    assert [audio.shape for audio in found] == [audio.shape for audio in right]
    assert largest_difference(found, right) < tolerance(again, s3gen)
