"""Takes made again, resumed, changed by a sentence; the chunks kept for that."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import MakeLab, blocked_engine, wait_for
from voicelab.audio.codecs import read
from voicelab.errors import Conflict, EngineUnavailable, InvalidInput, NotFound, SpeechFailed
from voicelab.generation.cache import ChunkCache, chunk_key
from voicelab.lab import VoiceLab
from voicelab.library import Policy
from voicelab.records import GenerationRequest

SENTENCES = [f"This is sentence number {n} of a text that is cut into chunks." for n in range(5)]
TEXT = " ".join(SENTENCES)


def samples(lab: VoiceLab, id: str) -> np.ndarray:
    return read(lab.library.audio_path(id))[0]


def generate(lab: VoiceLab, text: str = TEXT, **fields) -> dict:
    return lab.drain(lab.stream(GenerationRequest(text, **fields)))


@pytest.fixture
def spoken_texts(lab: VoiceLab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that reach the engine."""
    spoken: list[str] = []
    engine = lab.registry.engine("tone")
    real = engine.speak

    def speak(utterances, cancelled, *more):
        spoken.extend(utterance.text for utterance in utterances)
        return real(utterances, cancelled, *more)

    monkeypatch.setattr(engine, "speak", speak)
    return spoken


def test_regenerating_adds_a_version_with_a_new_seed(lab: VoiceLab) -> None:
    record = generate(lab, seed=1, parameters={"level": 0.5})
    again = lab.drain(lab.regenerate(record["id"], seed=99))
    assert again["id"] == record["id"] and again["status"] == "completed"
    assert [v["label"] for v in again["versions"]] == ["original", "regenerated"]
    assert [v["is_default"] for v in again["versions"]] == [False, True]
    assert again["seed"] == 99 and again["chunks"][1]["seed"] == 100
    assert again["parameters"] == record["parameters"]
    assert again["audio_path"] == again["versions"][1]["audio_path"]
    assert again["size_bytes"] == sum(v["size_bytes"] for v in again["versions"])
    assert len(lab.history) == 1


def test_retrying_gives_the_same_samples_without_the_cache(lab: VoiceLab, spoken_texts) -> None:
    record = generate(lab, seed=5)
    before = samples(lab, record["id"])
    spoken_texts.clear()
    lab.drain(lab.retry(record["id"]))
    assert np.array_equal(before, samples(lab, record["id"]))
    assert len(spoken_texts) == 5


def test_a_failed_take_is_resumed_with_its_missing_chunks_alone(
    lab: VoiceLab, spoken_texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = lab.registry.engine("tone")
    monkeypatch.setattr(engine, "_fail_on", "number 3")
    take = lab.stream(GenerationRequest(TEXT, seed=3))
    with pytest.raises(SpeechFailed, match="number 3"):
        lab.drain(take)
    assert lab.history.get(take.id)["status"] == "failed"
    monkeypatch.setattr(engine, "_fail_on", "")
    spoken_texts.clear()
    record = lab.drain(lab.resume(take.id))
    assert record["status"] == "completed" and record["error"] is None
    assert [text[-30:] for text in spoken_texts] == [s[-30:] for s in SENTENCES[3:]]
    whole = generate(lab, seed=3)
    assert np.array_equal(samples(lab, record["id"]), samples(lab, whole["id"]))
    with pytest.raises(Conflict, match="finished"):
        lab.resume(take.id)


def test_a_take_interrupted_by_a_dead_process_is_resumable(make_lab: MakeLab) -> None:
    lab = make_lab()
    record = generate(lab, seed=3)
    lab.library.store.patch("generations", record["id"], {"status": "pending", "audio_path": None})
    lab.library.store.delete("versions", record["active_version_id"])
    lab.close()
    lab = make_lab()
    assert lab.history.get(record["id"])["error"] == "interrupted"
    again = lab.drain(lab.resume(record["id"]))
    assert again["status"] == "completed" and again["duration"] == record["duration"]


def test_one_sentence_again_leaves_the_others_as_they_are(lab: VoiceLab, spoken_texts) -> None:
    record = generate(lab, seed=1)
    spoken_texts.clear()
    again = lab.drain(lab.regenerate_chunk(record["id"], 2, seed=777))
    assert spoken_texts == [SENTENCES[2]]
    assert [c["seed"] for c in again["chunks"]] == [1, 2, 777, 4, 5]
    assert again["versions"][-1]["label"] == "chunk 3 again"
    # A second change builds on the first.
    third = lab.drain(lab.regenerate_chunk(record["id"], 0, seed=888))
    assert [c["seed"] for c in third["chunks"]] == [888, 2, 777, 4, 5]
    back = lab.library.versions.set_default(record["id"], record["active_version_id"])
    assert back["is_default"]
    assert [c["seed"] for c in lab.history.get(record["id"])["chunks"]] == [1, 2, 3, 4, 5]


def test_an_edited_text_costs_its_changed_sentence(lab: VoiceLab, spoken_texts) -> None:
    first = generate(lab, seed=4)
    spoken_texts.clear()
    edited = generate(lab, TEXT.replace("number 2", "number two"), seed=4)
    assert spoken_texts == [SENTENCES[2].replace("number 2", "number two")]
    assert edited["id"] != first["id"]


def test_a_sentence_that_comes_in_does_not_cost_those_behind_it(
    lab: VoiceLab, spoken_texts
) -> None:
    first = generate(lab, seed=4)
    spoken_texts.clear()
    longer = "A sentence that was not there before is spoken now. "
    edited = generate(
        lab, " ".join([*SENTENCES[:2], longer.strip(), *SENTENCES[2:]]), based_on=first["id"]
    )
    assert spoken_texts == [longer.strip()]
    assert edited["seed"] == 4
    assert [c["seed"] for c in edited["chunks"]] == [4, 5, 6, 6, 7, 8]
    # It can be made again from its record alone, and be edited again.
    before = samples(lab, edited["id"])
    again = lab.drain(lab.retry(edited["id"]))
    assert np.array_equal(before, samples(lab, again["id"]))
    spoken_texts.clear()
    generate(lab, " ".join(SENTENCES[1:]), based_on=edited["id"])
    assert spoken_texts == []
    other = generate(lab, based_on=edited["id"], seed=50)
    assert [c["seed"] for c in other["chunks"]] == [50, 51, 52, 53, 54]
    with pytest.raises(NotFound):
        generate(lab, based_on="none")


def test_what_is_not_kept_leaves_nothing_in_the_cache(lab: VoiceLab) -> None:
    generate(lab, seed=4, store=False)
    assert lab.cache.size_bytes == 0


def test_making_again_is_refused_with_a_reason(lab: VoiceLab, make_lab: MakeLab) -> None:
    with pytest.raises(NotFound):
        lab.regenerate("none")
    record = generate(lab)
    with pytest.raises(NotFound, match="5 chunks, no chunk 5"):
        lab.regenerate_chunk(record["id"], 5)
    with pytest.raises(InvalidInput, match="seed"):
        lab.regenerate(record["id"], seed=2**32)
    lab.library.store.patch("generations", record["id"], {"engine": "qwen"})
    with pytest.raises(EngineUnavailable, match="'qwen', which is not here"):
        lab.regenerate(record["id"])
    lab.library.store.patch("generations", record["id"], {"engine": "tone", "seed": None})
    with pytest.raises(Conflict, match="without a seed"):
        lab.regenerate(record["id"])
    assert lab.history.get(record["id"])["status"] == "completed"
    assert lab.status.current()["status"] == "idle"


def test_a_version_being_made_can_be_cancelled_and_the_take_stays(lab: VoiceLab) -> None:
    record = generate(lab, SENTENCES[0])
    files = sorted(path.name for path in (lab.library.files.root / "generations").iterdir())
    take = lab.regenerate(record["id"])
    with pytest.raises(Conflict, match="being made"):
        lab.regenerate(record["id"])
    with blocked_engine(lab):
        lab.submit(take)
        wait_for(lambda: lab.status.current()["is_processing"])
        lab.cancel(take.request_id)
    wait_for(lambda: not lab.status.current()["is_processing"])
    after = lab.history.get(record["id"])
    assert after["status"] == "completed" and len(after["versions"]) == 1
    assert sorted(path.name for path in (lab.library.files.root / "generations").iterdir()) == files


def test_deleting_a_take_stops_the_version_being_made(lab: VoiceLab) -> None:
    record = generate(lab, SENTENCES[0])
    with blocked_engine(lab):
        lab.submit(lab.regenerate(record["id"]))
        lab.library.delete(record["id"])
    wait_for(lambda: not lab.status.current()["is_processing"])
    assert list((lab.library.files.root / "generations").iterdir()) == []
    assert lab.library.store.count("versions") == 0


def test_tags_given_while_a_take_is_made_stay(lab: VoiceLab) -> None:
    with blocked_engine(lab):
        pending = lab.submit(GenerationRequest(TEXT))
        lab.history.change(pending["id"], tags=["mine"], is_favorited=True)
    wait_for(lambda: lab.history.get(pending["id"])["status"] == "completed")
    record = lab.history.get(pending["id"])
    assert record["tags"] == ["mine"] and record["is_favorited"]


def test_the_key_of_a_chunk_depends_on_everything() -> None:
    facts = {
        "engine": "tone",
        "versions": {"tone": "1"},
        "voice": "default",
        "language": "en",
        "parameters": {"a": 1.0},
        "seed": 1,
        "text": "x",
    }
    keys = {chunk_key(**facts)}
    for name in facts:
        keys.add(chunk_key(**{**facts, name: "other"}))
    assert len(keys) == 8


def test_the_cache_forgets_the_chunk_unused_for_longest(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path / "c", max_bytes=3 * 4100)
    tone = np.ones(1000, np.float32)
    for key in ("a", "b", "c"):
        cache.put(key, tone, 1)
    assert cache.get("a") is not None
    cache.put("d", tone, 4)
    assert cache.get("b") is None
    found, seed = cache.get("d") or (None, None)
    assert np.array_equal(found, tone) and seed == 4
    assert cache.size_bytes <= 3 * 4100
    reopened = ChunkCache(tmp_path / "c", max_bytes=3 * 4100)
    assert reopened.size_bytes == cache.size_bytes
    assert reopened.clear() > 0 and list((tmp_path / "c").iterdir()) == []


def test_a_damaged_chunk_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, 1 << 20)
    cache.put("a", np.ones(100, np.float32), 1)
    whole = (tmp_path / "a").read_bytes()
    for content in (b"", whole[:20], whole[:-4], whole[:-1], whole[:40] + b"\xff" + whole[41:]):
        (tmp_path / "a").write_bytes(content)
        assert cache.get("a") is None
    assert cache.get("none") is None


def test_a_cache_that_cannot_be_written_fails_no_take(lab: VoiceLab) -> None:
    (lab.library.files.root / "cache").write_text("in the way")
    assert generate(lab)["status"] == "completed"


def test_chunks_older_than_the_policys_age_go(make_lab: MakeLab) -> None:
    lab = make_lab()
    generate(lab, SENTENCES[0])
    generate(lab, SENTENCES[1])
    first, second = sorted((lab.library.files.root / "cache").iterdir())
    os.utime(first, (1e9, 1e9))
    lab.library.storage.set_policy(Policy(max_age_days=30))
    lab.maintenance.run_once()
    assert not first.exists() and second.exists()
    assert lab.cache.size_bytes == second.stat().st_size


def test_effects_of_an_import_that_are_not_here_are_named(lab: VoiceLab) -> None:
    record = generate(lab)
    chain = [{"type": "sparkle", "enabled": True, "params": {}}]
    lab.library.store.patch("versions", record["active_version_id"], {"effects_chain": chain})
    with pytest.raises(InvalidInput, match="type 'sparkle' is not known"):
        lab.regenerate(record["id"])
    assert lab.status.current()["status"] == "idle"


def test_a_chunk_that_somebody_removed_is_not_counted_for_good(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, 1 << 20)
    for key in ("a", "b"):
        cache.put(key, np.zeros(1000, np.float32), 1)
    size_bytes = (tmp_path / "b").stat().st_size
    (tmp_path / "a").unlink()
    assert cache.prune(0) == 0 and cache.size_bytes == size_bytes
    assert cache.clear() == size_bytes and cache.size_bytes == 0
