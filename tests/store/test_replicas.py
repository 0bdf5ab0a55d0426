"""Several labs over one PostgreSQL and one place for audio."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeLab, blocked_engine, wait_for, write_clip
from tests.store.server import PASSWORD, Server
from voicelab.errors import Conflict, StoreCorrupt
from voicelab.lab import VoiceLab
from voicelab.library import Filters, Policy, Replicas
from voicelab.records import GenerationRequest
from voicelab.rest import build
from voicelab.settings import Settings
from voicelab.store import MemoryStore, open_store

MakeReplica = Callable[..., VoiceLab]
in_a_folder = pytest.mark.parametrize("audio_url", ["folder"], indirect=True)


@pytest.fixture
def make_replica(database: str, audio_url: str, make_lab: MakeLab, tmp_path: Path) -> MakeReplica:
    """A lab with a data folder of its own, over the same records and audio."""
    numbers = iter(range(9))

    def make(**settings: Any) -> VoiceLab:
        folder = tmp_path / f"replica-{next(numbers)}"
        shared = {"database_url": database, "audio_url": audio_url}
        return make_lab(data_dir=folder, **shared, **settings)

    return make


@pytest.fixture
def elsewhere(make_replica: MakeReplica) -> Iterator[Callable[[VoiceLab], TestClient]]:
    """REST of a lab."""
    clients: list[TestClient] = []

    def rest(lab: VoiceLab) -> TestClient:
        clients.append(TestClient(build(lab), raise_server_exceptions=False).__enter__())
        return clients[-1]

    yield rest
    for client in clients:
        client.__exit__(None, None, None)


def test_a_take_of_one_is_listed_played_exported_and_changed_by_the_other(
    make_replica: MakeReplica, elsewhere: Callable[[VoiceLab], TestClient], tmp_path: Path
) -> None:
    labs = make_replica(), make_replica()
    first, second = map(elsewhere, labs)
    spoken = first.post("/v1/audio/speech", json={"input": "The fjord was quiet. So it stays."})
    id = spoken.headers["x-generation-id"]
    (row,) = second.get("/history", params={"search": "FJORD"}).json()["items"]
    assert row["id"] == id and row["status"] == "completed"
    assert second.get(f"/audio/{id}").content == spoken.content == first.get(f"/audio/{id}").content
    part = second.get(f"/audio/{id}", headers={"Range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"RIFF"
    with zipfile.ZipFile(io.BytesIO(second.get(f"/history/{id}/export").content)) as archive:
        sounds = [archive.read(name) for name in archive.namelist() if name.endswith(".wav")]
    assert sounds == [spoken.content]

    chain = {"effects_chain": [{"type": "gain", "params": {"gain_db": -6}}]}
    made = second.post(f"/generations/{id}/versions/apply-effects", json=chain).json()
    heard = first.get(f"/audio/{id}").content
    assert heard == second.get(f"/audio/version/{made['id']}").content != spoken.content
    again = second.post(f"/history/{id}/regenerate", json={"seed": 5})
    assert again.status_code == 200
    # Spoken again and through the effects that are heard: two more.
    wait_for(lambda: len(first.get(f"/generations/{id}/versions").json()) == 4)

    anna = first.post("/profiles", json={"name": "Anna"}).json()["id"]
    clip = write_clip(tmp_path / "anna.wav", 3.0)
    with clip.open("rb") as file:
        sample = first.post(f"/profiles/{anna}/samples", files={"file": file}).json()
    assert second.get(f"/profiles/samples/{sample['id']}/audio").content[:4] == b"RIFF"
    assert second.post("/profiles", json={"name": "Anna"}).status_code == 409
    assert second.get("/status/statistics").json()["total_requests"] == 2

    assert second.get("/storage").json()["takes_bytes"] > len(spoken.content)
    assert second.delete(f"/history/{id}").status_code == 200
    assert first.get(f"/audio/{id}").status_code == 404
    assert [entry for lab in labs for entry in lab.library.files.audio_files()] == []


def free_when_told(lab: VoiceLab, free: threading.Event) -> None:
    """Let the other replica's engine speak once the route has read the record as it is."""
    history: Any = lab.history
    get, asked = history.get, []

    def told(id: str) -> dict[str, Any]:
        record = get(id)
        asked.append(id)
        if len(asked) > 1:  # the first asks only whether there is such a take
            free.set()
        return record

    history.get = told


@in_a_folder
def test_another_replica_starting_ends_no_take(
    make_replica: MakeReplica, elsewhere: Callable[[VoiceLab], TestClient]
) -> None:
    first = make_replica()
    with blocked_engine(first) as free:
        take = first.submit(GenerationRequest("One sentence is said here."))
        second = make_replica()
        client = elsewhere(second)
        assert second.history.get(take["id"])["status"] == "pending"
        refused = client.post(f"/generate/{take['id']}/cancel")
        assert refused.status_code == 409 and "Another replica" in refused.text
        with pytest.raises(Conflict, match="being made"):
            second.resume(take["id"])
        free_when_told(second, free)
        events = client.get(f"/generate/{take['id']}/status").text
    assert '"pending"' in events and events.rstrip().endswith('"error":null}')
    assert first.history.get(take["id"])["status"] == "completed"
    assert second.library.replicas.alive() == {
        first.library.replicas.id,
        second.library.replicas.id,
    }


def test_a_take_deleted_by_the_other_leaves_no_file(make_replica: MakeReplica) -> None:
    first, second = make_replica(), make_replica()
    with blocked_engine(first):
        take = first.submit(GenerationRequest("This one is on its way."))
        second.library.delete(take["id"])
    wait_for(lambda: not first.status.live())
    assert list(second.library.files.audio_files()) == [] and len(second.history) == 0


@in_a_folder
def test_what_a_killed_replica_was_making_is_told_and_made_by_the_other(
    make_replica: MakeReplica, database: str, audio_url: str, tmp_path: Path
) -> None:
    code = f"""
from voicelab import GenerationRequest, Settings, VoiceLab
lab = VoiceLab(Settings(engine="tone", data_dir={str(tmp_path / "killed")!r}, tone_delay_s=30,
    database_url={database!r}, audio_url={audio_url!r}, min_free_disk_mb=0))
print(lab.submit(GenerationRequest("This one is never finished there."))["id"], flush=True)
input()
"""
    second = make_replica()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        id = process.stdout.readline().strip()
        assert second.history.get(id)["status"] == "pending"
        process.send_signal(signal.SIGKILL)
    second._recover()
    assert second.history.get(id)["status"] == "pending"
    now = time.monotonic
    second.library.replicas._clock = lambda: now() + 91
    second._recover()
    record = second.history.get(id)
    assert (record["status"], record["error"]) == ("failed", "interrupted")
    assert second.library.replicas.alive() == {second.library.replicas.id}
    assert second.drain(second.resume(id))["status"] == "completed"


@in_a_folder
def test_a_replica_that_leaves_is_forgotten_at_once(make_replica: MakeReplica) -> None:
    first, second = make_replica(), make_replica()
    assert len(second.library.replicas.alive()) == 2
    first.close()
    assert second.library.replicas.alive() == {second.library.replicas.id}


@in_a_folder
def test_totals_and_policies_of_two_lose_nothing(make_replica: MakeReplica) -> None:
    labs = make_replica(), make_replica()

    def work(lab: VoiceLab) -> None:
        for n in range(5):
            lab.status.begin("Text").finish(audio_seconds=1.0)
            lab.library.storage.set_policy(Policy(max_takes=100 + n))
            lab.library.profiles.free_name("x")

    threads = [threading.Thread(target=work, args=(lab,)) for lab in labs for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {lab.status.statistics()["completed_requests"] for lab in labs} == {20}
    assert labs[0].library.storage.policy() == labs[1].library.storage.policy()


@in_a_folder
def test_a_database_that_is_away_is_one_sentence_until_it_is_back(
    make_replica: MakeReplica, elsewhere: Callable[[VoiceLab], TestClient], server: Server
) -> None:
    client = elsewhere(make_replica())
    server.stop()
    for answer in (client.get("/history"), client.post("/v1/audio/speech", json={"input": "Hi."})):
        assert answer.status_code >= 500 and PASSWORD not in answer.text
        assert "cannot be reached" in answer.json()["error"]["message"]
    server.start()
    assert client.post("/v1/audio/speech", json={"input": "Hi."}).status_code == 200
    assert client.get("/history").json()["total"] == 1


def test_the_settings_never_show_a_password(database: str) -> None:
    settings = Settings(database_url=database, audio_url=f"sftp://u:{PASSWORD}@h/x")  # type: ignore
    assert PASSWORD not in repr(settings) + str(settings.model_dump())


@in_a_folder
def test_the_storage_command_looks_where_the_settings_say(
    make_replica: MakeReplica, database: str, audio_url: str, tmp_path: Path
) -> None:
    make_replica().generate("The fjord was quiet.", progress=False)
    places = {"VOICELAB_DATABASE_URL": database, "VOICELAB_AUDIO_URL": audio_url}
    done = subprocess.run(
        [sys.executable, "-m", "voicelab", "storage", "--json", "--data-dir", tmp_path / "third"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | places,
    )
    usage = json.loads(done.stdout)["usage"]
    assert usage["takes"] == 1 and usage["takes_bytes"] > 44


class Clock:
    moment = 0.0

    def __call__(self) -> float:
        return self.moment


def test_a_heart_that_stands_still_is_gone_by_the_clock_of_whoever_looks(database: str) -> None:
    store, clock = open_store(database), Clock()
    first, second = Replicas(store, clock), Replicas(store, clock)
    assert first.id != second.id
    for _ in range(4):
        assert first.alive() == {first.id, second.id}
        clock.moment += 60
        second.send_heartbeat()
    assert first.alive() == {first.id, second.id}
    clock.moment += 91
    assert first.alive() == {first.id}
    second.send_heartbeat()
    assert first.alive() == {first.id, second.id}
    store.close()


def test_a_store_of_ones_own_has_no_replicas(tmp_path: Path) -> None:
    store = MemoryStore()
    alone = Replicas(store)
    alone.watch(lambda: pytest.fail("nobody else is there"))
    alone.send_heartbeat()
    assert alone.id is None and alone.alive() == set() and store.tables() == []
    alone.leave()


def test_a_lab_that_keeps_no_records_needs_no_database(tmp_path: Path) -> None:
    settings = Settings(engine="tone", data_dir=tmp_path, min_free_disk_mb=0)  # type: ignore
    with VoiceLab(settings, store=MemoryStore()) as lab:
        id = lab.generate("The fjord was quiet.", progress=False).record["id"]
        assert [row["id"] for row in lab.history.list(Filters(search="FJORD"))[0]] == [id]
    assert not list(tmp_path.glob("db.json*"))


@in_a_folder
def test_a_database_without_records_beside_takes_is_refused(
    make_replica: MakeReplica, server: Server
) -> None:
    first = make_replica()
    id = first.drain(first.stream(GenerationRequest("A take of ours.")))["id"]
    path = first.library.audio_path(id)
    first.close()
    server.clear()
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"There are 1 audio files, but no records.*db copy"):
            make_replica()
    assert path.exists()
