"""Stories: items in time, what is heard of them, scripts, archives."""

from __future__ import annotations

import io
import json
import math
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import blocked_engine, wait_for
from voicelab.audio.codecs import read
from voicelab.errors import (
    BadArchive,
    Cancelled,
    Conflict,
    InvalidInput,
    NotFound,
    SpeechFailed,
    StoreFull,
    UnknownVoice,
)
from voicelab.generation.dialogue import Dialogue, Line, parse_script
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest

TEXT = "The first sentence is long enough to stand alone. The second one is long enough, as well."


def made(lab: VoiceLab, text: str = TEXT, **fields) -> str:
    return lab.drain(lab.stream(GenerationRequest(text, **fields)))["id"]


@pytest.fixture
def take(lab: VoiceLab) -> str:
    return made(lab, seed=1)


@pytest.fixture
def story(lab: VoiceLab) -> str:
    return lab.library.stories.create("A story", "Of two")["id"]


def mixed_audio(lab: VoiceLab, story: str, tmp_path: Path) -> tuple[np.ndarray, int]:
    path = tmp_path / "story.wav"
    lab.library.stories.export(story, "wav", path)
    samples, rate = soundfile.read(path, dtype="int16")
    return samples, rate


def test_a_take_is_heard_as_it_is(lab, story, take, tmp_path) -> None:
    item = lab.library.stories.add_item(story, take, start_time_ms=500)
    samples, rate = mixed_audio(lab, story, tmp_path)
    assert np.array_equal(samples[rate // 2 :], read(lab.library.audio_path(take))[0])
    assert not samples[: rate // 2].any()
    found = lab.library.stories.get(story)
    assert found["items"][0] == item and item["text"] == TEXT and item["profile_name"] == "Default"
    assert found["duration_ms"] == 500 + item["duration_ms"]
    assert lab.library.stories.list()[0]["item_count"] == 1


def test_an_item_without_a_start_goes_behind_the_last_of_its_track(lab, story, take) -> None:
    first = lab.library.stories.add_item(story, take)
    second = lab.library.stories.add_item(story, take)
    other = lab.library.stories.add_item(story, take, track=1)
    assert first["start_time_ms"] == 0 and other["start_time_ms"] == 0
    assert second["start_time_ms"] == first["duration_ms"] + 200


def test_takes_are_put_behind_what_there_is_all_or_none(lab, story, take, monkeypatch) -> None:
    first = lab.library.stories.add_item(story, take, start_time_ms=1000)
    lab.library.stories.add_item(story, take, track=1, start_time_ms=90_000)
    lab.library.stories.append(story, [take, take])
    starts = [i["start_time_ms"] for i in lab.library.stories.get(story)["items"] if not i["track"]]
    step = first["duration_ms"] + 200
    assert starts == [1000, 1000 + step, 1000 + 2 * step]
    with pytest.raises(NotFound):
        lab.library.stories.append(story, [take, "absent"])
    monkeypatch.setattr("voicelab.library.stories.MAX_ITEMS", 5)
    with pytest.raises(Conflict, match="at most 5"):
        lab.library.stories.append(story, [take, take])
    assert lab.library.stories.get(story)["item_count"] == 4


def test_a_long_story_is_not_read_again_for_each_item(lab, story, take, monkeypatch) -> None:
    lab.library.stories.append(story, [take] * 8)
    reads: list[tuple[str, str]] = []

    def watch(name: str) -> None:
        real = getattr(lab.library.store, name)

        def counted(table: str, *more, **named):
            reads.append((name, table))
            return real(table, *more, **named)

        monkeypatch.setattr(lab.library.store, name, counted)

    for name in ("get", "get_many", "page", "values"):
        watch(name)
    lab.library.stories.append(story, [take] * 8)
    assert reads.count(("page", "story_items")) == 1
    reads.clear()
    items = lab.library.stories.get(story)["items"]
    assert len(items) == 16 and {item["text"] for item in items} == {TEXT}
    # The story, its items, their takes and versions, the names of the voices.
    assert len(reads) == 5
    reads.clear()
    lab.library.stories.reorder(story, [item["id"] for item in items[::-1]])
    assert reads.count(("get_many", "generations")) == 2 and len(reads) < 10


def test_volume_zero_exports_silence(lab, story, take, tmp_path) -> None:
    item = lab.library.stories.add_item(story, take)
    lab.library.stories.change_item(story, item["id"], volume=0)
    assert not mixed_audio(lab, story, tmp_path)[0].any()


def test_a_nudge_moves_an_item_as_far_as_there_is_room(lab, story, take) -> None:
    item = lab.library.stories.add_item(story, take, start_time_ms=50)["id"]

    def place(ms: int, tracks: int) -> tuple[int, int]:
        moved = lab.library.stories.nudge(story, item, ms, tracks)
        return moved["start_time_ms"], moved["track"]

    assert place(100, 1) == (150, 1)
    assert place(-1000, -5) == (0, 0)
    assert place(0, 100) == (0, 31)
    with pytest.raises(NotFound):
        lab.library.stories.nudge(story, "absent", 1, 0)


def test_reordering_moves_the_right_clip_when_a_take_stands_twice(lab, story, take) -> None:
    a, b, c = (lab.library.stories.add_item(story, take) for _ in range(3))
    lab.library.stories.change_item(story, a["id"], trim_end_ms=500)
    found = lab.library.stories.reorder(story, [c["id"], a["id"], b["id"]])["items"]
    assert [item["id"] for item in found] == [c["id"], a["id"], b["id"]]
    starts = [item["start_time_ms"] for item in found]
    lengths = [item["duration_ms"] for item in found]
    assert starts == [0, lengths[0] + 200, lengths[0] + lengths[1] + 400]
    for ids in ([a["id"]], [a["id"], a["id"], b["id"]], [a["id"], b["id"], "none"]):
        with pytest.raises(InvalidInput, match="one track"):
            lab.library.stories.reorder(story, ids)


def test_two_parts_sound_like_the_whole(lab, story, take, tmp_path) -> None:
    item = lab.library.stories.add_item(story, take)
    whole = mixed_audio(lab, story, tmp_path)[0]
    first, second = lab.library.stories.split(story, item["id"], 1234)
    assert second["start_time_ms"] == 1234
    assert first["duration_ms"] + second["duration_ms"] == item["duration_ms"]
    parts = mixed_audio(lab, story, tmp_path)[0]
    # The cut stands on a millisecond, the end of a take on a sample.
    assert np.count_nonzero(parts[: len(whole)] != whole[: len(parts)]) <= 24
    for at_ms in (0, 9, item["duration_ms"], -1, 2**40):
        with pytest.raises(InvalidInput, match="split_time_ms"):
            lab.library.stories.split(story, item["id"], at_ms)


def test_a_pinned_version_stays_when_the_default_changes(lab, story, take, tmp_path) -> None:
    original = lab.history.get(take)["active_version_id"]
    pinned = lab.library.stories.add_item(story, take, version_id=original)
    before = mixed_audio(lab, story, tmp_path)[0]
    lab.library.versions.apply(take, [{"type": "gain", "params": {"gain_db": -20}}])
    assert np.array_equal(mixed_audio(lab, story, tmp_path)[0], before)
    lab.library.stories.change_item(story, pinned["id"], version_id=None)
    assert np.abs(mixed_audio(lab, story, tmp_path)[0]).max() < np.abs(before).max() / 5
    lab.library.stories.change_item(story, pinned["id"], version_id=original)
    lab.library.versions.delete(take, original)
    assert lab.library.stories.get(story)["items"][0]["version_id"] is None
    with pytest.raises(NotFound):
        lab.library.stories.change_item(story, pinned["id"], version_id=original)


def test_deleting_a_take_removes_its_story_items(lab, story, take) -> None:
    other = made(lab)
    for id in (take, other, take):
        lab.library.stories.add_item(story, id)
    lab.library.delete(take)
    assert [item["generation_id"] for item in lab.library.stories.get(story)["items"]] == [other]
    lab.library.stories.delete(story)
    assert lab.library.store.count("story_items") == 0
    assert lab.history.get(other)["status"] == "completed"


@pytest.mark.parametrize(
    "fields",
    [
        {"start_time_ms": -1},
        {"start_time_ms": 43_200_001},
        {"start_time_ms": 1.5},
        {"start_time_ms": math.nan},
        {"start_time_ms": True},
        {"track": 32},
        {"track": -33},
        {"volume": 2.1},
        {"volume": -0.1},
        {"volume": math.nan},
        {"volume": "loud"},
        {"fade_in_ms": 60_001},
        {"fade_out_ms": -1},
        {"trim_start_ms": 10**6},
        {"trim_end_ms": 10**6},
    ],
    ids=str,
)
def test_bad_values_name_their_field(lab, story, take, fields) -> None:
    with pytest.raises(InvalidInput):
        lab.library.stories.add_item(story, take, **fields)
    assert lab.library.stories.get(story)["items"] == []
    item = lab.library.stories.add_item(story, take)
    with pytest.raises(InvalidInput):
        lab.library.stories.change_item(story, item["id"], **fields)
    assert lab.library.stories.get(story)["items"] == [item]


def test_what_has_no_audio_has_no_place(lab, story, take) -> None:
    lab.history.patch(take, status="failed", audio_path=None)
    with pytest.raises(Conflict, match="no audio"):
        lab.library.stories.add_item(story, take)
    with pytest.raises(NotFound):
        lab.library.stories.add_item(story, "none")
    with pytest.raises(NotFound):
        lab.library.stories.add_item("none", take)
    with pytest.raises(Conflict, match="empty"):
        lab.library.stories.export(story, "wav", Path("never"))
    for name in ("", "x" * 101, "a\x00"):
        with pytest.raises(InvalidInput):
            lab.library.stories.create(name)


def test_captions_follow_trims_and_starts(lab, story, take, tmp_path) -> None:
    chunks = lab.history.get(take)["chunks"]
    cut = round(chunks[1]["start_s"] * 1000)
    lab.library.stories.add_item(story, take, start_time_ms=10_000, trim_start_ms=cut)
    (cue,) = lab.library.stories.cues(story)
    assert cue.text.startswith("The second") and cue.start_s == pytest.approx(10, abs=0.01)
    lab.library.stories.export(story, "srt", tmp_path / "s.srt")
    assert "00:00:10,000 --> " in (tmp_path / "s.srt").read_text()


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("Anna: Hi.\nBen: Hello: you.", [Line("Hi.", "Anna"), Line("Hello: you.", "Ben")]),
        ("Anna: One.\nTwo.\n\n  Three.", [Line(t, "Anna") for t in ("One.", "Two.", "Three.")]),
        ("At 12:30 it rained.", [Line("At 12:30 it rained.")]),
        ("12:30 came.", [Line("12:30 came.")]),
        ("Ben: 12:30 came.", [Line("12:30 came.", "Ben")]),
        ("http://example.org", [Line("http://example.org")]),
        ("فاطمة: مرحبا", [Line("مرحبا", "فاطمة")]),
        (" \n\n", []),
    ],
)
def test_scripts_are_read(script: str, lines: list[Line]) -> None:
    assert parse_script(script) == lines


def test_a_dialogue_becomes_a_story(lab, story) -> None:
    lab.library.profiles.create("Anna")
    lines = parse_script("Anna: Good morning.\nDefault: Good evening.")
    seen: list[tuple[int, int]] = []
    found = Dialogue(lab, story, lines).speak(lambda *step: seen.append(step))
    assert [item["profile_name"] for item in found["items"]] == ["Anna", "Default"]
    assert [item["text"] for item in found["items"]] == ["Good morning.", "Good evening."]
    assert seen == [(1, 2), (2, 2)]


def test_a_dialogue_with_an_unknown_voice_makes_nothing(lab, story) -> None:
    for lines, error in (
        ([Line("Hi."), Line("Hello.", "Nobody")], UnknownVoice),
        ([Line("Hi."), Line("  ")], InvalidInput),
        ([], InvalidInput),
        ([Line("Hi.")] * 501, InvalidInput),
    ):
        with pytest.raises(error):
            Dialogue(lab, story, lines).speak()
    with pytest.raises(UnknownVoice, match="Line 2: There is no voice 'Nobody'"):
        Dialogue(lab, story, [Line("Hi."), Line("Hello.", "Nobody")]).speak()
    assert len(lab.history) == 0


def test_a_line_that_fails_leaves_no_half_story(make_lab) -> None:
    lab = make_lab(tone_fail_on="boom")
    story = lab.library.stories.create("S")["id"]
    with pytest.raises(SpeechFailed, match=r"Line 2: .*boom"):
        Dialogue(lab, story, [Line("Fine."), Line("It goes boom.")]).speak()
    assert lab.library.stories.get(story)["items"] == []
    assert [record["status"] for record in lab.history] == ["failed"]


def test_as_many_lines_wait_for_the_engine_as_it_speaks_at_once(lab, story) -> None:
    lines = [Line(f"Line {n} is said.") for n in range(10)]
    with blocked_engine(lab) as free, ThreadPoolExecutor() as pool:
        spoken = pool.submit(Dialogue(lab, story, lines).speak)
        wait_for(lambda: len(lab.status.live()) == lab.registry.info().batch_size)
        free.set()
        items = spoken.result()["items"]
    assert [item["text"] for item in items] == [line.text for line in lines]


def test_a_cancelled_dialogue_leaves_nothing(lab, story) -> None:
    dialogue = Dialogue(lab, story, [Line(f"Line {n} is said.") for n in range(20)])
    with blocked_engine(lab), ThreadPoolExecutor() as pool:
        spoken = pool.submit(dialogue.speak)
        wait_for(lambda: lab.status.live())
        dialogue.cancel()
        with pytest.raises(Cancelled, match="Line 1: "):
            spoken.result()
    assert lab.library.stories.get(story)["items"] == [] and not lab.status.live()
    assert [(record["text"], record["status"]) for record in lab.history] == [
        ("Line 0 is said.", "failed")
    ]


def test_a_line_that_cannot_begin_leaves_nothing(lab, story, monkeypatch) -> None:
    stream = lab.stream

    def full(request: GenerationRequest):
        if request.text == "Three.":
            raise StoreFull("The disk is full.")
        return stream(request)

    monkeypatch.setattr(lab, "stream", full)
    with pytest.raises(StoreFull, match="Line 3: The disk is full"):
        Dialogue(lab, story, [Line("One."), Line("Two."), Line("Three.")]).speak()
    assert len(lab.history) == 0 and not lab.status.live()


def test_a_dialogue_leaves_room_in_the_queue(make_lab) -> None:
    lab = make_lab(max_queue=2)
    story = lab.library.stories.create("S")["id"]
    with blocked_engine(lab) as free:
        lab.submit(GenerationRequest("Another one."))
        dialogue = Dialogue(lab, story, [Line("One."), Line("Two."), Line("Three.")])
        with ThreadPoolExecutor() as pool:
            spoken = pool.submit(dialogue.speak)
            wait_for(lambda: len(lab.status.live()) == 2)
            free.set()
            assert spoken.result()["item_count"] == 3


def exported(lab: VoiceLab, story: str) -> io.BytesIO:
    sink = io.BytesIO()
    lab.library.archives.export_story(story, sink)
    sink.seek(0)
    return sink


def test_a_story_goes_out_and_comes_in(lab, story, take, tmp_path) -> None:
    lab.library.versions.apply(take, [{"type": "gain", "params": {"gain_db": -20}}])
    original = lab.library.versions.of(take)[0]["id"]
    lab.library.stories.add_item(story, take, version_id=original, fade_in_ms=100)
    lab.library.stories.add_item(story, take, track=3, volume=0.5, trim_start_ms=100)
    again = lab.library.archives.import_story(exported(lab, story))
    assert again["id"] != story and again["name"] == "A story"
    kept = ("start_time_ms", "track", "volume", "trim_start_ms", "fade_in_ms", "duration_ms")
    before = lab.library.stories.get(story)["items"]
    assert [[i[k] for k in kept] for i in again["items"]] == [[i[k] for k in kept] for i in before]
    assert len({item["generation_id"] for item in again["items"]} | {take}) == 2
    sounds = [mixed_audio(lab, id, tmp_path)[0] for id in (story, again["id"])]
    assert np.array_equal(*sounds)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "play"},
        {"story": {"name": ""}},
        {"story": 5},
        {"items": 5},
        {"items": [{"generation_id": "../x", "start_time_ms": 0}]},
        {"items": [{"generation_id": "none", "start_time_ms": 0}]},
        {"volume": 9},
        {"volume": "x"},
        {"start_time_ms": -5},
        {"track": 99},
        {"trim_start_ms": 10**7},
    ],
    ids=str,
)
def test_a_bad_story_archive_leaves_nothing(lab, story, take, change: dict) -> None:
    lab.library.stories.add_item(story, take)
    sink = io.BytesIO()
    with zipfile.ZipFile(exported(lab, story)) as source, zipfile.ZipFile(sink, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "manifest.json":
                described = json.loads(content)
                if change.keys() & described.keys():
                    described |= change
                else:
                    described["items"][0] |= change
                content = json.dumps(described).encode()
            target.writestr(name, content)
    files = sorted(path.name for path in lab.library.files.root.rglob("*"))
    with pytest.raises(BadArchive):
        lab.library.archives.import_story(sink)
    assert sorted(path.name for path in lab.library.files.root.rglob("*")) == files
    assert len(lab.library.stories.list()) == 1 and len(lab.history) == 1
    for junk in (b"", b"junk", exported(lab, story).getvalue()[:300]):
        with pytest.raises(BadArchive):
            lab.library.archives.import_story(io.BytesIO(junk))
