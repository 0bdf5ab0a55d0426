from __future__ import annotations

import re
from unittest import mock

import pytest

from voicelab.cli import main
from voicelab.engines.chatterbox.linear import KERNELS


def test_the_doctor_tells_what_to_expect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--engine", "tone"]) == 0
    out = capsys.readouterr().out
    for word in ("machine ", "versions ", "torch 2.", "engine ", "one "):
        assert word in out
    # Which of them are right here is the processor's to say.
    products = re.findall(r"^products   (\w+): (.+)$", out, re.MULTILINE)
    assert products and {name for name, _ in products} <= {*KERNELS, "plain"}
    assert "real-time factor 0.0" in out


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            {"onednn": [1.0, 2.0, 3.0, 4.0, 5.0]},
            "onednn: 1.00, 2.00, 3.00, 4.00, 5.00 ms a layer with 1, 2, 4, 8, 16 rows",
        ),
        ({}, "plain: torch's own, since no packed ones are right here"),
    ],
)
def test_the_doctor_tells_the_products_that_are_right_here(
    found: dict[str, list[float]], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with mock.patch("voicelab.engines.chatterbox.selftest.timings", return_value=found):
        assert main(["doctor", "--engine", "tone"]) == 0
    assert f"products   {line}" in capsys.readouterr().out


def test_the_doctor_says_why_an_engine_does_not_speak(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--engine", "chatterbox"]) == 1
    assert "it does not speak: its weights are not here" in capsys.readouterr().out


def test_the_doctor_knows_its_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--engine", "nobody"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("voicelab: There is no engine 'nobody'; there are auto, ")
