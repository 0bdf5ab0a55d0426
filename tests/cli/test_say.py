"""`say`: a text as a file, and a take in the library."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voicelab.audio import FORMATS, decode
from voicelab.cli import main
from voicelab.lab import VoiceLab

TEXT = "The fjord was quiet. A bell rang far away."


def say(folder: Path, *words: str) -> int:
    return main(["say", "--engine", "tone", "--data-dir", str(folder), *words])


def set_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_written_by_its_suffix(name: str, tmp_path: Path, capsys) -> None:
    target = tmp_path / f"out{FORMATS[name].suffix.upper()}"
    assert say(tmp_path / "data", TEXT, "-o", str(target), "--seed", "7") == 0
    output = re.fullmatch(r"take ([0-9a-f-]{36}), (\d+\.\d\d) s\n", capsys.readouterr().out)
    assert output
    if name == "pcm":
        duration_s = target.stat().st_size / 2 / 24_000
    else:
        samples, rate = decode(target)
        duration_s = len(samples) / rate
    assert duration_s == pytest.approx(float(output[2]), abs=0.1)
    assert list(tmp_path.glob(".*")) == []


def test_the_take_is_kept_as_any_other(make_lab, tmp_path: Path, capsys) -> None:
    words = ("--seed", "7", "--speed", "1.25", "--language", "en")
    assert say(tmp_path / "data", TEXT, "-o", str(tmp_path / "out.wav"), *words) == 0
    output = capsys.readouterr()
    id = output.out.split()[1].rstrip(",")
    assert "1/1" in output.err and "chunk/s" in output.err
    lab: VoiceLab = make_lab()
    record = lab.history.get(id)
    assert (record["text"], record["seed"], record["engine"]) == (TEXT, 7, "tone")
    assert (record["status"], record["source"], record["language"]) == ("completed", "cli", "en")
    kept, rate = decode(lab.library.audio_path(id))
    written, written_rate = decode(tmp_path / "out.wav")
    assert rate == written_rate and np.array_equal(kept, written)
    longer = lab.generate(TEXT, seed=7, progress=False).record["duration"]
    assert record["duration"] < longer


def test_a_profile_speaks(make_lab, voice: Path, tmp_path: Path, capsys) -> None:
    lab: VoiceLab = make_lab()
    profile = lab.library.profiles.create("Anna")["id"]
    lab.library.profiles.add_sample(profile, voice)
    lab.close()
    out = str(tmp_path / "out.flac")
    assert say(tmp_path / "data", TEXT, "-o", out, "--voice", "Anna") == 0
    (take,) = (make_lab().history.get(capsys.readouterr().out.split()[1].rstrip(",")),)
    assert take["profile_id"] == profile
    assert say(tmp_path / "other", TEXT, "-o", out, "--voice", "Nobody") == 1
    assert "Nobody" in capsys.readouterr().err


def test_the_text_may_come_from_the_input(make_lab, tmp_path: Path, capsys, monkeypatch) -> None:
    set_stdin(monkeypatch, "Grüße vom Fjord.\n".encode())
    assert say(tmp_path / "data", "-", "-o", str(tmp_path / "out.wav")) == 0
    id = capsys.readouterr().out.split()[1].rstrip(",")
    assert make_lab().history.get(id)["text"] == "Grüße vom Fjord."


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"caf\xe9", "is not UTF-8"), (b"", "text"), (b"   ", "text")]
)
def test_no_text_is_told(content: bytes, sentence: str, tmp_path, capsys, monkeypatch) -> None:
    set_stdin(monkeypatch, content)
    assert say(tmp_path / "data", "-", "-o", str(tmp_path / "out.wav")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("voicelab: ") and sentence in line
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("out.doc", "out.doc names no format; the end of the name may be .wav, .mp3, .flac,"),
        ("out", "out names no format"),
        ("nowhere/out.mp3", "out.mp3 cannot be written: No such file or directory."),
        ("folder.mp3", "is a folder; name a file."),
        (f"{'long' * 60}.mp3", ".mp3 cannot be written: File name too long."),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(
    name: str, sentence: str, tmp_path: Path, capsys
) -> None:
    (tmp_path / "folder.mp3").mkdir()
    assert say(tmp_path / "data", TEXT, "-o", str(tmp_path / name)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("voicelab: ") and sentence in line
    assert not (tmp_path / "data").exists()


def test_while_the_app_runs_it_says_how_to_go_on(lab: VoiceLab, tmp_path: Path, capsys) -> None:
    target = tmp_path / "out.wav"
    assert say(lab.settings.data_dir, TEXT, "-o", str(target)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is in use by process" in line and line.endswith(
        "With --no-keep no data folder is needed."
    )
    assert not target.exists()
    assert say(lab.settings.data_dir, TEXT, "-o", str(target), "--no-keep") == 0
    assert capsys.readouterr().out.startswith("not kept, ")
    assert decode(target)[1] == 24_000
    assert lab.history.stats()["total_generations"] == 0


def test_nothing_is_left_of_what_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert say(tmp_path / "data", TEXT, "-o", str(tmp_path / "out.ogg"), "--no-keep") == 0
    assert not list(temporary.iterdir()) and not (tmp_path / "data").exists()


def test_ctrl_c_ends_it_in_order(make_lab, tmp_path: Path) -> None:
    words = ["--engine", "tone", "--data-dir", str(tmp_path / "data"), "-o", "out.wav"]
    process = subprocess.Popen(
        [sys.executable, "-m", "voicelab", "say", TEXT, *words],
        cwd=tmp_path,
        env={**os.environ, "VOICELAB_TONE_DELAY_S": "60"},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr
    while b"0/1" not in (output := process.stderr.read1()):
        assert output, "it ended before it began"
    process.send_signal(signal.SIGINT)
    output = process.communicate()[1]
    assert process.returncode == 130 and b"Traceback" not in output
    assert not (tmp_path / "out.wav").exists()
    (record,) = make_lab().history.list()[0]
    assert (record["status"], record["error"]) == ("failed", "cancelled")


def test_what_is_not_done_is_told(tmp_path: Path, capsys) -> None:
    text = "[laugh] So it is."
    assert say(tmp_path / "data", text, "-o", str(tmp_path / "out.wav"), "--no-keep") == 0
    assert "voicelab: " in capsys.readouterr().err
