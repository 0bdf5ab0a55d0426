"""The real chatterbox classes on a tiny checkpoint: the traps of upstream."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_chatterbox
from tests.threads import at_once
from tiny_chatterbox import (
    MODELS,
    as_upstreams_main_branch,
    build,
    clip,
    new_engine,
    small,
    tiny_engine,
)
from voicelab.engines.base import Spoken, Utterance, Voice
from voicelab.engines.chatterbox import decoding, fallback
from voicelab.engines.chatterbox.checkpoints import FILES
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.state_loading import StateFromFiles, owned
from voicelab.engines.chatterbox.suppression import suppressed_output
from voicelab.engines.chatterbox.voices import Voices, hashed, own_copy
from voicelab.engines.chatterbox.weights import presence
from voicelab.errors import BadClip, EngineUnavailable, SpeechFailed

Engines = Callable[..., ChatterboxEngine]
KERNELS = ("auto", "upstream")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Each variant's engine, built once; with our loops, or with kernel="upstream"."""
    made: dict[tuple[str, str], ChatterboxEngine] = {}
    folder = tmp_path_factory.mktemp("checkpoints")

    def make(name: str, kernel: str = "auto") -> ChatterboxEngine:
        if (name, kernel) not in made:
            made[name, kernel] = tiny_engine(name, folder / name, kernel=kernel)
        return made[name, kernel]

    yield make
    for engine in made.values():
        engine.close()


@pytest.fixture(params=MODELS)
def engine(request: pytest.FixtureRequest, engines: Engines) -> ChatterboxEngine:
    return engines(request.param)


@pytest.fixture(params=MODELS)
def upstream(request: pytest.FixtureRequest, engines: Engines) -> ChatterboxEngine:
    """Speaks with upstream's own generate."""
    return engines(request.param, "upstream")


@pytest.fixture(params=[(name, kernel) for name in MODELS for kernel in KERNELS])
def either(request: pytest.FixtureRequest, engines: Engines) -> ChatterboxEngine:
    return engines(*request.param)


@pytest.fixture
def english(engines: Engines) -> ChatterboxEngine:
    return engines("chatterbox")


@pytest.fixture
def multilingual(engines: Engines) -> ChatterboxEngine:
    return engines("chatterbox-multilingual")


@pytest.fixture
def spare(english: ChatterboxEngine, tmp_path: Path) -> Path:
    """A checkpoint of the English model to break."""
    assert english._checkpoint_dir
    return Path(shutil.copytree(english._checkpoint_dir, tmp_path / "spare"))


def speak(
    engine: ChatterboxEngine,
    text: str = "Hi there.",
    *,
    seed: int = 1,
    voice: Path | None = None,
    language: str = "en",
    cancelled: Callable[[int], bool] = lambda _: False,
    **parameters: float,
) -> list[Spoken]:
    values = {p.name: p.default for p in engine.info.parameters} | parameters
    utterance = Utterance(text, engine.prepare_voice(voice), values, seed, language)
    spoken = list(engine.speak([utterance], cancelled))
    for one in spoken:
        if one.failure is not None:
            raise one.failure
    return spoken


def say(engine: ChatterboxEngine, text: str = "Hi there.", **options) -> np.ndarray:
    return speak(engine, text, **options)[0].audio


def load(name: str, folder: Path) -> ChatterboxEngine:
    engine = new_engine(name, folder)
    with small(name):
        engine.load(lambda fraction, line: None)
    return engine


def model(engine: ChatterboxEngine) -> Any:
    assert engine._speech is not None
    return engine._speech.model


def hooks(engine: ChatterboxEngine) -> int:
    modules = [*model(engine).t3.modules(), *model(engine).s3gen.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def test_one_seed_gives_one_sound_and_another_another(engine: ChatterboxEngine) -> None:
    first, again, other = say(engine, seed=5), say(engine, seed=5), say(engine, seed=6)
    assert first.dtype == np.float32 and len(first) > 2000
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_fallback_sounds_as_upstream_does(upstream: ChatterboxEngine) -> None:
    engine = upstream
    language = {"language_id": "en"} if len(engine.info.languages) > 1 else {}
    spoken, real = say(engine, seed=9), model(engine)
    with (
        torch.inference_mode(),
        suppressed_output(),
        as_upstreams_main_branch(real),
        mock.patch.object(real, "conds", own_copy(real.conds)),
    ):
        torch.manual_seed(9)
        wave = real.generate("Hi there.", **language)
    assert np.array_equal(spoken, wave.squeeze(0).numpy())


def test_voices_do_not_leak_into_each_other(engine: ChatterboxEngine, tmp_path: Path) -> None:
    own = say(engine)
    low, high = clip(tmp_path / "a.wav", 120), clip(tmp_path / "b.wav", 220)
    first, other, again = (say(engine, voice=voice) for voice in (low, high, low))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, own)
    assert np.array_equal(own, say(engine))


@pytest.mark.cpu
def test_two_threads_give_what_one_gives(engine: ChatterboxEngine) -> None:
    texts = ["One.", "Another one."]
    alone = [say(engine, text) for text in texts]
    together = at_once(*(partial(say, engine, text) for text in texts))
    assert all(map(np.array_equal, together, alone))


@pytest.mark.cpu
def test_two_engines_do_not_disturb_each_others_seed(engines: Engines) -> None:
    both = [engines("chatterbox"), engines("chatterbox-turbo")]
    alone = [say(engine) for engine in both]
    together = at_once(*(partial(say, engine) for engine in both))
    assert all(map(np.array_equal, together, alone))


@pytest.mark.parametrize("place", ["tokens", "flow"])
def test_cancelling_stops_within_a_step_and_leaves_nothing(
    either: ChatterboxEngine, place: str
) -> None:
    engine = either
    before, polls = say(engine), 0

    def count(_: int) -> bool:
        nonlocal polls
        polls += 1
        return False

    speak(engine, cancelled=count)
    hooked, asked = hooks(engine), 0
    # The first polls are the tokens', the last ones the flow's.
    end = 4 if place == "tokens" else polls

    def stop(_: int) -> bool:
        nonlocal asked
        asked += 1
        return asked >= end

    assert speak(engine, cancelled=stop) == []
    assert asked == end
    assert hooks(engine) == hooked
    assert not {"inference", "inference_turbo"} & vars(model(engine).t3).keys()
    assert np.array_equal(before, say(engine))


def test_cancelling_is_asked_for_in_the_flow_too(upstream: ChatterboxEngine) -> None:
    engine = upstream
    estimator = model(engine).s3gen.flow.decoder.estimator
    asked_in_flow = False

    def look(_: int) -> bool:
        nonlocal asked_in_flow
        frame = sys._getframe()
        while frame and not asked_in_flow:
            asked_in_flow = frame.f_locals.get("self") is estimator
            frame = frame.f_back
        return False

    speak(engine, cancelled=look)
    assert asked_in_flow


@pytest.mark.parametrize("kernel", KERNELS)
def test_multilingual_calls_do_not_gather_hooks(engines: Engines, kernel: str) -> None:
    multilingual = engines("chatterbox-multilingual-v2", kernel)
    say(multilingual)
    after_one = hooks(multilingual)
    for _ in range(3):
        say(multilingual)
    assert hooks(multilingual) == after_one


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["chatterbox", "chatterbox-multilingual-v2"])
def test_a_cfg_weight_of_zero_speaks(engines: Engines, name: str, kernel: str) -> None:
    assert len(say(engines(name, kernel), cfg_weight=0.0)) > 2000


def test_a_cfg_weight_of_zero_leaves_the_logits_alone(engines: Engines) -> None:
    english = engines("chatterbox", "upstream")
    given = {}
    real = model(english).generate

    def generate(text: str, **arguments: float) -> torch.Tensor:
        given.update(arguments)
        return real(text, **arguments)

    with mock.patch.object(model(english), "generate", generate):
        say(english, cfg_weight=0.0)
    assert given["cfg_weight"] > 0
    assert torch.as_tensor(given["cfg_weight"], dtype=torch.float32).item() == 0


@pytest.mark.parametrize(
    ("name", "function", "limit"),
    [
        ("chatterbox", "inference", "max_new_tokens"),
        ("chatterbox-turbo", "inference_turbo", "max_gen_len"),
    ],
)
def test_the_length_limit_is_noticed(
    engines: Engines, name: str, function: str, limit: str
) -> None:
    """Upstream's 1,000 tokens, lowered to 15 in the loop itself: 40 s of audio take long."""
    engine = engines(name, "upstream")
    kind = type(model(engine).t3)
    real = getattr(kind, function)

    def limited(*args, **kwargs) -> torch.Tensor:
        return real(*args, **{**kwargs, limit: 15})

    assert not speak(engine)[0].capped
    with mock.patch.object(fallback, "CAP_TOKENS", 15), mock.patch.object(kind, function, limited):
        assert speak(engine)[0].capped


def test_start_and_end_tokens_that_come_twice_are_dropped(engines: Engines) -> None:
    english = engines("chatterbox", "upstream")
    drawn = torch.tensor([[10, 6561, 11, 6561, 12, 6562, 13, 6562]])
    with mock.patch.object(type(model(english).t3), "inference", lambda *_, **__: drawn):
        assert len(say(english)) == 3 * 960


def test_a_model_that_ends_at_once_is_one_sentence(engines: Engines) -> None:
    english = engines("chatterbox", "upstream")
    drawn = torch.tensor([[6562]])
    with (
        mock.patch.object(type(model(english).t3), "inference", lambda *_, **__: drawn),
        pytest.raises(SpeechFailed, match="before it began"),
    ):
        say(english)


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (torch.full((1, 10), float("nan")), "finite"),
        (torch.zeros(1, 0), "empty"),
    ],
)
def test_audio_that_is_none_is_not_given(engines: Engines, wave: torch.Tensor, reason: str) -> None:
    english = engines("chatterbox", "upstream")
    with (
        mock.patch.object(model(english), "generate", return_value=wave),
        pytest.raises(SpeechFailed, match=reason),
    ):
        say(english)


def test_errors_of_upstream_are_translated(engines: Engines) -> None:
    english = engines("chatterbox", "upstream")
    error = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    with (
        mock.patch.object(model(english), "generate", side_effect=error),
        pytest.raises(SpeechFailed, match="not enough memory"),
    ):
        say(english)


@pytest.mark.parametrize("name", ["chatterbox", "chatterbox-turbo", "chatterbox-nano"])
def test_our_loop_notices_the_length_limit(engines: Engines, name: str) -> None:
    assert not speak(engines(name))[0].capped
    with mock.patch.object(decoding, "CAP_TOKENS", 15):
        assert speak(engines(name))[0].capped


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["chatterbox", "chatterbox-turbo"])
def test_a_text_over_the_models_length_is_one_sentence(
    engines: Engines, name: str, kernel: str
) -> None:
    with pytest.raises(SpeechFailed, match="more tokens"):
        say(engines(name, kernel), "a" * 2100)


def test_a_clip_is_encoded_once(engine: ChatterboxEngine, tmp_path: Path) -> None:
    voice = clip(tmp_path / "v.wav", 170)
    real = model(engine).prepare_conditionals
    with mock.patch.object(model(engine), "prepare_conditionals", side_effect=real) as encode:
        say(engine, voice=voice)
        say(engine, voice=voice, temperature=0.7)
    assert encode.call_count == 1


def test_the_voice_unused_for_longest_is_forgotten(tmp_path: Path) -> None:
    made: list[str] = []

    def encode(path: str) -> None:
        made.append(Path(path).read_text()[0])

    voices = Voices(mock.Mock(prepare_conditionals=encode), size=2)
    for key in ("a", "b", "a", "c", "a", "b"):
        path = tmp_path / key
        path.write_text(key)
        voices.get(Voice(hashed(path), path))
    assert made == ["a", "b", "c", "b"]
    assert len(voices) == 2


def test_exaggeration_of_one_call_does_not_stay(english: ChatterboxEngine, tmp_path: Path) -> None:
    voice = clip(tmp_path / "v.wav", 150)
    before = say(english), say(english, voice=voice)
    say(english, exaggeration=2.0)
    say(english, voice=voice, exaggeration=2.0)
    assert np.array_equal(before[0], say(english))
    assert np.array_equal(before[1], say(english, voice=voice))


def test_a_clip_that_changed_is_not_kept_for_the_old_one(
    english: ChatterboxEngine, tmp_path: Path
) -> None:
    old = english.prepare_voice(clip(tmp_path / "v.wav", 131))
    clip(tmp_path / "v.wav", 231)
    values = {p.name: p.default for p in english.info.parameters}
    with pytest.raises(SpeechFailed, match="was changed"):
        spoken = list(english.speak([Utterance("Hi.", old, values, 1, "en")], lambda _: False))
        raise spoken[0].failure or AssertionError("it spoke")


@pytest.mark.parametrize("name", ["chatterbox-turbo", "chatterbox-nano"])
def test_a_clip_of_five_seconds_is_refused(engines: Engines, name: str, tmp_path: Path) -> None:
    label = CHATTERBOX_INFOS[name].label
    with pytest.raises(BadClip, match=rf"4\.0 s of sound; {label} needs more than 5 s"):
        engines(name).prepare_voice(clip(tmp_path / "v.wav", duration_s=4))


def test_a_clip_that_is_no_sound_is_one_sentence(engines: Engines, tmp_path: Path) -> None:
    voice = tmp_path / "v.wav"
    with pytest.raises(BadClip, match="cannot be read"):
        engines("chatterbox").prepare_voice(voice)
    voice.write_bytes(b"no sound")
    with pytest.raises(BadClip, match="not a WAV file"):
        engines("chatterbox-turbo").prepare_voice(voice)
    with pytest.raises(SpeechFailed, match="cannot be encoded"):
        say(engines("chatterbox"), voice=voice)


def test_nothing_is_written_to_the_terminal(
    engine: ChatterboxEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    stdout, stderr = sys.stdout, sys.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say(engine)
    assert capfd.readouterr() == ("", "")
    assert (sys.stdout, sys.stderr) == (stdout, stderr)


def test_what_others_change_of_filters_and_streams_meanwhile_stays(engines: Engines) -> None:
    english = engines("chatterbox", "upstream")
    real, mine = model(english).generate, io.StringIO()

    def generate(text: str, **arguments: float) -> torch.Tensor:
        warnings.filterwarnings("ignore", message="mine")
        sys.stdout = mine
        return real(text, **arguments)

    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(None),
        mock.patch.object(model(english), "generate", generate),
    ):
        say(english)
        assert sys.stdout is mine
        assert any("mine" in str(one[1]) for one in warnings.filters)
    assert mine.getvalue() == ""


def test_other_threads_may_print_while_a_clip_is_encoded(
    english: ChatterboxEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = model(english).prepare_conditionals

    def encode(path: str) -> None:
        print("from upstream")
        other = threading.Thread(target=print, args=("from elsewhere",))
        other.start()
        other.join()
        real(path)

    with mock.patch.object(model(english), "prepare_conditionals", encode):
        say(english, voice=clip(tmp_path / "v.wav", 90))
    assert capsys.readouterr().out == "from elsewhere\n"


def test_chinese_says_what_it_needs_when_offline(multilingual: ChatterboxEngine) -> None:
    with pytest.raises(SpeechFailed, match="Cangjie5_TC"):
        say(multilingual, "你好。", language="zh")
    assert len(say(multilingual, "Guten Tag.", language="de")) > 2000


def test_chinese_uses_the_table_beside_the_weights(tmp_path: Path) -> None:
    engine = tiny_engine("chatterbox-multilingual", tmp_path, tokens=5)
    (tmp_path / "Cangjie5_TC.json").write_text(json.dumps(["你\tonf", "好\tvnd"]), encoding="utf-8")
    segmenter = mock.Mock(cut=lambda text: [text])
    with mock.patch("spacy_pkuseg.pkuseg", return_value=segmenter):
        assert len(say(engine, "你好。", language="zh"))
    assert model(engine).tokenizer.cangjie_converter("你") == "[cj_o][cj_n][cj_f][cj_.]"


def test_a_checkpoint_without_a_voice_asks_for_a_clip(spare: Path, tmp_path: Path) -> None:
    (spare / "conds.pt").unlink()
    engine = load("chatterbox", spare)
    with pytest.raises(SpeechFailed, match="voice clip"):
        say(engine)
    assert len(say(engine, voice=clip(tmp_path / "v.wav"))) > 2000
    with pytest.raises(SpeechFailed, match="voice clip"):
        say(engine)


@pytest.mark.parametrize("file", FILES["chatterbox"][1])
def test_a_missing_file_is_named(spare: Path, file: str) -> None:
    (spare / file).unlink()
    with pytest.raises(EngineUnavailable, match=f"lacks {file}"):
        load("chatterbox", spare)


@pytest.mark.parametrize("file", [*FILES["chatterbox"][1], "conds.pt"])
def test_a_file_cut_short_is_named(spare: Path, file: str) -> None:
    path = spare / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EngineUnavailable, match=f"^{file} cannot be read"):
        load("chatterbox", spare)
    found = presence("chatterbox", spare)
    if path.suffix != ".json":
        assert not found.weights and found.reason.startswith(f"{file} in the checkpoint folder")


def test_a_tensor_that_the_file_lacks_does_not_stay_random(spare: Path) -> None:
    tensors = load_file(spare / "s3gen.safetensors")
    del tensors["flow.input_embedding.weight"]
    save_file(tensors, spare / "s3gen.safetensors")
    with pytest.raises(EngineUnavailable, match=r"lack 1 tensors, flow\.input_embedding\.weight"):
        load("chatterbox", spare)


def test_nothing_is_drawn_at_random_while_weights_are_loaded() -> None:
    state = {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}
    generator = torch.get_rng_state()
    with StateFromFiles():
        module = torch.nn.Linear(2, 3)
        module.load_state_dict(state)
        half = torch.nn.Linear(2, 3)
        half.load_state_dict({name: tensor.half() for name, tensor in state.items()})
    assert torch.equal(generator, torch.get_rng_state())
    assert module.weight.data_ptr() == state["weight"].data_ptr()
    assert half.weight.dtype == torch.float32 and torch.equal(half.weight, state["weight"])
    owned(module)
    assert module.weight.data_ptr() != state["weight"].data_ptr()
    torch.nn.Linear(2, 3)
    assert not torch.equal(generator, torch.get_rng_state())


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_checkpoint_may_be_cut_once_it_is_loaded(spare: Path, kernel: str) -> None:
    engine = tiny_engine("chatterbox", spare, kernel=kernel)
    before = say(engine)
    for path in spare.iterdir():
        os.truncate(path, 0)
    assert np.array_equal(before, say(engine))


def test_weights_of_another_size_are_named(spare: Path) -> None:
    shutil.copy(spare / "t3_cfg.safetensors", spare / "ve.safetensors")
    with pytest.raises(EngineUnavailable, match=r"do not fit the model \(ve\.safetensors\)"):
        load("chatterbox", spare)


def test_a_failed_load_may_be_tried_again(spare: Path) -> None:
    engine = ChatterboxEngine(
        "chatterbox", device=tiny_chatterbox.DEVICE, checkpoint_dir=spare, threads=2
    )
    (spare / "tokenizer.json").rename(spare / "elsewhere")
    with pytest.raises(EngineUnavailable):
        engine.load(lambda fraction, line: None)
    (spare / "elsewhere").rename(spare / "tokenizer.json")
    with small("chatterbox"):
        engine.load(lambda fraction, line: None)
    assert len(say(engine)) > 2000


def test_a_closed_engine_does_not_speak_until_loaded(spare: Path) -> None:
    engine = load("chatterbox", spare)
    before = say(engine)
    engine.close()
    with pytest.raises(EngineUnavailable, match="not loaded"):
        say(engine)
    with small("chatterbox"):
        engine.load(lambda fraction, line: None)
    assert np.array_equal(before, say(engine))


def test_a_missing_watermarker_says_what_to_install(spare: Path) -> None:
    with (
        mock.patch("perth.PerthImplicitWatermarker", None),
        pytest.raises(EngineUnavailable, match="setuptools<81"),
    ):
        load("chatterbox", spare)


def test_a_missing_package_is_named(spare: Path) -> None:
    with (
        mock.patch.dict(sys.modules, {"perth": None}),
        pytest.raises(EngineUnavailable, match="not installed or incomplete"),
    ):
        load("chatterbox", spare)


def test_weights_of_the_cache_are_loaded_without_a_network(
    spare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="HF_HUB_OFFLINE"):
        ChatterboxEngine("chatterbox").load(lambda fraction, line: None)
    assert "HF_HUB_OFFLINE" in presence("chatterbox").reason
    repository = tmp_path / "hub" / "models--ResembleAI--chatterbox"
    shutil.copytree(spare, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert presence("chatterbox").weights
    engine = ChatterboxEngine("chatterbox", device=tiny_chatterbox.DEVICE, threads=2)
    with small("chatterbox"):
        engine.load(lambda fraction, line: None)
    assert len(say(engine)) > 2000
    (repository / "snapshots" / "abc" / "conds.pt").unlink()
    assert not presence("chatterbox").weights


def test_a_download_that_breaks_off_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with (
        mock.patch("socket.create_connection"),
        mock.patch("huggingface_hub.snapshot_download", side_effect=ConnectionError("reset")),
        pytest.raises(EngineUnavailable, match="cannot be fetched from the Hugging Face hub"),
    ):
        ChatterboxEngine("chatterbox").load(lambda fraction, line: None)


@pytest.mark.parametrize("name", CHATTERBOX_INFOS)
def test_presence_is_decided_in_time_without_a_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    never = threading.Event()

    def hang(*_: object, **__: object) -> None:
        never.wait(60)
        raise TimeoutError

    began = time.monotonic()
    with mock.patch("socket.create_connection", side_effect=hang):
        found = presence(name)
    never.set()
    assert time.monotonic() - began < 30
    assert found.installed and not found.weights and "cannot be reached" in found.reason


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("huggingface.co", 443)),
        ({"HF_ENDPOINT": "http://mirror.test:8080"}, ("mirror.test", 8080)),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, ("proxy.test", 3128)),
        (
            {"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "huggingface.co"},
            ("huggingface.co", 443),
        ),
    ],
)
def test_the_hub_is_tried_where_it_would_be_fetched_from(
    environment: dict[str, str],
    address: tuple[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    opened = mock.Mock(spec=socket.socket)
    with mock.patch("socket.create_connection", return_value=opened) as connect:
        assert presence("chatterbox").weights
    assert connect.call_args.args[0] == address


def test_a_checkpoint_folder_is_looked_into(spare: Path) -> None:
    assert presence("chatterbox", spare).weights
    found = presence("chatterbox-turbo", spare)
    assert not found.weights and "lacks t3_turbo_v1.safetensors" in found.reason


def test_importing_the_package_does_not_import_torch() -> None:
    code = (
        "import voicelab.engines.chatterbox as c, sys; c.presence('chatterbox'); "
        "sys.exit(bool({'torch', 'chatterbox', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_build_writes_what_each_variant_needs(tmp_path: Path) -> None:
    for name in MODELS:
        build(name, tmp_path / name)
        assert all((tmp_path / name / file).is_file() for file in FILES[name][1])
