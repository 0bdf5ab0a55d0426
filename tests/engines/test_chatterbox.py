"""The real chatterbox classes on a tiny checkpoint: the traps of upstream."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from tests.engines.test_contract import say
from tiny_chatterbox import build, clip, tiny_engine
from voicelab.engines.chatterbox import CHATTERBOX_INFOS, ChatterboxEngine, decoding, presence
from voicelab.engines.chatterbox.weights import FILES
from voicelab.errors import EngineUnavailable, SpeechFailed


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("english")
    build("chatterbox", folder)
    return folder


@pytest.fixture(scope="module")
def english(checkpoint: Path) -> ChatterboxEngine:
    return tiny_engine("chatterbox", checkpoint)


def test_a_chunk_has_the_tokens_that_were_drawn(english: ChatterboxEngine) -> None:
    assert len(say(english)) == 20 * 960


def test_the_length_cap_is_noticed(english: ChatterboxEngine) -> None:
    from voicelab.engines import Utterance

    values = {p.name: p.default for p in english.info.parameters}
    utterance = Utterance("Hi there.", english.prepare_voice(None), values, 1, "en")
    assert not next(iter(english.speak([utterance], lambda _: False))).capped
    # Whoever draws as many tokens as the cap without the stop token was cut off.
    with (
        mock.patch.object(decoding, "CAP_TOKENS", 15),
        mock.patch.object(decoding, "STOP_TOKEN", -1),
    ):
        assert next(iter(english.speak([utterance], lambda _: False))).capped


def test_a_clip_is_encoded_once(english: ChatterboxEngine, tmp_path: Path) -> None:
    voice = clip(tmp_path / "v.wav", 170)
    real = english._model.prepare_conditionals
    with mock.patch.object(english._model, "prepare_conditionals", side_effect=real) as encode:
        say(english, voice=voice)
        say(english, voice=voice, exaggeration=1.0)
    assert encode.call_count == 1


def test_exaggeration_of_one_call_does_not_stay(english: ChatterboxEngine) -> None:
    before = say(english)
    say(english, exaggeration=2.0)
    assert np.array_equal(before, say(english))


def test_cancelling_leaves_no_hook_behind(english: ChatterboxEngine) -> None:
    polls = iter([False] * 8)
    assert say(english, cancelled=lambda _: next(polls, True)) is None
    assert not english._model.t3.tfmr._forward_pre_hooks
    assert not english._model.s3gen.flow.decoder.estimator._forward_pre_hooks
    assert "inference" not in vars(english._model.t3)


def test_multilingual_calls_do_not_grow_slower(tmp_path: Path) -> None:
    engine = tiny_engine("chatterbox-multilingual", tmp_path, tokens=5)

    def hooks() -> int:
        return sum(len(m._forward_hooks) for m in engine._model.t3.tfmr.modules())

    say(engine)
    after_one = hooks()
    for _ in range(6):
        say(engine)
    assert hooks() == after_one


def test_chinese_says_what_it_needs_when_offline(tmp_path: Path) -> None:
    engine = tiny_engine("chatterbox-multilingual", tmp_path, tokens=5)
    from voicelab.engines import Utterance

    values = {p.name: p.default for p in engine.info.parameters}
    utterance = Utterance("你好。", engine.prepare_voice(None), values, 1, "zh")
    with (
        mock.patch("spacy_pkuseg.pkuseg", side_effect=OSError("offline")),
        pytest.raises(SpeechFailed, match="Cangjie5_TC"),
    ):
        list(engine.speak([utterance], lambda _: False))


def test_a_text_over_the_models_length_is_one_sentence(english: ChatterboxEngine) -> None:
    with pytest.raises(SpeechFailed, match="more tokens"):
        say(english, "a" * 2100)


def test_a_checkpoint_without_a_voice_asks_for_a_clip(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "mute")
    (folder / "conds.pt").rename(folder / "conds.off")
    engine = ChatterboxEngine("chatterbox", device="cpu", checkpoint_dir=folder, threads=2)
    from tiny_chatterbox import small

    with small("chatterbox"):
        engine.load(lambda fraction, line: None)
    with pytest.raises(SpeechFailed, match="voice clip"):
        say(engine)
    assert len(say(engine, voice=clip(tmp_path / "v.wav")))


def test_missing_and_broken_weights_are_named(checkpoint: Path, tmp_path: Path) -> None:
    engine = ChatterboxEngine("chatterbox", checkpoint_dir=tmp_path)
    with pytest.raises(EngineUnavailable, match=r"lacks ve\.safetensors"):
        engine.load(lambda fraction, line: None)
    folder = shutil.copytree(checkpoint, tmp_path / "cut")
    weights = folder / "t3_cfg.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EngineUnavailable, match=r"t3_cfg\.safetensors cannot be read"):
        ChatterboxEngine("chatterbox", checkpoint_dir=folder).load(lambda fraction, line: None)


@pytest.mark.parametrize("name", CHATTERBOX_INFOS)
def test_presence_is_decided_within_two_seconds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    began = time.monotonic()

    def hang(*_: object, **__: object) -> None:
        time.sleep(4)
        raise OSError

    with mock.patch("socket.create_connection", side_effect=hang):
        found = presence(name)
    assert time.monotonic() - began < 2.2
    assert found.installed and not found.weights and "cannot be reached" in found.reason


def test_cached_weights_are_found_without_a_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert "HF_HUB_OFFLINE" in presence("chatterbox").reason
    repository = tmp_path / "hub" / "models--ResembleAI--chatterbox"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for file in (*FILES["chatterbox"][1], "conds.pt"):
        (snapshot / file).touch()
    assert presence("chatterbox").weights


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import voicelab.lab, voicelab.rest, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
