"""The storage policy: what goes, what stays, and that nothing is ever half gone."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import MakeLab
from voicelab.audio.codecs import read
from voicelab.errors import Conflict, InvalidInput, StorageError, TooLarge
from voicelab.lab import VoiceLab
from voicelab.library import Policy, Storage
from voicelab.library.retention import flac
from voicelab.records import GenerationRequest

DAY_S = 86_400


@pytest.fixture
def takes(lab: VoiceLab) -> list[str]:
    """Four takes, the oldest first: 40, 20, 8 and 0 days old."""
    ids = []
    for days in (40, 20, 8, 0):
        id = made(lab)["id"]
        moment = f"2026-06-{30 - days:02d}" if days < 30 else "2026-05-21"
        stamp = {"created_at": f"{moment}T12:00:00.000000Z"}
        lab.library.store.patch("generations", id, stamp)
        for version in lab.library.versions.of(id):
            lab.library.store.patch("versions", version["id"], stamp)
        ids.append(id)
    return ids


@pytest.fixture
def storage(lab: VoiceLab) -> Storage:
    """As of 30 June 2026, 12:00 and a second."""
    return Storage(
        lab.library.store,
        lab.library.files,
        lab.history,
        lab.library.versions,
        clock=lambda: 1_782_820_801.0,
    )


def made(lab: VoiceLab, text: str = "A short take.", **fields) -> dict:
    return lab.drain(lab.stream(GenerationRequest(text, **fields)))


def snapshot(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def remaining(lab: VoiceLab) -> set[str]:
    return {record["id"] for record in lab.history}


def test_without_a_policy_nothing_goes(lab, storage, takes) -> None:
    assert storage.policy() == Policy()
    assert storage.cleanup(dry_run=False)["deleted"] == [] and storage.tidy() is None
    assert remaining(lab) == set(takes)


@pytest.mark.parametrize(
    ("policy", "gone", "reason"),
    [
        (Policy(max_age_days=30), 1, "age"),
        (Policy(max_age_days=20), 2, "age"),
        (Policy(max_age_days=20.1), 1, "age"),
        (Policy(max_takes=3), 1, "count"),
        (Policy(max_takes=0), 4, "count"),
        (Policy(max_takes=4), 0, "count"),
        (Policy(quota_mb=0, quota_action="evict"), 4, "quota"),
        (Policy(quota_mb=0, quota_action="refuse"), 0, "quota"),
        (Policy(max_total_mb=1000), 0, "bytes"),
    ],
)
def test_the_oldest_go_first(lab, storage, takes, policy: Policy, gone: int, reason: str) -> None:
    storage.set_policy(policy)
    before = snapshot(lab.library.files.root)
    planned = storage.cleanup()
    assert snapshot(lab.library.files.root) == before, "a dry run changes nothing"
    assert planned["going_files"] == gone and planned["audio_files"] == 4
    report = storage.cleanup(dry_run=False, expected=gone)
    assert [entry["id"] for entry in planned["deleted"]] == takes[:gone]
    assert report["deleted"] == planned["deleted"]
    assert all(entry["reason"] == reason for entry in report["deleted"])
    assert report["freed_bytes"] == planned["freed_bytes"]
    assert remaining(lab) == set(takes[gone:])
    assert len(list((lab.library.files.root / "generations").iterdir())) == 4 - gone


def test_bytes_are_freed_down_to_the_limit(lab, storage, takes) -> None:
    size = lab.history.get(takes[0])["size_bytes"]
    storage.set_policy(Policy(max_total_mb=2.5 * size / 2**20))
    assert [e["id"] for e in storage.cleanup(dry_run=False)["deleted"]] == takes[:2]
    assert lab.history.stats()["total_size_bytes"] <= 2.5 * size


def test_favourites_stories_and_running_takes_stay(lab, storage, takes) -> None:
    lab.history.toggle_favorite(takes[0])
    lab.library.store.insert(
        "story_items", {"id": "i", "generation_id": takes[1], "version_id": None}
    )
    lab.history.patch(takes[2], status="pending")
    storage.set_policy(Policy(max_takes=0, max_age_days=0, max_total_mb=0))
    assert [e["id"] for e in storage.cleanup(dry_run=False)["deleted"]] == takes[3:]
    assert remaining(lab) == set(takes[:3])


def orphans(lab: VoiceLab, number: int) -> None:
    for index in range(number):
        path = lab.library.files.root / "generations" / f"orphan-{index}.wav"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize(
    ("orphaned", "number"), [(4, None), (5, "5 of 9"), (40, "40 of 44")], ids=str
)
def test_more_than_half_of_all_files_go_only_by_their_number(
    lab: VoiceLab, storage: Storage, takes: list[str], orphaned: int, number: str | None
) -> None:
    orphans(lab, orphaned)
    before = snapshot(lab.library.files.root)
    if number is not None:
        with pytest.raises(Conflict, match=f"would remove {number} audio files") as raised:
            storage.cleanup(dry_run=False)
        assert raised.value.code == "more_than_half" and raised.value.param == "expected"
    for wrong in (0, orphaned - 1, orphaned + 1):
        with pytest.raises(Conflict, match=f"not {wrong}: look again"):
            storage.cleanup(dry_run=False, expected=wrong)
    assert snapshot(lab.library.files.root) == before and remaining(lab) == set(takes)
    report = storage.cleanup(dry_run=False, expected=orphaned if number else None)
    assert len(report["orphan_files"]) == report["going_files"] == orphaned
    assert (
        remaining(lab) == set(takes) and len(snapshot(lab.library.files.root / "generations")) == 4
    )


def test_takes_of_the_policy_and_files_of_no_take_are_counted_together(
    lab: VoiceLab, storage: Storage, takes: list[str]
) -> None:
    orphans(lab, 1)
    storage.set_policy(Policy(max_takes=2))
    before = snapshot(lab.library.files.root / "generations")
    with pytest.raises(Conflict, match="would remove 3 of 5"):
        storage.cleanup(dry_run=False)
    assert snapshot(lab.library.files.root / "generations") == before and remaining(lab) == set(
        takes
    )
    assert storage.cleanup(dry_run=False, expected=3)["going_files"] == 3


@pytest.mark.parametrize(("most", "stay"), [(2, 2), (1, 4), (0, 4)])
def test_what_runs_by_itself_never_removes_more_than_half(
    lab: VoiceLab, storage: Storage, takes: list[str], caplog, most: int, stay: int
) -> None:
    storage.set_policy(Policy(max_takes=most))
    report = storage.tidy()
    assert report is not None and len(report["deleted"]) == 4 - stay
    assert len(remaining(lab)) == stay == len(snapshot(lab.library.files.root / "generations"))
    assert ("the storage policy was not applied" in caplog.text) == (stay == 4)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_age_days": -1},
        {"max_age_days": math.nan},
        {"max_age_days": math.inf},
        {"max_age_days": True},
        {"max_age_days": "7"},
        {"max_age_days": 36_501},
        {"max_takes": 1.5},
        {"max_takes": -1},
        {"max_total_mb": 2e9},
        {"quota_mb": "x"},
        {"quota_action": "shout"},
        {"quota_action": None},
        {"flac_after_days": -0.1},
        {"flac_after_days": [1]},
        {"max_takes": True},
    ],
    ids=str,
)
def test_a_bad_policy_names_its_field(fields: dict) -> None:
    ((name, value),) = fields.items()
    with pytest.raises(
        InvalidInput, match=rf"^{name} is {re.escape(str(value))}; .* allowed"
    ) as raised:
        Policy(**fields)
    assert raised.value.param == name


def test_a_policy_outlives_the_process(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.library.storage.set_policy(Policy(max_takes=5))
    lab.library.storage.set_policy(Policy(max_takes=7, quota_action="evict"))
    lab.close()
    assert make_lab().library.storage.policy() == Policy(max_takes=7, quota_action="evict")


def test_a_quota_refuses_the_next_take_of_that_profile_alone(lab: VoiceLab) -> None:
    lab.library.profiles.create("Anna")
    made(lab, voice="Anna")
    lab.library.storage.set_policy(Policy(quota_mb=0.001))
    with pytest.raises(TooLarge, match=r"quota of 0\.001 MiB"):
        made(lab, voice="Anna")
    made(lab)
    with pytest.raises(TooLarge):
        made(lab)
    made(lab, store=False)
    assert len(lab.history) == 2 and lab.status.current()["status"] == "idle"


def test_a_quota_may_evict_the_oldest_instead(lab: VoiceLab) -> None:
    ids = [made(lab)["id"] for _ in range(3)]
    lab.history.toggle_favorite(ids[0])
    size = lab.history.get(ids[0])["size_bytes"]
    lab.library.storage.set_policy(Policy(quota_mb=2.5 * size / 2**20, quota_action="evict"))
    new = made(lab)["id"]
    assert remaining(lab) == {ids[0], ids[2], new}


def test_old_takes_become_flac_and_sound_the_same(lab, storage, takes) -> None:
    before = {id: read(lab.library.audio_path(id))[0] for id in takes}
    storage.set_policy(Policy(flac_after_days=10))
    planned = storage.cleanup()
    assert [e["saved_bytes"] for e in planned["compressed"]] == [None, None]
    report = storage.cleanup(dry_run=False)
    assert all(entry["saved_bytes"] > 0 for entry in report["compressed"])
    suffixes = [lab.library.audio_path(id).suffix for id in takes]
    assert suffixes == [".flac", ".flac", ".wav", ".wav"]
    for id in takes:
        assert np.array_equal(read(lab.library.audio_path(id))[0], before[id])
        record = lab.history.get(id)
        assert record["size_bytes"] == lab.library.audio_path(id).stat().st_size
    assert len(list((lab.library.files.root / "generations").iterdir())) == 4
    assert storage.cleanup(dry_run=False)["compressed"] == []


@pytest.mark.parametrize("step", ["_encode", "_sync", "array_equal", "sync_folder", "_update_take"])
def test_compression_that_fails_at_any_step_leaves_the_wav(
    lab, storage, takes, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    storage.set_policy(Policy(flac_after_days=10))

    def broken(*_: object) -> bool:
        if step == "array_equal":
            return False
        raise OSError(errno.EIO, "broken") if step == "_sync" else StorageError("broken")

    folder = lab.library.files.root / "generations"
    before = snapshot(folder)
    with monkeypatch.context() as patch:
        patch.setattr(flac.np if step == "array_equal" else flac, step, broken)
        report = storage.cleanup(dry_run=False)
    assert {e["id"] for e in report["not_compressed"]} == set(takes[:2])
    assert report["compressed"] == [] and all(e["error"] for e in report["not_compressed"])
    after = snapshot(folder)
    assert {path: after[path] for path in before} == before
    assert {Path(path).suffix for path in after} <= {".wav", ".flac"}
    assert all(lab.library.audio_path(id).suffix == ".wav" for id in takes)
    assert len(storage.cleanup(dry_run=False)["compressed"]) == 2
    assert len(snapshot(folder)) == 4


def test_what_a_kill_between_flac_and_wav_leaves_is_swept(lab, storage, takes) -> None:
    storage.set_policy(Policy(flac_after_days=10))
    path = lab.library.audio_path(takes[0])
    content = path.read_bytes()
    storage.cleanup(dry_run=False)
    path.write_bytes(content)  # the process died before the WAV went
    os.utime(path, (1e9, 1e9))
    assert [o["path"] for o in storage.cleanup(dry_run=False)["orphan_files"]] == [
        f"generations/{path.name}"
    ]
    assert not path.exists() and lab.library.audio_path(takes[0]).exists()


def test_files_that_no_take_has_are_swept_when_they_are_old(lab, storage, takes) -> None:
    old, young = (
        lab.library.files.root / "generations" / f"{name}.wav" for name in ("old", "young")
    )
    for path, changed in ((old, 1e9), (young, 1_782_820_000)):
        path.write_bytes(b"x" * 100)
        os.utime(path, (changed, changed))
    (report,) = storage.cleanup()["orphan_files"]
    assert report == {"path": "generations/old.wav", "size_bytes": 100} and old.exists()
    storage.cleanup(dry_run=False)
    assert not old.exists() and young.exists()
    assert all(lab.library.audio_path(id).exists() for id in takes)


def test_a_link_is_never_followed(lab, storage, tmp_path: Path) -> None:
    outside = tmp_path / "precious.wav"
    outside.write_bytes(b"mine")
    link = lab.library.files.root / "generations" / "link.wav"
    link.parent.mkdir()
    link.symlink_to(outside)
    storage.cleanup(dry_run=False)
    assert outside.read_bytes() == b"mine"
    lab.library.files.delete("generations/link.wav")
    lab.library.files.delete("../precious.wav")
    assert outside.read_bytes() == b"mine"


def test_a_take_without_its_file_can_be_made_again(lab, storage) -> None:
    id = made(lab, seed=4)["id"]
    sound = read(lab.library.audio_path(id))[0]
    lab.library.audio_path(id).unlink()
    assert storage.cleanup()["missing_files"][0]["generation_id"] == id
    assert lab.history.get(id)["status"] == "completed"
    storage.cleanup(dry_run=False)
    record = lab.history.get(id)
    assert record["status"] == "failed" and "gone" in record["error"]
    lab.drain(lab.retry(id))
    assert np.array_equal(read(lab.library.audio_path(id))[0], sound)
    assert len(lab.history.get(id)["versions"]) == 1
    # When it is the file of one version among several, another takes over.
    lab.drain(lab.regenerate(id))
    lab.library.audio_path(id).unlink()
    storage.cleanup(dry_run=False)
    assert lab.history.get(id)["status"] == "completed"
    assert np.array_equal(read(lab.library.audio_path(id))[0], sound)


def test_each_file_is_asked_for_as_seldom_as_can_be(lab, storage, monkeypatch) -> None:
    id = made(lab)["id"]
    lab.drain(lab.regenerate(id))
    first, second = (
        lab.library.files.path(version["audio_path"]) for version in lab.library.versions.of(id)
    )
    second.unlink()
    asked, exists = [], lab.library.files.exists

    def counted(relative: str) -> bool:
        asked.append(relative)
        return exists(relative)

    monkeypatch.setattr(lab.library.files, "exists", counted)
    storage.cleanup(dry_run=False)  # asks for what is not listed, then for both of the take
    assert len(asked) == 3 and lab.library.audio_path(id) == first


def test_usage_adds_up(lab, storage, takes) -> None:
    usage = storage.usage()
    files = sum(p.stat().st_size for p in lab.library.files.root.rglob("*") if p.is_file())
    assert usage["total_bytes"] == files and usage["takes"] == 4
    assert sum(e["size_bytes"] for e in usage["by_age"]) == usage["takes_bytes"]
    assert [e["takes"] for e in usage["by_age"]] == [1, 0, 2, 1]
    (profile,) = usage["by_profile"]
    assert profile["profile_name"] == "Default" and profile["size_bytes"] == usage["takes_bytes"]
    assert usage["cache_bytes"] > 0 and usage["free_bytes"] > 0


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voicelab", "storage", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_and_cleans(make_lab: MakeLab) -> None:
    lab = make_lab()
    folder = lab.library.files.root
    made(lab)
    lab.library.storage.set_policy(Policy(max_takes=0))
    busy = command("--data-dir", folder, "--cleanup")
    assert busy.returncode == 1 and "is in use by process" in busy.stderr
    lab.close()
    refused = command("--data-dir", folder, "--cleanup")
    assert refused.returncode == 1 and "--remove 1)" in refused.stderr
    told = command("--data-dir", folder)
    assert told.returncode == 0 and "would go: 1 takes" in told.stdout
    done = command("--data-dir", folder, "--cleanup", "--remove", "1", "--json")
    assert len(json.loads(done.stdout)["cleanup"]["deleted"]) == 1
    assert len(make_lab().history) == 0
