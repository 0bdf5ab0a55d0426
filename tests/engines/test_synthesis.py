"""Our S3Gen against upstream's, on the tiny checkpoint of the real classes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny_chatterbox
from tiny_chatterbox import clip, tiny_engine
from voicelab.engines.chatterbox import flow, layers, synthesis
from voicelab.engines.chatterbox.suppression import suppressed_output, suppressed_progress
from voicelab.engines.chatterbox.synthesis import Mode, Piece, Synthesis
from voicelab.errors import Cancelled
from yardstick import drawing, tolerance

MODELS_OF_S3GEN = ("chatterbox", "chatterbox-turbo", "chatterbox-multilingual")
MODES: tuple[Mode, ...] = ("exact", "fast", "draft")


@dataclass
class Studio:
    """One model's S3Gen, two voices, and what was made of them."""

    name: str
    s3gen: Any
    voices: Mapping[str, Mapping[str, Any]]
    made: dict[Mode, Synthesis] = field(default_factory=dict)

    def synthesis(self, mode: Mode = "exact") -> Synthesis:
        """Kept: a second call has its voices cached."""
        if mode not in self.made:
            self.made[mode] = self.new(mode)
        return self.made[mode]

    def new(self, mode: Mode = "exact", batch_size: int = 1) -> Synthesis:
        return Synthesis(copy.deepcopy(self.s3gen), mode=mode, batch_size=batch_size)

    def upstream(self, piece: Piece) -> Tensor:
        """What upstream makes of the same tokens after the same draws."""
        steps = 2 if self.s3gen.meanflow else None
        with drawing(piece.generator.get_state(), self.s3gen.device), suppressed_progress():
            wave, _ = self.s3gen.inference(
                piece.tokens[None].to(self.s3gen.device),
                ref_dict=dict(piece.reference),
                n_cfm_timesteps=steps,
            )
        return wave[0]

    def tolerance(self, *pieces: Piece) -> float:
        """Between sounds that are equal to the rounding."""
        return tolerance(lambda: [self.upstream(piece) for piece in pieces], self.s3gen)

    def piece(self, length: int = 20, *, voice: str = "low", seed: int = 1) -> Piece:
        tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, 6561, length))
        return Piece(tokens, self.voices[voice], voice, generator(seed), lambda: None)


def generator(seed: int) -> torch.Generator:
    return torch.Generator(tiny_chatterbox.DEVICE).manual_seed(seed)


@pytest.fixture(scope="module")
def studios(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Studio]:
    made: dict[str, Studio] = {}

    def make(name: str) -> Studio:
        if name not in made:
            made[name] = studio(name, tmp_path_factory.mktemp(name))
        return made[name]

    return make


def studio(name: str, folder: Path) -> Studio:
    engine = tiny_engine(name, folder, kernel="upstream")
    speech = engine._speech
    assert speech is not None
    model, voices = speech.model, {}
    for voice, pitch_hz, duration_s in (("low", 120, 11), ("high", 220, 7)):
        with suppressed_output():
            path = clip(folder / f"{voice}.wav", pitch_hz, duration_s)
            model.prepare_conditionals(str(path))
        voices[voice] = model.conds.gen
    return Studio(name, model.s3gen, voices)


@pytest.fixture(params=MODELS_OF_S3GEN)
def any_studio(request: pytest.FixtureRequest, studios: Callable[[str], Studio]) -> Studio:
    return studios(request.param)


@pytest.fixture
def english(studios: Callable[[str], Studio]) -> Studio:
    return studios("chatterbox")


@pytest.fixture
def turbo(studios: Callable[[str], Studio]) -> Studio:
    return studios("chatterbox-turbo")


def speak(made: Synthesis, *pieces: Piece) -> dict[int, Tensor]:
    """Their waves; the pieces can be given again."""
    fresh = [replace(piece, generator=piece.generator.clone_state()) for piece in pieces]
    return dict(made.waves(fresh))


def apart(wave: Tensor, other: Tensor) -> float:
    return float((wave - other).abs().max())


@pytest.mark.parametrize("length", [1, 20, 77, 200])
def test_it_sounds_as_upstream_does(any_studio: Studio, length: int) -> None:
    piece = any_studio.piece(length)
    wave = speak(any_studio.synthesis(), piece)[0]
    expected = any_studio.upstream(piece)
    assert wave.dtype == torch.float32 and wave.shape == expected.shape == (960 * length,)
    assert expected.abs().max() > 0.05
    assert apart(wave, expected) < any_studio.tolerance(piece)


def test_voices_of_a_batch_do_not_mix(any_studio: Studio) -> None:
    pieces = [any_studio.piece(voice=voice) for voice in ("low", "high", "low")]
    waves = speak(any_studio.synthesis(), *pieces)
    assert list(waves) == [0, 1, 2]
    bound = any_studio.tolerance(pieces[0])
    assert all(apart(waves[i], any_studio.upstream(pieces[i])) < bound for i in waves)
    assert torch.equal(waves[0], waves[2])
    assert apart(waves[0], waves[1]) > 100 * bound


@pytest.mark.parametrize("mode", MODES)
def test_the_company_changes_no_bit(any_studio: Studio, mode: Mode) -> None:
    pieces = [
        any_studio.piece(31, seed=1),
        any_studio.piece(12, seed=2),
        any_studio.piece(25, seed=3, voice="high"),
        any_studio.piece(40, seed=4),
    ]
    together = speak(any_studio.synthesis(mode), *pieces)
    assert sorted(together) == [0, 1, 2, 3]
    for index, piece in enumerate(pieces):
        alone = speak(any_studio.new(mode), piece)[0]
        assert torch.equal(alone, together[index])


@pytest.mark.parametrize("mode", MODES)
def test_a_cancelled_piece_leaves_the_others_as_they_are(any_studio: Studio, mode: Mode) -> None:
    made, pieces = any_studio.synthesis(mode), [any_studio.piece(15, seed=n) for n in range(3)]
    whole, polls = speak(made, *pieces), []

    def poll() -> None:
        polls.append(1)
        if len(polls) == last:
            raise Cancelled

    steps = (2 if any_studio.s3gen.meanflow else 10) // (2 if mode == "draft" else 1)
    last = steps // 2 + 1
    waves = speak(made, pieces[0], replace(pieces[1], poll=poll), pieces[2])
    assert len(polls) == last
    assert sorted(waves) == [0, 2]
    assert all(torch.equal(waves[index], whole[index]) for index in waves)


@pytest.mark.parametrize("mode", MODES)
def test_poll_is_called_before_each_step(any_studio: Studio, mode: Mode) -> None:
    steps = {"exact": 10, "fast": 10, "draft": 5}[mode] // (5 if any_studio.s3gen.meanflow else 1)
    poll = mock.Mock()
    speak(any_studio.synthesis(mode), replace(any_studio.piece(5), poll=poll))
    assert poll.call_count == steps


def test_nothing_is_left_when_all_are_cancelled(any_studio: Studio) -> None:
    gone = replace(any_studio.piece(), poll=mock.Mock(side_effect=Cancelled))
    assert not any(speak(any_studio.synthesis(mode), gone, gone) for mode in MODES)


def test_an_error_of_a_poll_is_not_swallowed(english: Studio) -> None:
    broken = replace(english.piece(), poll=mock.Mock(side_effect=KeyError))
    for mode in MODES:
        with pytest.raises(KeyError):
            speak(english.synthesis(mode), broken)


def spectrum(wave: Tensor) -> Tensor:
    """Logarithmic magnitudes: phases do not count."""
    window = torch.hann_window(512, device=wave.device)
    found = torch.stft(wave, 512, window=window, return_complex=True).abs()
    return found.clamp(min=1e-5).log()


def test_fast_is_nearer_to_exact_than_another_seed_is(any_studio: Studio) -> None:
    piece = any_studio.piece(60)
    exact = speak(any_studio.synthesis(), piece)[0]
    other = speak(any_studio.synthesis(), replace(piece, generator=generator(2)))[0]
    scale = float((spectrum(other) - spectrum(exact)).pow(2).mean())
    for mode in ("fast", "draft"):
        wave = speak(any_studio.synthesis(mode), piece)[0]
        assert wave.shape == exact.shape and bool(wave.isfinite().all())
        assert not torch.equal(wave, exact)
        assert float((spectrum(wave) - spectrum(exact)).pow(2).mean()) < 0.5 * scale


def test_draft_is_another_sound_than_fast(any_studio: Studio) -> None:
    fast, draft = (speak(any_studio.synthesis(mode), any_studio.piece())[0] for mode in MODES[1:])
    assert not torch.equal(fast, draft)


def test_a_run_longer_than_can_be_joined_is_spoken_in_order(english: Studio) -> None:
    waves = speak(english.synthesis("draft"), *(english.piece(4, seed=n) for n in range(19)))
    assert list(waves) == list(range(19))


def test_without_the_prompt_before_it_a_chunk_sounds_otherwise(english: Studio) -> None:
    piece = english.piece()
    fast = speak(english.synthesis("fast"), piece)[0]
    with mock.patch.object(
        flow.ReplayedContext, "keys", lambda self, keys: (next(self._kept), keys)[1]
    ):
        deaf = speak(english.synthesis("fast"), piece)[0]
    with mock.patch.object(
        flow.ReplayedContext,
        "prepend",
        lambda self, x, rows: torch.cat([0 * next(self._kept), x], dim=1),
    ):
        cut = speak(english.synthesis("fast"), piece)[0]
    assert apart(fast, deaf) > 1e-4 and apart(fast, cut) > 1e-4 and apart(deaf, cut) > 1e-4


def test_a_leak_between_chunks_would_be_noticed(english: Studio) -> None:
    class Leaking(flow.ReplayedContext):
        """The next chunk attends to this one, too: a mask forgotten."""

        def __init__(self, recorded: flow.RecordedContext):
            super().__init__(recorded)
            self.shared, self.place = recorded.kept, -1

        def prepend(self, x: Tensor, rows: int) -> Tensor:
            self.place += 1
            return super().prepend(x, rows)

        def keys(self, keys: Tensor) -> Tensor:
            self.place += 1
            self.shared[self.place] = super().keys(keys)
            return self.shared[self.place]

    pieces = [english.piece(seed=1), english.piece(seed=2)]
    alone = [speak(english.synthesis("fast"), piece)[0] for piece in pieces]
    with mock.patch.object(flow, "ReplayedContext", Leaking):
        together = speak(english.synthesis("fast"), *pieces)
    assert torch.equal(together[0], alone[0])
    assert apart(together[1], alone[1]) > 1e-4


def test_another_order_of_draws_is_another_sound(turbo: Studio) -> None:
    piece = turbo.piece()
    expected = turbo.upstream(piece)

    def reversed_order(self: Synthesis, piece: Piece, frames: int) -> Tensor:
        own = 2 * len(piece.tokens)
        noise, end = (
            torch.randn((80, n), generator=piece.generator, device=piece.generator.device)
            for n in (frames, own)
        )
        noise[:, frames - own :] = end
        return noise.t().contiguous()

    with mock.patch.object(Synthesis, "_noise", reversed_order):
        found = speak(turbo.synthesis(), piece)[0]
    assert apart(found, expected) > 100 * turbo.tolerance(piece)


def test_it_needs_no_packed_weights(any_studio: Studio) -> None:
    piece = any_studio.piece(30)
    with mock.patch.object(layers, "_kernels", lambda weight: None):
        plain = any_studio.new()
    assert apart(speak(plain, piece)[0], any_studio.upstream(piece)) < any_studio.tolerance(piece)


def test_bfloat16_is_close(english: Studio) -> None:
    piece = english.piece(30)
    with (
        mock.patch.object(layers, "_kernels", lambda weight: None),
        mock.patch.object(synthesis, "_quick_dtype", lambda device: torch.bfloat16),
    ):
        rough = english.new("fast")
    wave, fast = speak(rough, piece)[0], speak(english.synthesis("fast"), piece)[0]
    assert bool(wave.isfinite().all()) and not torch.equal(wave, fast)
    assert float((spectrum(wave) - spectrum(fast)).pow(2).mean().sqrt()) < 0.3


def test_a_clip_is_encoded_as_before_and_weights_are_held_once(english: Studio) -> None:
    s3gen = copy.deepcopy(english.s3gen)
    hum = np.sin(np.arange(48_000) * 0.05).astype("float32")
    before = s3gen.embed_ref(hum, 24_000)
    Synthesis(s3gen)
    after = s3gen.embed_ref(hum, 24_000)
    assert all(torch.equal(before[key], after[key]) for key in ("prompt_token", "embedding"))
    left = {name.split(".")[0] for name, _ in s3gen.named_parameters()}
    assert left == {"tokenizer", "speaker_encoder", "flow"}
    assert sum(p.numel() for p in s3gen.flow.parameters()) < 0.6e6


def test_a_long_prompt_of_odd_length_is_cut_as_upstream_cuts_it(english: Studio) -> None:
    voice = dict(english.voices["low"])
    voice["prompt_feat"] = torch.cat([voice["prompt_feat"], voice["prompt_feat"][:, -1:]], dim=1)
    piece = replace(english.piece(), reference=voice, key="odd")
    wave, expected = speak(english.synthesis(), piece)[0], english.upstream(piece)
    assert wave.shape == expected.shape
    assert apart(wave, expected) < english.tolerance(piece)
    assert speak(english.synthesis("fast"), piece)[0].shape == wave.shape


def test_pieces_of_several_lengths_at_once_sound_as_each_alone(any_studio: Studio) -> None:
    given = [(9, "low", 1), (20, "high", 2), (14, "low", 3), (20, "low", 4), (3, "high", 5)]

    def pieces() -> list[Piece]:
        return [any_studio.piece(n, voice=voice, seed=seed) for n, voice, seed in given]

    right = [any_studio.synthesis().waves([piece]) for piece in pieces()]
    alone = [wave for ((_, wave),) in map(list, right)]
    batch_size = any_studio.new(batch_size=3)
    found = dict(batch_size.waves(pieces()))
    assert [found[n].shape for n in range(len(alone))] == [wave.shape for wave in alone]
    bound = any_studio.tolerance(pieces()[1])  # one of the longest
    assert all(apart(found[n], wave) < bound for n, wave in enumerate(alone))
    with mock.patch.object(flow.PaddedContext, "__init__", lambda *_: None):  # the control
        unmasked = dict(batch_size.waves(pieces()))
    assert max(apart(unmasked[n], wave) for n, wave in enumerate(alone)) > 100 * bound


def test_one_of_several_at_once_may_be_cancelled(any_studio: Studio) -> None:
    asked = 0

    def poll() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise Cancelled

    def pieces() -> list[Piece]:
        return [any_studio.piece(10 + n, seed=n) for n in range(3)]

    batch_size = any_studio.new(batch_size=3)
    right = dict(batch_size.waves(pieces()))
    first, second, third = pieces()
    found = dict(batch_size.waves([first, replace(second, poll=poll), third]))
    assert sorted(found) == [0, 2]
    assert all(torch.equal(found[n], right[n]) for n in found)
