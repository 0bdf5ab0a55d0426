"""The generation loop: take, record, file, failures, fairness."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import MakeLab, blocked_engine, wait_for
from voicelab.audio.codecs import read
from voicelab.errors import (
    BadClip,
    Cancelled,
    InvalidInput,
    SpeechFailed,
    StoreFull,
    TextTooLong,
    Unavailable,
    UnknownVoice,
)
from voicelab.generation.status import Status
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.settings import Settings

TEXT = " ".join(f"This is sentence number {n} of a text that is cut into chunks." for n in range(6))


def files(lab: VoiceLab) -> list[str]:
    return [p.name for p in (lab.library.files.root / "generations").glob("*")]


def test_a_take_is_a_record_and_a_file_of_the_streamed_samples(lab: VoiceLab) -> None:
    with lab.stream(GenerationRequest(TEXT, seed=7)) as take:
        streamed = np.concatenate([piece.pcm for piece in take])
    stored, rate = read(lab.library.audio_path(take.id))
    assert rate == 24_000 and np.array_equal(streamed, stored)
    record = lab.history.get(take.id)
    assert record["status"] == "completed" and record["seed"] == 7
    assert record["duration"] == pytest.approx(len(stored) / rate, abs=1e-3)
    assert [c["seed"] for c in record["chunks"]] == [7, 8, 9, 10, 11, 12]
    assert " ".join(c["text"] for c in record["chunks"]) == TEXT
    assert record["size_bytes"] == lab.library.audio_path(take.id).stat().st_size
    assert list(record)[:15] == [
        "id",
        "profile_id",
        "profile_name",
        "text",
        "language",
        "audio_path",
        "duration",
        "seed",
        "instruct",
        "engine",
        "model_size",
        "status",
        "error",
        "is_favorited",
        "created_at",
    ]


def test_a_take_made_again_from_its_record_is_the_same(lab: VoiceLab) -> None:
    first = lab.generate(TEXT, progress=False)
    again = lab.generate(TEXT, seed=first.record["seed"], progress=False)
    assert np.array_equal(read(first.path)[0], read(again.path)[0])


def test_the_record_is_pending_before_the_engine_starts(lab: VoiceLab) -> None:
    with blocked_engine(lab):
        pending = lab.submit(GenerationRequest(TEXT))
        assert pending["status"] == "pending" and pending["audio_path"] is None
        assert lab.history.get(pending["id"]) == pending
    assert wait_for(lambda: lab.history.get(pending["id"])["status"] == "completed")


def test_a_failing_sentence_is_named_and_leaves_no_file(make_lab: MakeLab) -> None:
    lab = make_lab(tone_fail_on="number 3")
    with pytest.raises(SpeechFailed, match="This is sentence number 3"):
        lab.generate(TEXT, progress=False)
    record = lab.history.list()[0][0]
    assert record["status"] == "failed" and "number 3" in record["error"]
    assert record["audio_path"] is None
    assert not files(lab)
    assert lab.status.statistics()["error_requests"] == 1


def test_a_failing_request_does_not_fail_its_neighbours(make_lab: MakeLab) -> None:
    lab = make_lab(tone_fail_on="bad")
    with blocked_engine(lab):
        good = [lab.submit(GenerationRequest(TEXT)) for _ in range(3)]
        bad = lab.submit(GenerationRequest("This one is bad."))
    ids = [record["id"] for record in good]
    wait_for(lambda: all(lab.history.get(id)["status"] == "completed" for id in ids))
    assert lab.history.get(bad["id"])["status"] == "failed"


def test_closing_early_cancels_what_is_spoken(lab: VoiceLab) -> None:
    with blocked_engine(lab):
        take = lab.stream(GenerationRequest(TEXT))
        take.close()
    assert lab.history.get(take.id)["error"] == "cancelled"
    assert lab.status.statistics()["cancelled_requests"] == 1
    assert not files(lab)


def test_a_reader_that_leaves_after_the_last_piece_has_the_whole_take(lab: VoiceLab) -> None:
    with lab.stream(GenerationRequest(TEXT)) as take:
        for piece in take:
            if piece.chunk is None:
                break
    assert lab.history.get(take.id)["status"] == "completed"
    assert lab.status.statistics()["completed_requests"] == 1


def test_cancel_by_request_id_ends_a_waiting_reader(lab: VoiceLab) -> None:
    with blocked_engine(lab), pytest.raises(Cancelled):
        take = lab.stream(GenerationRequest(TEXT))
        threading.Timer(0.2, lab.cancel, [take.request_id]).start()
        list(take)
    assert lab.status.current()["status"] == "idle"


def test_deleting_a_running_take_leaves_nothing(lab: VoiceLab) -> None:
    with blocked_engine(lab):
        record = lab.submit(GenerationRequest(TEXT))
        lab.library.delete(record["id"])
    wait_for(lambda: lab.status.statistics()["cancelled_requests"] == 1)
    assert len(lab.history) == 0 and not files(lab)


def test_a_short_request_does_not_wait_for_a_chapter(make_lab: MakeLab) -> None:
    lab = make_lab(tone_delay_s=0.5)
    chapter = lab.submit(GenerationRequest(TEXT * 30))
    lab.generate("A short one.", progress=False)
    assert lab.history.get(chapter["id"])["status"] == "pending"


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"text": ""}, InvalidInput, "empty"),
        ({"text": "x" * 100_001}, TextTooLong, "100,001"),
        ({"seed": 2**80}, InvalidInput, "seed"),
        ({"seed": -2}, InvalidInput, "seed"),
        ({"speed": float("nan")}, InvalidInput, "speed is nan; 0.25 to 4"),
        ({"parameters": {"pitch_hz": 5}}, InvalidInput, "pitch_hz is 5; 80 to 880"),
        ({"parameters": {"exagerration": 1}}, InvalidInput, "no parameter 'exagerration'"),
        ({"voice": "Nobody"}, UnknownVoice, "no voice 'Nobody'; there are Default"),
        ({"engine": "qwen"}, InvalidInput, "no engine 'qwen'"),
        ({"language": "tlh"}, InvalidInput, "does not speak 'tlh'"),
        ({"gap_ms": -5}, InvalidInput, "gap_ms"),
        ({"max_chunk_chars": 5}, InvalidInput, "max_chunk_chars is 5; 100 to 1000"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(lab, wrong, error, words) -> None:
    with pytest.raises(error, match=words):
        lab.stream(GenerationRequest(**{"text": "Hello.", **wrong}))
    assert len(lab.history) == 0
    assert lab.status.statistics()["total_requests"] == 0


def test_parameters_of_another_engine_are_a_warning(lab: VoiceLab) -> None:
    record = lab.generate("Hello.", exaggeration=0.7, progress=False).record
    assert "exaggeration" in record["warnings"][0]
    assert "exaggeration" not in record["parameters"]


def test_a_clip_is_kept_for_its_takes_and_goes_with_the_last(lab: VoiceLab, voice: Path) -> None:
    plain = lab.generate("Hello.", seed=1, progress=False)
    first = lab.generate("Hello.", seed=1, voice_clip=voice, progress=False)
    second = lab.generate("Hello.", seed=1, voice_clip=voice, progress=False)
    sounds = [read(speech.path)[0].tobytes() for speech in (plain, first, second)]
    assert sounds[1] == sounds[2] != sounds[0]
    clip = lab.library.files.root / first.record["clip"]
    lab.library.delete(first.record["id"])
    assert clip.exists()
    lab.library.delete(second.record["id"])
    assert not clip.exists()


def test_espeak_refuses_a_clip(make_lab: MakeLab, voice: Path) -> None:
    with pytest.raises(BadClip, match="cannot imitate"):
        make_lab(engine="espeak").stream(GenerationRequest("Hello.", voice_clip=voice))


def test_real_speech_from_the_embedded_engine(make_lab: MakeLab) -> None:
    speech = make_lab(engine="espeak").generate("The fjord was quiet.", progress=False)
    assert 0.8 < speech.record["duration"] < 3
    assert "<audio controls" in speech._repr_html_()


def test_a_full_disk_stops_before_the_engine_starts(make_lab: MakeLab) -> None:
    lab = make_lab(min_free_disk_mb=1_000_000)
    with pytest.raises(StoreFull, match="MiB free"):
        lab.generate("Hello.", progress=False)
    assert len(lab.history) == 0


def test_a_disk_that_fills_while_saving_leaves_a_failed_record_and_no_file(
    lab: VoiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = lab.stream(GenerationRequest(TEXT))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull):
            list(take)
    assert not files(lab)
    assert lab.status.current()["status"] == "idle"


def test_the_queue_has_an_end(make_lab: MakeLab) -> None:
    lab = make_lab(max_queue=2)
    with blocked_engine(lab):
        for _ in range(2):
            lab.submit(GenerationRequest(TEXT))
        with pytest.raises(Unavailable, match="waiting"):
            lab.stream(GenerationRequest("Hello."))


def test_a_killed_process_leaves_an_interrupted_take(tmp_path: Path, make_lab: MakeLab) -> None:
    code = f"""
import os, pathlib
from voicelab import VoiceLab, Settings, GenerationRequest
folder = pathlib.Path({str(tmp_path / "data")!r})
lab = VoiceLab(Settings(engine="tone", tone_delay_s=0.1, data_dir=folder))
take = lab.stream(GenerationRequest({TEXT!r}))
next(take)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    lab = make_lab()
    record = lab.history.list()[0][0]
    assert (record["status"], record["error"]) == ("failed", "interrupted")
    assert not files(lab)
    assert lab.status.statistics()["error_requests"] == 1


def test_totals_survive_a_restart(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.generate("Hello.", progress=False)
    lab.close()
    statistics = make_lab().status.statistics()
    assert (statistics["total_requests"], statistics["completed_requests"]) == (1, 1)


def test_auto_takes_a_stand_in_without_weights_and_says_why(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with VoiceLab(Settings(engine="auto", data_dir=tmp_path / "d")) as lab:
        assert lab.registry.default == "piper" and lab.registry.stands_in
        assert "Chatterbox cannot speak here" in lab.registry.reason


def test_history_as_a_table(lab: VoiceLab) -> None:
    assert lab.history.to_pandas().empty
    lab.generate("Hello.", progress=False)
    frame = lab.history.to_pandas()
    assert frame["duration"].sum() > 0 and frame["created_at"].dt.tz is not None


def test_a_search_finds_all_words_in_any_case(lab: VoiceLab) -> None:
    for text in ("L'ÉCOLE est grande.", "100% of it.", "An ordinary take."):
        lab.generate(text, progress=False)
    assert len(lab.history.search("école GRANDE")) == 1
    assert len(lab.history.search("%")) == 1
    assert len(lab.history.search("default")) == 3
    assert not lab.history.search("grande ordinary")


def test_the_log_forgets_many_requests_at_once(lab: VoiceLab, monkeypatch) -> None:
    status = Status(lab.library.store, log_size=3)

    def one_by_one(table: str, id: str) -> bool:
        assert table != "requests"
        return delete(table, id)

    delete = lab.library.store.delete
    monkeypatch.setattr(lab.library.store, "delete", one_by_one)
    for n in range(5):
        status.begin(f"Text {n}.").finish()
    texts = [record["text_preview"] for record in status.history()["request_history"]]
    assert texts == ["Text 4.", "Text 3.", "Text 2."]
    assert status.clear_history() == 3 and status.clear_history() == 0
    assert status.statistics()["total_requests"] == 5


def test_a_list_without_a_search_reads_the_names_of_voices_once(lab: VoiceLab, monkeypatch) -> None:
    read, names = [], lab.library.profiles.names
    monkeypatch.setattr(lab.library.profiles, "names", lambda: read.append(True) or names())
    lab.history.list()
    assert len(read) == 1
    assert lab.history.search("default") == [] and len(read) == 3


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus", "m4b"])
def test_a_speech_is_exported_with_a_bar(
    lab: VoiceLab, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = lab.generate("The fjord was quiet. " * 20, progress=False)
    path = speech.export(tmp_path / f"fjord.{name.upper()}")
    duration_s = speech.record["duration"]
    with av.open(str(path)) as container:
        frames = sum(frame.samples for frame in container.decode(audio=0))
        rate = container.streams.audio[0].rate
    assert frames / rate == pytest.approx(duration_s, abs=0.15)
    assert f"{int(duration_s)}/{round(duration_s)}" in capsys.readouterr().err
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == [path.name]


def test_a_speech_is_not_exported_to_what_is_no_format(lab: VoiceLab, tmp_path: Path) -> None:
    speech = lab.generate("The fjord was quiet.", progress=False)
    for name in ("fjord.midi", "fjord"):
        with pytest.raises(InvalidInput, match="not a format"):
            speech.export(tmp_path / name, progress=False)
    assert not any(found.is_file() for found in tmp_path.iterdir())
