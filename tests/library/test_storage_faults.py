"""The storage policy when something goes wrong: kills, races, links, a disk that is away."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import MakeLab, blocked_engine
from tests.library.test_storage import command, made
from tests.threads import at_once
from voicelab.audio.codecs import read
from voicelab.audio.metadata import Metadata, read_metadata
from voicelab.errors import Conflict, InvalidInput, NotFound, Protected, TooLarge
from voicelab.lab import VoiceLab
from voicelab.library import Policy, Storage
from voicelab.library.retention import flac
from voicelab.store import Query

LATER_S = 30 * 86_400


@pytest.fixture
def later(lab: VoiceLab) -> Storage:
    """The lab's storage a month from now: nothing in it is young any more."""
    clock = lambda: time.time() + LATER_S  # noqa: E731
    return Storage(
        lab.library.store, lab.library.files, lab.history, lab.library.versions, clock=clock
    )


def takes_folder(lab: VoiceLab) -> Path:
    return lab.library.files.root / "generations"


def sounds(lab: VoiceLab) -> dict[str, bytes]:
    return {
        record["id"]: read(lab.library.audio_path(record["id"]))[0].tobytes()
        for record in lab.history
    }


def test_a_disk_that_was_away_costs_nothing(lab: VoiceLab, later: Storage) -> None:
    ids = [made(lab, f"Take {n}.")["id"] for n in range(3)]
    lab.library.versions.apply(ids[0], [{"type": "gain", "params": {"gain_db": -6}}])
    before = sounds(lab)
    versions = {id: lab.library.versions.of(id) for id in ids}
    away = takes_folder(lab).rename(lab.library.files.root.parent / "away")
    assert len(later.cleanup()["missing_files"]) == 4
    later.cleanup(dry_run=False)
    assert {r["status"] for r in lab.history} == {"failed"}
    assert all(lab.history.get(id)["text"] for id in ids)
    away.rename(takes_folder(lab))
    report = later.cleanup(dry_run=False)
    assert report["orphan_files"] == [] and report["missing_files"] == []
    assert sounds(lab) == before
    assert {id: lab.library.versions.of(id) for id in ids} == versions
    assert {r["status"] for r in lab.history} == {"completed"}
    assert all(r["size_bytes"] for r in lab.history)


def test_the_automatic_clean_up_leaves_the_sweeps_to_a_person(lab, later) -> None:
    id = made(lab)["id"]
    orphan = takes_folder(lab) / "orphan.wav"
    orphan.write_bytes(b"x")
    lab.library.audio_path(id).unlink()
    later.set_policy(Policy(max_takes=100))
    later.tidy()
    assert orphan.exists() and lab.history.get(id)["status"] == "completed"


def test_an_action_without_a_quota_is_no_policy(lab, later) -> None:
    later.set_policy(Policy(quota_action="evict"))
    assert later.tidy() is None


def test_a_take_made_again_is_not_evicted_for_itself(lab: VoiceLab) -> None:
    first, second = made(lab)["id"], made(lab)["id"]
    size = sum(lab.history.get(id)["size_bytes"] for id in (first, second))
    lab.library.storage.set_policy(Policy(quota_mb=size / 2**20, quota_action="evict"))
    lab.drain(lab.regenerate(first))
    assert len(lab.history.get(first)["versions"]) == 2
    assert [r["id"] for r in lab.history] == [first] != [second]


def test_a_quota_that_cannot_be_met_evicts_nothing(lab: VoiceLab) -> None:
    ids = [made(lab)["id"] for _ in range(3)]
    lab.history.toggle_favorite(ids[0])
    size = lab.history.get(ids[0])["size_bytes"]
    lab.library.storage.set_policy(Policy(quota_mb=size / 2**20, quota_action="evict"))
    with pytest.raises(TooLarge):
        made(lab)
    assert len(lab.history) == 3


def test_nothing_is_evicted_for_a_take_that_cannot_be_made_again(
    lab: VoiceLab, voice: Path
) -> None:
    first, second = made(lab, voice_clip=voice), made(lab)
    size = first["size_bytes"]
    lab.library.storage.set_policy(Policy(quota_mb=2 * size / 2**20, quota_action="evict"))
    lab.library.files.path(first["clip"]).unlink()
    with pytest.raises(NotFound):
        lab.regenerate(first["id"])
    lab.history.patch(second["id"], effects_chain=[{"type": "explode"}], status="failed")
    with pytest.raises(InvalidInput):
        lab.retry(second["id"])
    assert len(lab.history) == 2


def test_a_clip_outlives_the_takes_that_go_for_the_next_one(lab: VoiceLab, voice: Path) -> None:
    first = made(lab, voice_clip=voice)
    size = first["size_bytes"]
    lab.library.storage.set_policy(Policy(quota_mb=0.9 * size / 2**20, quota_action="evict"))
    second = made(lab, voice_clip=voice)
    assert second["clip"] == first["clip"] and lab.library.files.exists(second["clip"])
    assert [record["id"] for record in lab.history] == [second["id"]]


def test_takes_without_audio_do_not_go_for_bytes(make_lab: MakeLab) -> None:
    lab = make_lab(tone_fail_on="bad")
    with contextlib.suppress(Exception):
        made(lab, "This is bad.")
    for _ in range(2):
        made(lab)
    failed = next(r["id"] for r in lab.history if r["status"] == "failed")
    lab.library.storage.set_policy(Policy(max_total_mb=0.001))
    report = lab.library.storage.cleanup(dry_run=False, expected=2)
    assert len(report["deleted"]) == 2 and [r["id"] for r in lab.history] == [failed]


def test_a_take_that_gets_a_version_stays(lab: VoiceLab) -> None:
    id = made(lab)["id"]
    with blocked_engine(lab):
        lab.submit(lab.regenerate(id))
        lab.library.storage.set_policy(Policy(max_takes=0))
        lab.library.storage.cleanup(dry_run=False)
    assert [r["id"] for r in lab.history] == [id]


def test_a_version_of_a_last_moment_keeps_its_take_whole(lab: VoiceLab, later: Storage) -> None:
    """Versions come, go and change places while the clean-up compresses them."""
    id = made(lab)["id"]
    first = lab.library.versions.of(id)[0]
    first_wav = lab.library.files.path(first["audio_path"]).read_bytes()
    second = lab.library.versions.apply(id, [{"type": "gain", "params": {"gain_db": -6}}])
    with pytest.raises(Conflict):
        flac.compress(
            first | {"audio_path": second["audio_path"]}, lab.library.store, lab.library.files
        )
    assert lab.library.files.exists(first["audio_path"]) and lab.library.files.exists(
        second["audio_path"]
    )
    flac.compress(first, lab.library.store, lab.library.files)
    lab.library.files.target(first["audio_path"]).write_bytes(first_wav)
    with pytest.raises(Conflict):  # as a second clean-up would, a moment too late
        flac.compress(first, lab.library.store, lab.library.files)
    assert lab.library.files.exists(lab.library.versions.get(first["id"])["audio_path"])
    lab.library.files.delete(first["audio_path"])
    lab.library.versions.set_default(id, first["id"])
    assert lab.library.audio_path(id).suffix == ".flac"
    lab.library.versions.delete(id, first["id"])
    assert lab.library.audio_path(id).suffix == ".wav"
    with pytest.raises(Protected):
        lab.library.versions.delete(id, second["id"])
    (stale,) = lab.library.versions.of(id)
    lab.library.delete(id)
    with pytest.raises(NotFound):
        flac.compress(stale, lab.library.store, lab.library.files)
    assert not list(takes_folder(lab).iterdir())


def test_a_full_disk_ends_the_compression_and_says_so(lab, later, monkeypatch) -> None:
    for n in range(3):
        made(lab, f"Take {n}.")
    later.set_policy(Policy(flac_after_days=1))

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(flac, "_sync", full)
        report = later.cleanup(dry_run=False)
    (failed,) = report["not_compressed"]
    assert "disk is full" in failed["error"]
    assert all(path.suffix == ".wav" for path in takes_folder(lab).iterdir())


def test_a_link_to_another_of_our_files_is_not_followed(lab: VoiceLab) -> None:
    id = made(lab)["id"]
    path = lab.library.audio_path(id)
    path.unlink()
    path.symlink_to(lab.library.files.root / "db.json")
    lab.library.delete(id)
    assert (lab.library.files.root / "db.json").stat().st_size > 0


def test_one_broken_file_does_not_stop_the_others(lab, later) -> None:
    ids = [made(lab, f"Take {n}.")["id"] for n in range(3)]
    lab.library.audio_path(ids[1]).write_bytes(b"junk")
    later.set_policy(Policy(flac_after_days=1))
    report = later.cleanup(dry_run=False)
    assert [lab.library.audio_path(id).suffix for id in ids] == [".flac", ".wav", ".flac"]
    (failed,) = report["not_compressed"]
    assert failed["id"] == ids[1] and len(report["compressed"]) == 2


def test_what_is_not_16_bit_or_empty_stays_as_it_is(lab, later) -> None:
    ids = [made(lab, f"Take {n}.")["id"] for n in range(2)]
    later.set_policy(Policy(flac_after_days=1))
    soundfile.write(lab.library.audio_path(ids[0]), np.zeros(0, np.int16), 24_000, subtype="PCM_16")
    soundfile.write(lab.library.audio_path(ids[1]), np.ones(99), 24_000, subtype="PCM_24")
    before = sounds(lab)
    report = later.cleanup(dry_run=False)
    assert {entry["id"] for entry in report["not_compressed"]} == set(ids)
    assert sounds(lab) == before and len(list(takes_folder(lab).iterdir())) == 2


@pytest.mark.parametrize("frames", [1, (1 << 18) - 1, 1 << 18, 600_001])
def test_every_sample_and_the_rate_are_kept(lab, later, frames: int) -> None:
    id = made(lab)["id"]
    later.set_policy(Policy(flac_after_days=1))
    path = lab.library.audio_path(id)
    pcm = np.random.default_rng(1).integers(-32768, 32768, frames, dtype=np.int16)
    soundfile.write(path, pcm, 11_025, subtype="PCM_16")
    later.cleanup(dry_run=False)
    again, rate = read(lab.library.audio_path(id))
    assert lab.library.audio_path(id).suffix == ".flac" and rate == 11_025
    assert np.array_equal(again, pcm)


def test_a_kill_at_any_step_leaves_the_sound(lab, later, make_lab, monkeypatch, tmp_path) -> None:
    """The folder as it is between any two steps, opened by the next process."""
    id = made(lab)["id"]
    before = sounds(lab)
    (version,) = lab.library.versions.of(id)
    copies: list[Path] = []

    def killed() -> None:
        copies.append(tmp_path / f"killed-{len(copies)}")
        shutil.copytree(lab.library.files.root, copies[-1])

    def watched(owner, name: str) -> None:
        step = getattr(owner, name)

        def stepping(*arguments):
            killed()
            result = step(*arguments)
            killed()
            return result

        monkeypatch.setattr(owner, name, stepping)

    for name in ("_encode", "_sync", "_compare", "sync_folder", "_update_take"):
        watched(flac, name)
    watched(lab.library.store._storage, "_append")
    watched(lab.library.files, "delete")
    flac.compress(version, lab.library.store, lab.library.files)
    monkeypatch.undo()
    assert len(copies) == 14
    kept = []
    for copy in copies:
        other = make_lab(data_dir=copy)
        assert sounds(other) == before
        clock = lambda: time.time() + LATER_S  # noqa: E731
        storage = Storage(
            other.library.store,
            other.library.files,
            other.history,
            other.library.versions,
            clock=clock,
        )
        assert storage.cleanup(dry_run=False)["missing_files"] == []
        assert sounds(other) == before
        kept.append([path.suffix for path in takes_folder(other).iterdir()])
        other.close()
    assert kept[0] == [".wav"] and kept[-1] == [".flac"]
    assert all(len(suffixes) == 1 for suffixes in kept)


def test_two_clean_ups_may_make_the_same_flac(lab, monkeypatch) -> None:
    """On two machines, say: process and thread have the same number there."""
    source = lab.library.audio_path(made(lab)["id"])
    target, encode = source.with_suffix(".flac"), flac._encode
    said = Metadata({"title": "A take"}, b"{}")

    def meanwhile(*given: Path) -> None:
        encode(*given)
        monkeypatch.setattr(flac, "_encode", encode)
        flac._write(source, target, said)

    monkeypatch.setattr(flac, "_encode", meanwhile)
    flac._write(source, target, said)
    assert np.array_equal(read(target)[0], read(source)[0])
    assert read_metadata(target) == said
    assert sorted(takes_folder(lab).iterdir()) == [target, source]


def test_two_clean_ups_at_once_lose_nothing(lab: VoiceLab) -> None:
    """Old takes by a true clock, for the sweep of one must see that the other's FLAC is young."""
    store, storage = lab.library.store, lab.library.storage
    for n in range(8):
        version = made(lab, f"Take number {n}.")["active_version_id"]
        store.patch("versions", version, {"created_at": "2020-01-01T00:00:00.000000Z"})
    before = sounds(lab)
    storage.set_policy(Policy(flac_after_days=1))
    found = at_once(*[lambda: storage.cleanup(dry_run=False)] * 4)
    assert not [error for error in found if isinstance(error, Exception)]
    assert sounds(lab) == before
    assert all(lab.library.audio_path(id).suffix == ".flac" for id in before)


def test_a_clip_used_again_is_young_again(lab: VoiceLab, voice: Path) -> None:
    relative = lab.library.files.keep_clip(voice)
    os.utime(lab.library.files.target(relative), (1e9, 1e9))
    assert lab.library.files.keep_clip(voice) == relative
    assert lab.library.storage.cleanup(dry_run=False)["orphan_files"] == []
    assert lab.library.files.exists(relative)


def test_an_interrupt_after_the_commit_keeps_what_the_record_names(lab, later) -> None:
    """Ctrl+C while the records file is being flushed: the disk may have either state."""
    id = made(lab)["id"]
    before = sounds(lab)[id]
    (version,) = lab.library.versions.of(id)

    @contextlib.contextmanager
    def interrupted():
        with batch():
            yield
        raise KeyboardInterrupt

    batch = lab.library.store.batch
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lab.library.store, "batch", interrupted)
        flac.compress(version, lab.library.store, lab.library.files)
    assert read(lab.library.audio_path(id))[0].tobytes() == before


def test_closing_waits_for_the_clean_up(make_lab: MakeLab, monkeypatch) -> None:
    lab = make_lab()
    for n in range(6):
        made(lab, f"Take number {n}.")
    lab.library.storage.set_policy(Policy(flac_after_days=0))
    lab.close()
    began, ended = threading.Event(), []
    compress = flac.compress

    def slow(*arguments):
        began.set()
        time.sleep(0.5)
        saved = compress(*arguments)
        ended.append(time.monotonic())
        return saved

    monkeypatch.setattr("voicelab.library.retention.storage.compress", slow)
    lab = make_lab()
    assert began.wait(30)
    lab.close()
    closed = time.monotonic()
    time.sleep(0.6)
    assert all(moment <= closed for moment in ended) and len(ended) < 6


def test_the_command_lists_what_it_would_do(make_lab: MakeLab) -> None:
    lab = make_lab()
    made(lab, "Two\nlines.")
    for n in range(21):
        made(lab, f"Take number {n}.")
    lab.library.storage.set_policy(Policy(max_takes=0))
    lab.close()
    before = (lab.library.files.root / "db.json").read_bytes()
    told = command("--data-dir", lab.library.files.root).stdout
    assert "count  Two lines." in told and "and 2 more" in told
    assert "  Default  " in told and "last day" in told
    assert (lab.library.files.root / "db.json").read_bytes() == before
    done = command("--data-dir", lab.library.files.root, "--cleanup", "--remove", "22")
    assert done.stdout.splitlines()[-1].startswith("free ") and "22/22" in done.stderr


def test_the_command_makes_no_folder(tmp_path: Path) -> None:
    done = command("--data-dir", tmp_path / "typo")
    assert done.returncode == 1 and "no data folder" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_many_go_at_the_cost_of_one(lab: VoiceLab) -> None:
    with lab.library.store.batch():
        for n in range(500):
            lab.library.store.insert("notes", {"id": str(n)})
    assert (
        lab.library.store.delete_many("notes", []) == 0 and lab.library.store.count("notes") == 500
    )
    assert lab.library.store.delete_many("notes", ["nobody"]) == 0
    assert lab.library.store.delete_many("notes", ["1", "1", "2", "nobody"]) == 2
    assert lab.library.store.delete_many("notes", [str(n) for n in range(499)]) == 497
    assert [row["id"] for row in lab.library.store.page("notes", Query())[0]] == ["499"]
    assert lab.library.store.delete("notes", "499") and not lab.library.store.delete("notes", "499")
    with pytest.raises(RuntimeError), lab.library.store.batch():
        lab.library.store.delete_many("profiles", ["default"])
        raise RuntimeError
    assert lab.library.store.get("profiles", "default")
