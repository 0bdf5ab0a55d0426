from __future__ import annotations

import pytest

from voicelab.__main__ import main


def test_the_doctor_tells_what_to_expect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--engine", "tone"]) == 0
    out = capsys.readouterr().out
    for word in ("machine ", "versions ", "torch 2.", "engine ", "products   mkl", "one "):
        assert word in out
    assert "real-time factor 0.0" in out


def test_the_doctor_says_why_an_engine_does_not_speak(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--engine", "chatterbox"]) == 1
    assert "it does not speak: its weights are not here" in capsys.readouterr().out


def test_the_doctor_knows_its_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--engine", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().out
