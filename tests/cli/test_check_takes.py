"""check-takes: what of the records does not fit the files, take by take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import blocked_engine, write_clip
from voicelab.cli import main
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest

TEXT = "The fjord was quiet, and a boat drew a line across it."
CHAIN = [{"type": "reverb", "params": {"room_size": 0.7}}]


@pytest.fixture
def recorded(lab: VoiceLab, tmp_path: Path) -> dict[str, Any]:
    """A take with two versions, a profile with a clip; the files of each."""
    take = lab.generate(TEXT, progress=False).id
    version = lab.library.versions.apply(take, CHAIN)
    profile = lab.library.profiles.create("Anna")["id"]
    sample = lab.library.profiles.add_sample(profile, write_clip(tmp_path / "anna.wav", 3.0))
    paths = {"clean": lab.history.get(take)["versions"][0]["audio_path"]}
    paths |= {"processed": version["audio_path"], "clip": sample["audio_path"]}
    return {"take": take, "profile": profile} | paths


def checked(lab: VoiceLab, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["check-takes", "--data-dir", str(lab.settings.data_dir), "--json"])
    return code, json.loads(capsys.readouterr().out)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_a_sound_folder_is_well_and_stays_as_it_is(
    lab: VoiceLab, recorded: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(lab.settings.data_dir)
    code, report = checked(lab, capsys)
    assert (code, report["misfits"]) == (0, [])
    assert (report["takes"], report["versions"], report["clips"]) == (1, 2, 1)
    assert contents(lab.settings.data_dir) == before
    assert main(["check-takes", "--data-dir", str(lab.settings.data_dir)]) == 0
    assert capsys.readouterr().out == "1 takes, 2 versions, 1 clips: all is well.\n"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9000])


def _silent(path: Path) -> None:
    pcm, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, np.zeros_like(pcm), rate, subtype="PCM_16")


def _faster(path: Path) -> None:
    pcm, _ = soundfile.read(path, dtype="int16")
    soundfile.write(path, pcm, 22_050, subtype="PCM_16")


@pytest.mark.parametrize("which", ["clean", "processed", "clip"])
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (Path.unlink, "there is no such file"),
        (lambda path: path.write_bytes(b""), "cannot be decoded"),
        (lambda path: path.write_bytes(b"RIFF junk" * 99), "cannot be decoded"),
        (_cut, "s, the record says"),
        (_silent, "silent"),
        (_faster, "the record says"),
    ],
    ids=["gone", "empty", "junk", "cut", "silent", "rate"],
)
def test_what_does_not_fit_is_told_by_its_take(
    lab: VoiceLab,
    recorded: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    which: str,
    harm: Callable[[Path], None],
    words: str,
) -> None:
    harm(lab.library.files.target(recorded[which]))
    code, report = checked(lab, capsys)
    (misfit,) = report["misfits"]
    assert code == 1 and words in misfit["what"] and misfit["path"] == recorded[which]
    assert misfit["id"] == recorded["profile" if which == "clip" else "take"]
    assert misfit["text"] == ("" if which == "clip" else TEXT)


def test_records_that_name_each_other_wrongly_are_told(
    lab: VoiceLab, recorded: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    other = lab.generate(TEXT, progress=False).id
    third = lab.generate(TEXT, progress=False).id
    lab.library.store.patch("generations", other, {"active_version_id": "none"})
    lab.library.store.patch("generations", third, {"audio_path": recorded["clean"]})
    lab.library.store.delete("generations", recorded["take"])
    code, report = checked(lab, capsys)
    found = sorted((misfit["kind"], misfit["id"], misfit["what"]) for misfit in report["misfits"])
    gone = ("version", recorded["take"], "its take is not in the records")
    assert code == 1 and found == sorted(
        [
            gone,
            gone,
            ("take", other, "the default version is not in the records"),
            ("take", third, "it names another file than its default version"),
        ]
    )


def test_the_file_of_another_take_in_place_of_one_is_told(
    lab: VoiceLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same length, so that nothing but what the file says of itself tells them apart."""
    texts = ("The boat was blue.", "The coat was grey.")
    paths = [lab.library.audio_path(lab.generate(text, progress=False).id) for text in texts]
    paths[1].write_bytes(paths[0].read_bytes())
    code, report = checked(lab, capsys)
    (misfit,) = report["misfits"]
    assert code == 1 and misfit["text"] == texts[1] and texts[0] in misfit["what"]


def test_a_file_that_nothing_names_is_told(
    lab: VoiceLab, recorded: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    orphan = lab.library.files.root / "generations" / "nobody.wav"
    orphan.write_bytes(b"x")
    os.utime(orphan, (0, 0))
    code, report = checked(lab, capsys)
    assert code == 1 and [m["path"] for m in report["misfits"]] == ["generations/nobody.wav"]


def test_what_is_being_made_and_what_failed_fit(
    lab: VoiceLab, recorded: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with blocked_engine(lab):
        record = lab.submit(GenerationRequest(TEXT))
        assert checked(lab, capsys)[0] == 0
        lab.cancel(record["request_id"])
    assert checked(lab, capsys)[0] == 0


def test_it_reads_the_folder_of_an_app_that_runs(
    lab: VoiceLab, recorded: dict[str, Any], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "voicelab", "check-takes", "--data-dir"]
    for folder, code, words in (
        (lab.settings.data_dir, 0, "1 takes, 2 versions, 1 clips: all is well."),
        (tmp_path / "none", 1, "There is no data folder"),
    ):
        ended = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
        assert ended.returncode == code and words in ended.stdout + ended.stderr
    assert not (tmp_path / "none").exists()
