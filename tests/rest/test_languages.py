"""Codes of languages at every door: in any case, with or without a region."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeLab
from tests.shape import is_envelope
from voicelab import rest
from voicelab.cli import main
from voicelab.lab import VoiceLab

TEXT = "Hello there."


@pytest.fixture(scope="module")
def espeak_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VoiceLab]:
    with VoiceLab.open(tmp_path_factory.mktemp("data"), engine="espeak") as lab:
        yield lab


@pytest.fixture(scope="module")
def client(espeak_lab: VoiceLab) -> TestClient:
    return TestClient(rest.build(espeak_lab))


@pytest.mark.parametrize(
    ("code", "spoken"),
    [("EN", "en"), ("en_US", "en-us"), ("pt-br", "pt-br"), ("pt-PT", "pt"), ("zh-Hant-TW", "zh")],
)
def test_every_door_finds_the_language(client: TestClient, code: str, spoken: str) -> None:
    bodies = [
        ("/v1/audio/speech", {"input": TEXT, "language": code}),
        ("/v1/audio/speech", {"input": TEXT, "lang_code": code}),
        ("/generate", {"text": TEXT, "language": code}),
        ("/tts", {"text": TEXT, "voice_mode": "predefined", "language": code}),
    ]
    for path, body in bodies:
        answer = client.post(path, json=body)
        assert answer.status_code in (200, 202), (path, answer.text)
        (newest,) = client.get("/history?limit=1").json()["items"]
        assert newest["language"] == spoken, path
    profile = client.post("/profiles", json={"name": f"Anna {code}", "language": code})
    assert profile.status_code == 200
    client.post("/generate", json={"text": TEXT, "profile_id": profile.json()["id"]})
    (newest,) = client.get("/history?limit=1").json()["items"]
    assert newest["language"] == spoken


@pytest.mark.parametrize("code", ["xx", "klingon", "e" * 20, "-", "\u202een"])
def test_a_language_that_nobody_speaks_is_one_error(client: TestClient, code: str) -> None:
    for path, body in (
        ("/v1/audio/speech", {"input": TEXT, "language": code}),
        ("/generate", {"text": TEXT, "language": code}),
        ("/profiles", {"name": "Nobody", "language": code}),
    ):
        refused = client.post(path, json=body)
        assert refused.status_code == 422 and is_envelope(refused), path


def test_the_command_finds_it_too(make_lab: MakeLab, tmp_path, capsys) -> None:
    words = ["say", TEXT, "--language", "zh_CN", "-o", str(tmp_path / "out.wav")]
    given = ["--engine", "espeak", "--data-dir", str(tmp_path / "data")]
    assert main([*words, *given]) == 0
    assert (tmp_path / "out.wav").stat().st_size > 10_000
