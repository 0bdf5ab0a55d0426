"""Audio somewhere else: there before a record names it, fetched once, never taken for gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.conftest import MakeLab, write_clip
from voicelab.errors import NotFound, StorageError
from voicelab.lab import VoiceLab
from voicelab.library import Files, Policy, open_files
from voicelab.library.files.remote import RemoteFiles


class Plain(MemoryFileSystem):
    """A file system in which a file being written can be seen, as on a disk far away."""

    protocol = "plain"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("plain://", "memory://"))


@pytest.fixture(params=["memory", "plain"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    fsspec.register_implementation("plain", Plain, clobber=True)
    yield f"{request.param}://bucket/takes"
    for system in (MemoryFileSystem, Plain):
        system.store.clear()
        system.pseudo_dirs[:] = [""]


@pytest.fixture
def lab(make_lab: MakeLab, url: str) -> VoiceLab:
    return make_lab(audio_url=url, cache_mb=1)


@pytest.fixture
def files(tmp_path: Path, url: str) -> Files:
    return open_files(tmp_path / "data", url)


def system(files: Files) -> MemoryFileSystem:
    assert isinstance(files, RemoteFiles)
    return files._system


def names(files: Files) -> list[str]:
    return sorted(system(files).find("/bucket"))


def fail(*_: object, **__: object) -> None:
    raise ConnectionError("the cable is out: secret-key")


def test_a_file_is_there_when_it_is_published_and_fetched_once(
    files: Files, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_bytes("generations/a.wav", b"sound")
    assert names(files) == ["/bucket/takes/generations/a.wav"]
    other = open_files(tmp_path / "other", url)
    assert other.path("generations/a.wav").read_bytes() == b"sound"
    monkeypatch.setattr(system(other), "get_file", fail)
    assert other.path("generations/a.wav").read_bytes() == b"sound"
    assert other.exists("generations/a.wav") and not other.exists("generations/b.wav")
    assert not other.exists(None)
    ((name, size, moment),) = other.audio_files()
    assert (name, size) == ("generations/a.wav", 5) and abs(moment - time.time()) < 60
    assert files.delete("generations/a.wav") == 5 and names(files) == []
    assert files.delete("generations/a.wav") == files.delete(None) == 0


@pytest.mark.parametrize("path", ["", "../x", "generations/../../x", "/etc/passwd", "none.wav"])
def test_nothing_outside_is_reached(files: Files, path: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("private")
    with pytest.raises(NotFound):
        files.path(path)
    assert files.delete(path) == 0 and not files.exists(path)
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize("method", ["put_file", "info"])
def test_a_take_whose_audio_cannot_be_brought_there_fails_and_leaves_nothing(
    lab: VoiceLab, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(system(lab.library.files), method, fail)
        with pytest.raises(StorageError, match="cannot be reached") as caught:
            lab.generate("The fjord was quiet.", progress=False)
    assert "secret-key" not in caught.value.message
    (record,) = lab.history
    assert record["status"] == "failed" and record["audio_path"] is None
    assert not [path for path in (lab.library.files.root).rglob("*") if path.is_file()]
    assert lab.drain(lab.resume(record["id"]))["status"] == "completed"
    assert lab.library.audio_path(record["id"]).stat().st_size > 44


def test_what_a_dead_replica_was_bringing_there_is_swept_when_it_is_old(files: Files) -> None:
    assert isinstance(files, RemoteFiles)
    half = "/bucket/takes/generations/.a.wav.tmp"
    system(files).pipe_file(half, b"half")
    assert list(files.audio_files()) == [] and files.sweep_temporary() == 0
    system(files).store[half].created -= timedelta(hours=2)
    swept = files.sweep_temporary()  # a store of whole files never had it from us
    assert (swept, names(files)) == ((0, [half]) if files._is_whole else (1, []))


def test_two_replicas_may_bring_the_same_file_there(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, places = system(files).put_file, []

    def meanwhile(path: str, there: str, **_: object) -> None:
        places.append(there)
        put(path, there)
        if len(places) == 1:
            files.publish("clips/a.wav")

    monkeypatch.setattr(system(files), "put_file", meanwhile)
    files.write_bytes("clips/a.wav", b"sound")
    assert names(files) == ["/bucket/takes/clips/a.wav"]
    files.target("clips/a.wav").unlink()
    assert files.path("clips/a.wav").read_bytes() == b"sound"


def test_two_threads_and_processes_may_fetch_the_same_file(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_bytes("clips/a.wav", b"sound")
    files.target("clips/a.wav").unlink()
    get, places = system(files).get_file, []

    def meanwhile(there: str, path: str, **_: object) -> None:
        places.append(path)
        get(there, path)
        if len(places) == 1:
            files.path("clips/a.wav")

    monkeypatch.setattr(system(files), "get_file", meanwhile)
    assert files.path("clips/a.wav").read_bytes() == b"sound"
    assert len(set(places)) == 2 and len(list(files.root.rglob("*a.wav*"))) == 1


@pytest.mark.parametrize("url", ["plain"], indirect=True)
def test_what_could_not_be_brought_there_leaves_nothing_there(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system(files), "mv", fail)
    with pytest.raises(StorageError):
        files.write_bytes("clips/a.wav", b"sound")
    assert names(files) == []
    # Where it cannot even be removed, the sweep finds it by its name.
    with monkeypatch.context() as patch, pytest.raises(StorageError):
        patch.setattr(system(files), "rm_file", fail)
        files.write_bytes("clips/a.wav", b"sound")
    (half,) = names(files)
    system(files).store[half].created -= timedelta(hours=2)
    assert files.sweep_temporary() == 1 and names(files) == []


def test_half_a_file_is_not_kept(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: str, there: str, **_: object) -> None:
        system(files).pipe_file(there, Path(path).read_bytes()[:2])

    monkeypatch.setattr(system(files), "put_file", half)
    with pytest.raises(StorageError, match="whole"):
        files.write_bytes("generations/a.wav", b"sound")
    assert not files.target("generations/a.wav").exists()


def test_a_store_that_is_away_is_not_taken_for_an_empty_one(
    lab: VoiceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = lab.generate("The fjord was quiet.", progress=False).record
    lab.library.files.target(record["audio_path"]).unlink()
    with monkeypatch.context() as patch:
        for method in ("info", "find", "get_file"):
            patch.setattr(system(lab.library.files), method, fail)
        for action in (
            lambda: lab.library.storage.cleanup(dry_run=False, min_age_s=0),
            lambda: lab.library.storage.usage(),
            lambda: lab.library.audio_path(record["id"]),
        ):
            with pytest.raises(StorageError, match="cannot be reached"):
                action()
    assert lab.history.get(record["id"])["status"] == "completed"
    assert lab.library.storage.cleanup(dry_run=False, min_age_s=0)["missing_files"] == []
    assert lab.library.audio_path(record["id"]).is_file()


def test_the_clean_up_works_over_there(lab: VoiceLab) -> None:
    first = lab.generate("The fjord was quiet.", progress=False).record
    second = lab.generate("The boats lay still.", progress=False).record
    lab.library.files.write_bytes("generations/orphan.wav", b"sound")
    system(lab.library.files).rm_file(f"/bucket/takes/{second['audio_path']}")
    report = lab.library.storage.cleanup(dry_run=False, min_age_s=-60)
    assert [row["path"] for row in report["orphan_files"]] == ["generations/orphan.wav"]
    assert [row["generation_id"] for row in report["missing_files"]] == [second["id"]]
    assert lab.history.get(second["id"])["status"] == "failed"
    lab.library.store.patch("versions", first["active_version_id"], {"created_at": "2020-01-01"})
    lab.library.storage.set_policy(Policy(flac_after_days=1))
    assert len(lab.library.storage.cleanup(dry_run=False)["compressed"]) == 1
    path = lab.history.get(first["id"])["audio_path"]
    assert path.endswith(".flac") and names(lab.library.files) == [f"/bucket/takes/{path}"]
    assert lab.library.storage.usage()["takes_bytes"] == system(lab.library.files).size(
        f"/bucket/takes/{path}"
    )


def test_a_clip_used_again_is_young_again(lab: VoiceLab, voice: Path) -> None:
    kept = lab.library.files.keep_clip(voice)
    before = {name: moment for name, _, moment in lab.library.files.audio_files()}
    time.sleep(0.02)
    assert lab.library.files.keep_clip(voice) == kept
    after = {name: moment for name, _, moment in lab.library.files.audio_files()}
    assert list(after) == [kept] and after[kept] > before[kept]


def test_pictures_and_clips_of_profiles_go_there_too(lab: VoiceLab, tmp_path: Path) -> None:
    from PIL import Image

    anna = lab.library.profiles.create("Anna")
    sample = lab.library.profiles.add_sample(anna["id"], write_clip(tmp_path / "a.wav", 3.0))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    avatar = lab.library.profiles.set_avatar(anna["id"], (tmp_path / "a.png").read_bytes())[
        "avatar_path"
    ]
    there = {f"/bucket/takes/{path}" for path in (avatar, sample["audio_path"])}
    assert set(names(lab.library.files)) == there
    lab.library.delete_profile(anna["id"])
    assert names(lab.library.files) == []


def test_copies_unused_for_longest_go_first(tmp_path: Path, url: str) -> None:
    files = RemoteFiles(url, tmp_path, max_bytes=250)
    for n in range(4):
        files.write_bytes(f"generations/{n}.wav", bytes(100))
        os.utime(files.target(f"generations/{n}.wav"), (n, n))
    files.path("generations/0.wav")  # used now
    files.prune()
    left = sorted(path.name for path in files.root.rglob("*.wav"))
    assert left == ["0.wav", "3.wav"] and len(names(files)) == 4
    assert files.path("generations/1.wav").stat().st_size == 100


def test_a_folder_is_used_without_copies(make_lab: MakeLab, tmp_path: Path) -> None:
    for number, url in enumerate((Path.as_uri, str)):
        there = tmp_path / f"mounted here {number}"
        lab = make_lab(audio_url=url(there), data_dir=tmp_path / f"data-{number}")
        record = lab.generate("The fjord was quiet.", progress=False).record
        assert lab.library.audio_path(record["id"]) == there / record["audio_path"]
        usage = lab.library.storage.usage()
        assert usage["takes_bytes"] and usage["cache_bytes"] and usage["records_bytes"]
        assert len(list(there.rglob("*.wav"))) == 1


@pytest.mark.parametrize("url", ["nothing://u:secret-key@h/x", "sftp:/x", "s3:x", "s3://"])
def test_a_place_that_cannot_be_used_is_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_files(tmp_path, url).write_bytes("generations/a.wav", b"sound")
    assert "secret-key" not in caught.value.message and "\n" not in caught.value.message


def test_files_half_written_by_another_process_are_left_alone(tmp_path: Path) -> None:
    files = open_files(tmp_path)
    old, new = tmp_path / "generations" / ".a.wav.1.tmp", tmp_path / "generations" / ".b.wav.2.tmp"
    old.parent.mkdir()
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert files.sweep_temporary(min_age_s=3600) == 1 and new.exists() and not old.exists()
    assert files.sweep_temporary() == 1 and not new.exists()
    files.writer("generations/c.wav", 24_000).__enter__()  # and then the process is killed
    assert len(list(old.parent.iterdir())) == 1
    assert files.sweep_temporary() == 1 and list(old.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_names_the_option_that_chose_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    blocked, home = tmp_path / "file" / "below", tmp_path / "home"
    for url, data_dir, option in (
        (None, blocked, "--data-dir"),
        ("memory://bucket/takes", blocked, "--data-dir"),
        (str(blocked), home, "--audio-url"),
        (str(blocked), tmp_path, "--audio-url"),
    ):
        with pytest.raises(StorageError, match=f"with {option}"):
            open_files(data_dir, url)
