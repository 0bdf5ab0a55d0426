"""What the tests of the routes share."""

from __future__ import annotations

import pytest

from voicelab.rest import speech


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, an instant take is one body; `hasty` tests say otherwise."""
    monkeypatch.setattr(speech, "WHOLE_WITHIN_S", 600.0)


@pytest.fixture
def hasty(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for: a take is sent from its first sample on."""
    monkeypatch.setattr(speech, "WHOLE_WITHIN_S", 0.0)
    monkeypatch.setattr(speech, "WHOLE_BYTES", 1)
