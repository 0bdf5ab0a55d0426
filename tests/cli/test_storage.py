"""`storage`: what the takes weigh, also while the app runs; the clean-up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from voicelab.cli import main
from voicelab.lab import VoiceLab
from voicelab.library import TAKES


@pytest.fixture
def takes(lab: VoiceLab) -> VoiceLab:
    """A lab with three takes, and an old file of none."""
    for number in range(3):
        lab.generate(f"Sentence {number}.", progress=False)
    orphan = lab.settings.data_dir / TAKES / "orphan.wav"
    orphan.write_bytes(bytes(1000))
    os.utime(orphan, (0, 0))
    return lab


def storage(lab: VoiceLab, *words: str) -> int:
    return main(["storage", "--data-dir", str(lab.settings.data_dir), *words])


def reported(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_it_reports_while_the_app_runs(takes: VoiceLab, capsys) -> None:
    before = contents(takes.settings.data_dir)
    assert storage(takes, "--json") == 0
    report = reported(capsys)
    assert report["usage"]["takes"] == 3
    assert report["usage"]["takes_bytes"] == takes.library.storage.usage()["takes_bytes"]
    assert [Path(o["path"]).name for o in report["cleanup"]["orphan_files"]] == ["orphan.wav"]
    assert report["cleanup"]["dry_run"] and contents(takes.settings.data_dir) == before
    assert storage(takes) == 0
    assert "would go, files of no take: 1" in capsys.readouterr().out


def test_a_clean_up_needs_the_folder_for_itself(takes: VoiceLab, capsys) -> None:
    before = contents(takes.settings.data_dir)
    assert storage(takes, "--cleanup") == 1
    assert "is in use by process" in capsys.readouterr().err
    assert contents(takes.settings.data_dir) == before
    takes.close()
    assert storage(takes, "--cleanup", "--json") == 0
    report = reported(capsys)
    assert len(report["cleanup"]["orphan_files"]) == 1 and report["usage"]["takes"] == 3
    assert not (takes.settings.data_dir / TAKES / "orphan.wav").exists()


@pytest.mark.parametrize("words", [(), ("--cleanup",)], ids=str)
def test_it_makes_no_folder(words: tuple[str, ...], tmp_path: Path, capsys) -> None:
    assert main(["storage", "--data-dir", str(tmp_path / "typo"), *words]) == 1
    assert "no data folder" in capsys.readouterr().err and not (tmp_path / "typo").exists()
