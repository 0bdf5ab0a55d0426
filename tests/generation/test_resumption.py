"""Takes that a stop or a crash interrupted: distinct from cancelled ones, and resumed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import MakeLab, blocked_engine, wait_for
from voicelab import Settings
from voicelab.errors import Conflict, Interrupted, Unavailable
from voicelab.lab import VoiceLab
from voicelab.library import INTERRUPTED
from voicelab.library.takes import MAX_RESUMPTIONS
from voicelab.records import GenerationRequest
from voicelab.store import MemoryStore

TEXT = "One sentence that is spoken by the tone. " * 4


def outcomes(lab: VoiceLab) -> dict[str, tuple[str, str | None]]:
    return {record["id"]: (record["status"], record["error"]) for record in lab.history}


def interrupted(lab: VoiceLab, count: int = 1) -> list[str]:
    """The ids of takes that were being made when the lab was closed."""
    with blocked_engine(lab):
        ids = [lab.submit(GenerationRequest(TEXT))["id"] for _ in range(count)]
        lab.close()
    return ids


def test_a_stop_interrupts_what_runs_and_waits_until_that_is_recorded(make_lab: MakeLab) -> None:
    lab = make_lab()
    with blocked_engine(lab):
        running = lab.submit(GenerationRequest(TEXT))["id"]
        listened = lab.stream(GenerationRequest(TEXT))
        never = lab.stream(GenerationRequest(TEXT))
        cancelled = lab.stream(GenerationRequest(TEXT))
        cancelled.close()
        errors: list[Exception] = []

        def listen() -> None:
            try:
                list(listened)
            except Interrupted as error:
                errors.append(error)

        thread = threading.Thread(target=listen)
        thread.start()
        lab.close()
        thread.join()
    assert [str(error) for error in errors] == ["The app was stopped while this was being made."]
    found = outcomes(make_lab(resume_interrupted=False))
    assert found == {
        running: ("failed", "interrupted"),
        listened.id: ("failed", "interrupted"),
        never.id: ("failed", "interrupted"),
        cancelled.id: ("failed", "cancelled"),
    }


def test_a_stop_counts_as_an_error_and_not_as_a_cancellation(make_lab: MakeLab) -> None:
    interrupted(make_lab())
    statistics = make_lab().status.statistics()
    assert (statistics["error_requests"], statistics["cancelled_requests"]) == (1, 0)


def test_a_take_that_just_begins_is_interrupted_as_well(make_lab: MakeLab, monkeypatch) -> None:
    """Its record is there already, its job is not in the queue yet."""
    lab = make_lab()
    submit = lab.scheduler.submit

    def late(job):
        lab.interrupt()
        return submit(job)

    monkeypatch.setattr(lab.scheduler, "submit", late)
    with pytest.raises(Interrupted):
        lab.stream(GenerationRequest(TEXT))
    assert [record["error"] for record in lab.history] == [INTERRUPTED]


def test_nothing_begins_after_the_first_step(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.interrupt()
    with pytest.raises(Unavailable, match="closing"):
        lab.stream(GenerationRequest(TEXT))
    assert len(lab.history) == 0


def test_interrupted_takes_are_made_whole_at_the_next_start(make_lab: MakeLab) -> None:
    ids = interrupted(make_lab(), 3)
    lab = make_lab()
    order: list[str] = []
    begin = lab.history.restart
    lab.history.restart = lambda id, **fields: (order.append(id), begin(id, **fields))[1]  # type: ignore[method-assign]
    lab.resume_interrupted()
    wait_for(lambda: all(status == "completed" for status, _ in outcomes(lab).values()))
    assert order == ids
    assert all(lab.library.audio_path(id).is_file() for id in ids)


def test_only_interrupted_ones_and_only_when_wanted(make_lab: MakeLab) -> None:
    lab = make_lab(tone_fail_on="boom")
    with blocked_engine(lab):
        cancelled = lab.stream(GenerationRequest(TEXT))
        cancelled.close()
    failed = lab.submit(GenerationRequest("This goes boom."))["id"]
    wait_for(lambda: outcomes(lab)[failed][0] == "failed")
    (id,) = interrupted(lab)
    off = make_lab(resume_interrupted=False)
    off.resume_interrupted()
    before = outcomes(off)
    off.close()
    assert before[id] == ("failed", INTERRUPTED)
    lab = make_lab()
    lab.resume_interrupted()
    wait_for(lambda: outcomes(lab)[id][0] == "completed")
    lab.close()
    after = outcomes(make_lab())
    assert after == before | {id: ("completed", None)}


def test_a_full_queue_is_waited_for(make_lab: MakeLab, monkeypatch) -> None:
    monkeypatch.setattr("voicelab.generation.resumption.PAUSE_S", 0.01)
    ids = interrupted(make_lab(), 2)
    lab = make_lab(max_queue=1)
    with blocked_engine(lab) as free:
        mine = lab.submit(GenerationRequest("Somebody speaks."))["id"]
        refused: list[int] = []
        check = lab.scheduler.check

        def count_calls() -> None:
            try:
                check()
            except Unavailable:
                refused.append(1)
                raise

        lab.scheduler.check = count_calls  # type: ignore[method-assign]
        lab.resume_interrupted()
        wait_for(lambda: len(refused) > 3)
        assert {outcomes(lab)[id] for id in ids} == {("failed", INTERRUPTED)}
        free.set()
        wait_for(lambda: all(status == "completed" for status, _ in outcomes(lab).values()))
    assert mine in outcomes(lab)


CRASHING = """
import os, sys
from pathlib import Path
from voicelab import Settings, VoiceLab, GenerationRequest
lab = VoiceLab(Settings(engine="tone", data_dir=Path(sys.argv[1]), min_free_disk_mb=0))
lab.registry.engine("tone")._work = lambda *_: os._exit(9)
if not len(lab.history):
    lab.submit(GenerationRequest("This ends the process."))
lab.resume_interrupted()
lab._resumption._thread.join(3)
print("alive")
lab.close()
"""


def test_a_take_that_kills_the_process_is_tried_some_times(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    def start() -> int:
        code = [sys.executable, "-c", CRASHING, str(folder)]
        return subprocess.run(code, check=False, capture_output=True).returncode

    codes = [start() for _ in range(MAX_RESUMPTIONS + 2)]
    assert codes == [9] * (1 + MAX_RESUMPTIONS) + [0]
    with VoiceLab(Settings(engine="tone", data_dir=folder, min_free_disk_mb=0)) as lab:
        (record,) = lab.history
        assert (record["error"], record["resumptions"]) == (INTERRUPTED, MAX_RESUMPTIONS)
        whole = lab.drain(lab.resume(record["id"]))  # by hand it can be, and counts anew
        assert (whole["status"], whole["resumptions"]) == ("completed", 0)


def test_a_stop_in_order_is_no_attempt(make_lab: MakeLab) -> None:
    (id,) = interrupted(make_lab())
    for _ in range(MAX_RESUMPTIONS + 1):
        lab = make_lab()
        with blocked_engine(lab):
            lab.resume_interrupted()
            wait_for(lambda: outcomes(lab)[id][0] == "pending")  # noqa: B023
            lab.close()
    lab = make_lab()
    assert lab.history.get(id)["resumptions"] == 0
    lab.resume_interrupted()
    wait_for(lambda: outcomes(lab)[id][0] == "completed")


def test_two_replicas_do_not_resume_one_take(tmp_path: Path) -> None:
    store = MemoryStore()
    labs = [
        VoiceLab(
            Settings(engine="tone", data_dir=tmp_path / str(n), min_free_disk_mb=0), store=store
        )
        for n in range(2)
    ]
    first, second = labs
    try:
        record = first.drain(first.stream(GenerationRequest(TEXT)))
        first.history.patch(record["id"], status="failed", error=INTERRUPTED)
        with blocked_engine(first), blocked_engine(second):
            take = first.resume(record["id"])
            with pytest.raises(Conflict, match="changed meanwhile"):
                second.history.restart(record["id"])
            assert second.history.get(record["id"])["status"] == "pending"
            second.resume_interrupted()
            with pytest.raises(Conflict):
                second.resume(record["id"])
            assert first.history.get(record["id"])["status"] == "pending"
            take.close()
    finally:
        for lab in labs:
            lab.close()


def test_who_comes_second_leaves_the_record_as_it_is(lab: VoiceLab, monkeypatch) -> None:
    """Another replica begins between the read of the record and the start of the take."""
    record = lab.drain(lab.stream(GenerationRequest(TEXT)))
    lab.history.patch(record["id"], status="failed", error=INTERRUPTED)
    seen = lab.history.get(record["id"])
    lab.history.patch(record["id"], status="pending", error=None, request_id="other")
    with monkeypatch.context() as patch, pytest.raises(Conflict):
        patch.setattr(lab.history, "get", lambda _: seen)
        lab.resume(record["id"])
    after = lab.history.get(record["id"])
    assert (after["status"], after["error"], after["request_id"]) == ("pending", None, "other")
    assert lab.status.current()["status"] == "idle"
