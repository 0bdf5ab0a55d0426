"""Which model an engine loads: Nano, versions of Multilingual, finetunes, and what is refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import hub as hubs
from hub import serving
from tiny_chatterbox import (
    as_upstreams_main_branch,
    build,
    new_engine,
    small,
)
from voicelab.engines import choice
from voicelab.engines.base import Presence, Utterance, Voice
from voicelab.engines.chatterbox import assembly, building, upstream
from voicelab.engines.chatterbox.checkpoints import (
    FILES,
    FINETUNES,
    MULTILINGUAL,
    MULTILINGUAL_V2,
    candidates,
    download_mb,
    found_files,
    missing_files,
)
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.fetching import fetch
from voicelab.engines.chatterbox.info import CHATTERBOX_INFOS
from voicelab.engines.chatterbox.suppression import suppressed_output
from voicelab.engines.chatterbox.voices import own_copy
from voicelab.engines.chatterbox.weights import presence
from voicelab.engines.registry import Registry
from voicelab.errors import EngineUnavailable
from voicelab.settings import Settings

ANALYZER = "chatterbox.models.t3.inference.alignment_stream_analyzer"
ES_MX = "chatterbox-es-mx"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Tiny checkpoints, built when asked for."""
    folder = tmp_path_factory.mktemp("checkpoints")

    class Built(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            build(name, folder / name)
            self[name] = folder / name
            return self[name]

    return Built()


def loaded(name: str, folder: Path, **options: Any) -> ChatterboxEngine:
    engine = new_engine(name, folder, **options)
    load(engine, name)
    return engine


def load(engine: ChatterboxEngine, name: str) -> None:
    with small(name):
        engine.load(lambda fraction, line: None)


def say(engine: ChatterboxEngine, seed: int = 1, text: str = "Hi there.") -> np.ndarray:
    values = {p.name: p.default for p in engine.info.parameters}
    language = next(iter(engine.info.languages))
    given = [Utterance(text, Voice(), values, seed, language)]
    spoken = list(engine.speak(given, lambda _: False))
    if spoken[0].failure:
        raise spoken[0].failure
    return spoken[0].audio


def penalty(info: Any) -> float:
    return next(p.default for p in info.parameters if p.name == "repetition_penalty")


def cached(home: Path, repository: str, *files: Path) -> None:
    """A repository in the Hugging Face cache."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text("abc")
    for file in files:
        shutil.copy(file, folder / "snapshots" / "abc")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and a hub that is there."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("voicelab.engines.chatterbox.weights.hub_reachable", lambda: True)
    monkeypatch.setattr("voicelab.engines.chatterbox.upstream.hub_reachable", lambda: True)
    return tmp_path


def test_nano_is_a_smaller_turbo(checkpoints: Mapping[str, Path]) -> None:
    from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS

    building.register_small_gpt2()
    medium, nano = LLAMA_CONFIGS["GPT2_medium"], LLAMA_CONFIGS["GPT2_small"]
    differ = {key: nano[key] for key in medium if nano[key] != medium[key]}
    assert differ == {"n_embd": 768, "hidden_size": 768, "n_head": 12, "n_layer": 12}
    engine = loaded("chatterbox-nano", checkpoints["chatterbox-nano"])
    assert engine.versions()["weights"] == "t3_nano_v1"
    assert engine.info.event_tags == CHATTERBOX_INFOS["chatterbox-turbo"].event_tags
    assert engine.info.parameters == CHATTERBOX_INFOS["chatterbox-turbo"].parameters


def test_a_newer_package_builds_nano_itself(checkpoints: Mapping[str, Path]) -> None:
    asked: list[tuple[Path, str, bool]] = []

    class Newer:
        @classmethod
        def from_local(cls, ckpt_dir: Path, device: str, nano: bool = False) -> str:
            asked.append((ckpt_dir, device, nano))
            return "a model"

    folder = checkpoints["chatterbox-nano"]
    files = found_files("chatterbox-nano", folder)
    assert building.build_nano(Newer, files, "cpu") == "a model"
    assert asked == [(folder, "cpu", True)]


def test_a_registered_size_is_left_as_it_is() -> None:
    from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS

    with mock.patch.dict(LLAMA_CONFIGS, {"GPT2_small": {"n_embd": 5}}):
        building.register_small_gpt2()
        assert LLAMA_CONFIGS["GPT2_small"] == {"n_embd": 5}


def test_v3_speaks_where_it_is_there(checkpoints: Mapping[str, Path], tmp_path: Path) -> None:
    both = Path(shutil.copytree(checkpoints[MULTILINGUAL], tmp_path / "both"))
    assert candidates(MULTILINGUAL, "auto", both) == (MULTILINGUAL,)
    assert candidates(MULTILINGUAL, "auto", checkpoints[MULTILINGUAL_V2]) == (MULTILINGUAL_V2,)
    shutil.copy(checkpoints[MULTILINGUAL_V2] / "t3_mtl23ls_v2.safetensors", both)
    assert candidates(MULTILINGUAL, "auto", both) == (MULTILINGUAL,)
    assert candidates(MULTILINGUAL, "v2", both) == (MULTILINGUAL_V2,)
    engine = loaded(MULTILINGUAL, both)
    assert engine.versions()["weights"] == "t3_mtl23ls_v3"
    assert penalty(engine.info) == 1.2
    with pytest.raises(EngineUnavailable, match=r"lacks t3_mtl23ls_v3\.safetensors"):
        loaded(MULTILINGUAL, checkpoints[MULTILINGUAL_V2], multilingual="v3")


def test_v2_keeps_its_penalty_and_is_named(checkpoints: Mapping[str, Path]) -> None:
    engine = loaded(MULTILINGUAL_V2, checkpoints[MULTILINGUAL_V2])
    assert engine.versions()["weights"] == "t3_mtl23ls_v2"
    assert penalty(engine.info) == 2.0
    settings = Settings(
        engine=MULTILINGUAL, checkpoint_dir=checkpoints[MULTILINGUAL_V2], multilingual_version="v2"
    )
    assert penalty(Registry(settings).info()) == 2.0


def test_the_cached_v2_speaks_when_v3_cannot_be_fetched(
    checkpoints: Mapping[str, Path], home: Path
) -> None:
    cached(home, "ResembleAI/chatterbox", *checkpoints[MULTILINGUAL_V2].iterdir())
    assert candidates(MULTILINGUAL, "auto", None) == (MULTILINGUAL, MULTILINGUAL_V2)
    assert 2000 < download_mb(MULTILINGUAL) < 2500 and download_mb(MULTILINGUAL_V2) == 0
    assert presence(MULTILINGUAL).weights and presence(MULTILINGUAL).info is None
    with mock.patch("voicelab.engines.chatterbox.weights.hub_reachable", return_value=False):
        found = presence(MULTILINGUAL)
    assert found.weights and found.info and penalty(found.info) == 2.0
    engine = ChatterboxEngine(MULTILINGUAL, threads=1)
    with mock.patch.object(upstream, "fetch", side_effect=EngineUnavailable("the hub failed.")):
        load(engine, MULTILINGUAL_V2)
    assert engine.versions()["weights"] == "t3_mtl23ls_v2" and penalty(engine.info) == 2.0


def test_the_last_token_of_v3_is_not_heard(checkpoints: Mapping[str, Path]) -> None:
    folder = checkpoints[MULTILINGUAL]
    ours, theirs = loaded(MULTILINGUAL, folder), loaded(MULTILINGUAL, folder, kernel="upstream")
    synthesis: Any = ours._speech._parts.synthesis  # pyright: ignore
    counts: list[int] = []
    waves = synthesis.waves

    def noted(pieces: Any) -> Any:
        counts.extend(len(piece.tokens) for piece in pieces)
        return waves(pieces)

    with mock.patch.object(synthesis, "waves", noted):
        assert len(say(ours)) == 960 * (counts[0] - 1)
    assert len(say(theirs)) == 960 * (counts[0] - 1)


@contextlib.contextmanager
def analyzer_deleted() -> Iterator[None]:
    """As in upstream's main branch: no module, and no name for it in T3's."""
    from chatterbox.models.t3 import t3

    with mock.patch.dict(sys.modules, {ANALYZER: None}), pytest.MonkeyPatch.context() as patch:
        patch.delattr(t3, "AlignmentStreamAnalyzer")
        yield


@pytest.mark.parametrize("name", [MULTILINGUAL, MULTILINGUAL_V2])
def test_nothing_needs_the_analyzer(checkpoints: Mapping[str, Path], name: str) -> None:
    with analyzer_deleted():
        engine = loaded(name, checkpoints[name])
        assert not engine._speech.model.t3.rules.checks_alignment  # pyright: ignore
        assert len(say(engine)) > 2000


def test_a_finetune_speaks_with_files_of_two_repositories(
    checkpoints: Mapping[str, Path], home: Path
) -> None:
    folder = checkpoints[ES_MX]
    own = [folder / "t3_es_mx_latam.safetensors", folder / "s3gen_v3.safetensors"]
    shared = [folder / "ve.safetensors", folder / "conds.pt"]
    assert download_mb(ES_MX) > 3000
    assert presence(ES_MX).weights and "3.2 GB" in presence(ES_MX).reason
    cached(home, FILES[ES_MX][0], *own, folder / "grapheme_mtl_merged_expanded_v1.json")
    assert download_mb(ES_MX) < 10
    cached(home, "ResembleAI/chatterbox", *shared)
    assert presence(ES_MX).reason == "Its weights are in the Hugging Face cache."
    assert download_mb(ES_MX) == 0
    engine = ChatterboxEngine(ES_MX, threads=1)
    load(engine, ES_MX)
    assert engine.versions()["weights"] == "t3_es_mx_latam"
    in_folder = loaded(ES_MX, folder)
    assert np.array_equal(say(engine), say(in_folder))


def test_a_finetune_sounds_as_upstream_does(checkpoints: Mapping[str, Path]) -> None:
    engine = loaded(ES_MX, checkpoints[ES_MX], kernel="upstream")
    real: Any = engine._speech.model  # pyright: ignore
    spoken = say(engine, seed=9)
    with (
        torch.inference_mode(),
        suppressed_output(),
        as_upstreams_main_branch(real),
        mock.patch.object(real, "conds", own_copy(real.conds)),
    ):
        torch.manual_seed(9)
        wave = real.generate("Hi there.", language_id="es", repetition_penalty=1.2)
    assert np.array_equal(spoken, wave.squeeze(0).numpy())


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ((), r"exactly one file t3_\*\.safetensors"),
        (("t3_a.safetensors", "t3_b.safetensors"), r"there are t3_a\.safetensors, t3_b"),
        (
            ("t3_mtl23ls_v3.safetensors", "t3_pt_br.safetensors"),
            r"one file t3_\*\.safetensors[^(]*$",
        ),
    ],
)
def test_a_finetune_has_one_t3_file(tmp_path: Path, there: tuple[str, ...], sentence: str) -> None:
    for file in ("ve.pt", "s3gen_v3.pt", "grapheme_mtl_merged_expanded_v1.json", *there):
        (tmp_path / file).touch()
    with pytest.raises(EngineUnavailable, match=sentence):
        loaded(ES_MX, tmp_path)
    (tmp_path / "t3_es_mx.safetensors").touch()
    assert bool(missing_files(ES_MX, tmp_path)) is ("t3_a.safetensors" in there)


def test_only_what_a_finetune_needs_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, tokenizer = FILES["chatterbox-hi"][0], "grapheme_mtl_merged_expanded_v1.json"
    listing = ["README.md", "s3gen_v3.pt", "s3gen_v3.safetensors", "t3_hi.safetensors"]
    shared = ["ve.safetensors", "t3_cfg.safetensors"]
    contents = {name: name.encode() for name in (*listing, *shared, tokenizer, "conds.pt")}
    with serving(contents) as hub:
        hubs.use(hub, tmp_path / "cache", monkeypatch)
        hub.listings = {own: [*listing, tokenizer, "conds.pt"], "ResembleAI/chatterbox": shared}
        own_folder, shared_folder = fetch("chatterbox-hi", lambda *_: None)
        assert {path.name for path in own_folder.iterdir()} == {
            *("t3_hi.safetensors", "s3gen_v3.safetensors", tokenizer, "conds.pt")
        }
        assert [path.name for path in shared_folder.iterdir()] == ["ve.safetensors"]
        hub.listings = {own: listing[:3]}
        with pytest.raises(EngineUnavailable, match=r"not exactly one t3_\*.*it has s3gen_v3\.pt"):
            fetch("chatterbox-hi", lambda *_: None)


def test_a_repository_without_v3_is_told(
    checkpoints: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = dict.fromkeys((path.name for path in checkpoints[MULTILINGUAL_V2].iterdir()), b"x")
    with serving(contents) as hub:
        hubs.use(hub, tmp_path / "cache", monkeypatch)
        with pytest.raises(EngineUnavailable, match=r"lacks t3_mtl23ls_v3\.safetensors; it has "):
            ChatterboxEngine(MULTILINGUAL).load(lambda fraction, line: None)


def test_chinese_finds_the_table_of_the_other_repository(
    checkpoints: Mapping[str, Path], home: Path, tmp_path: Path
) -> None:
    table = tmp_path / "Cangjie5_TC.json"
    table.write_text(json.dumps(["你\tonf", "好\tvnd"]), encoding="utf-8")
    cached(home, "ResembleAI/chatterbox", table)
    engine = loaded("chatterbox-zh", checkpoints["chatterbox-zh"])
    with mock.patch("spacy_pkuseg.pkuseg", return_value=mock.Mock(cut=lambda text: [text])):
        assert len(say(engine, text="你好。")) > 2000


def test_the_finetunes_are_engines() -> None:
    for name in FINETUNES:
        info = CHATTERBOX_INFOS[name]
        assert len(info.languages) == 1 and info.offered
        assert next(iter(info.languages)) in CHATTERBOX_INFOS[MULTILINGUAL].languages
    assert CHATTERBOX_INFOS["chatterbox-pt-br"].label == "Chatterbox Portuguese (Brazil)"


def test_a_folder_of_another_model_is_told(checkpoints: Mapping[str, Path]) -> None:
    folder = checkpoints["chatterbox-turbo"]
    sentence = r"lacks t3_nano_v1\.safetensors; it has the weights of chatterbox-turbo\."
    with pytest.raises(EngineUnavailable, match=rf"^the checkpoint folder {sentence}$"):
        loaded("chatterbox-nano", folder)
    assert presence("chatterbox-nano", folder).reason.startswith("The checkpoint folder lacks")


def test_weights_of_turbo_named_as_nanos_are_told(
    checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints["chatterbox-turbo"], tmp_path / "nano"))
    (folder / "t3_turbo_v1.safetensors").rename(folder / "t3_nano_v1.safetensors")
    with pytest.raises(EngineUnavailable, match=r"do not fit the model \(t3_nano_v1"):
        loaded("chatterbox-nano", folder)


def test_half_a_download_is_told_and_may_be_completed(
    checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints["chatterbox-nano"], tmp_path / "nano"))
    path = folder / "t3_nano_v1.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    engine = new_engine("chatterbox-nano", folder)
    with pytest.raises(EngineUnavailable, match=r"^t3_nano_v1\.safetensors cannot be read"):
        load(engine, "chatterbox-nano")
    assert not presence("chatterbox-nano", folder).weights
    path.write_bytes(whole)
    load(engine, "chatterbox-nano")
    assert len(say(engine)) > 2000


@pytest.mark.parametrize("place", ["load_file", "SelfTest", "Synthesis"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_that_ends_while_loading_is_one_sentence(
    checkpoints: Mapping[str, Path], place: str, error: Exception
) -> None:
    engine = new_engine("chatterbox-nano", checkpoints["chatterbox-nano"])
    owner = building if place == "load_file" else assembly
    with (
        mock.patch.object(owner, place, side_effect=error),
        pytest.raises(EngineUnavailable, match=r"^there is not enough memory for its weights\.$"),
    ):
        load(engine, "chatterbox-nano")
    assert engine._speech is None
    load(engine, "chatterbox-nano")
    assert len(say(engine)) > 2000


def test_what_a_failed_load_had_made_is_freed(checkpoints: Mapping[str, Path]) -> None:
    made: list[Any] = []

    def fail(name: str, model: Any, device: str, **_: Any) -> None:
        made.append(weakref.ref(model.t3))
        raise MemoryError

    engine = new_engine("chatterbox-nano", checkpoints["chatterbox-nano"])
    with mock.patch.object(assembly, "SelfTest", fail), pytest.raises(EngineUnavailable) as caught:
        load(engine, "chatterbox-nano")
    assert made[0]() is None
    assert caught.value


def test_what_was_fetched_is_not_fetched_again(
    checkpoints: Mapping[str, Path], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "chatterbox-nano"
    engines = Registry(Settings(engine=name))
    assert engines.presence(name).download_mb > 1900

    contents = {path.name: path.read_bytes() for path in checkpoints[name].iterdir()}
    with serving(contents) as hub, small(name):
        hubs.use(hub, tmp_path / "cache", monkeypatch)
        engines.load(name)
    assert engines.presence(name).download_mb == 0
    engines.close()


@pytest.mark.parametrize(
    ("gpu", "here", "right"),
    [
        (False, {"chatterbox-nano", "chatterbox-turbo", "chatterbox"}, "chatterbox-nano"),
        (False, {"chatterbox-turbo", "chatterbox"}, "chatterbox-turbo"),
        (False, {"chatterbox"}, "chatterbox"),
        (True, {"chatterbox-nano", "chatterbox-turbo", "chatterbox"}, "chatterbox"),
    ],
)
def test_the_engine_is_chosen_for_the_machine(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, here: set[str], right: str
) -> None:
    def look(self: Registry) -> dict[str, Presence]:
        return {name: Presence(True, name in here, "It is.") for name in CHATTERBOX_INFOS}

    monkeypatch.setattr(choice, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(Registry, "_look", look)
    chosen = Registry(Settings())
    assert chosen.default == right
    assert ("There is no GPU" in chosen.reason) is not gpu
