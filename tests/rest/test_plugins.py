"""An engine of another package, installed as a distribution, through the routes and the page."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from distributions import BROKEN, build_and_install, on_path, write
from tests.conftest import MakeLab
from voicelab.engines import CHATTERBOX_INFOS, Presence, Registry
from voicelab.engines.plugins import RESERVED
from voicelab.generation.plan import SHAPE_PARAMETERS
from voicelab.lab import VoiceLab
from voicelab.records import GenerationRequest
from voicelab.rest import build, schemas
from voicelab.rest.dialects.chatterbox.long_text import LongBody
from voicelab.ui.tabs.generate import engine_choices

BODIES = (schemas.SpeechBody, schemas.GenerateBody, LongBody)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the hum is installed, and every broken one."""
    folder = tmp_path_factory.mktemp("plugins") / "packages"
    build_and_install(folder)
    for name, (source, _) in BROKEN.items():
        write(folder, f"bad-{name}", source, entry_point=name)
    return folder


@pytest.fixture
def hum(packages: Path, make_lab: MakeLab) -> Iterator[VoiceLab]:
    """A lab whose default engine is the hum."""
    with on_path(packages):
        yield make_lab(engine="hum")


@pytest.fixture
def http(hum: VoiceLab) -> Iterator[TestClient]:
    with TestClient(build(hum), raise_server_exceptions=False) as client:
        yield client


def test_the_engines_say_where_they_come_from(http: TestClient) -> None:
    engines = {each["name"]: each for each in http.get("/engines").json()}
    assert engines["hum"]["source"] == "voicelab-hum 0.3.0" and engines["hum"]["default"]
    assert engines["hum"]["languages"] == {"en": "English", "tlh": "Klingon"}
    assert engines["hum"]["parameters"][0] == {
        **{"name": "hum_hz", "label": "Hum (Hz)", "default": 200, "minimum": 50},
        **{"maximum": 1000, "step": 1, "help": "Pitch of the hum."},
    }
    assert {each["source"] for name, each in engines.items() if name != "hum"} == {"built in"}


def test_health_tells_which_were_left_out_and_why(http: TestClient) -> None:
    broken = {each["entry_point"]: each for each in http.get("/health").json()["broken"]}
    assert set(broken) == set(BROKEN)
    for name, (_, reason) in BROKEN.items():
        assert broken[name]["source"] == f"bad-{name} 1.0"
        assert broken[name]["reason"].startswith(reason)


def test_it_speaks_and_takes_its_parameters(http: TestClient) -> None:
    body = {"input": "Hello there.", "hum_hz": 300, "response_format": "wav", "speed": 1}
    answer = http.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200 and "x-warnings" not in answer.headers
    audio, rate = soundfile.read(io.BytesIO(answer.content))
    spectrum = np.abs(np.fft.rfft(audio))
    assert abs(np.argmax(spectrum) * rate / len(audio) - 300) < 3
    record = http.get(f"/history/{answer.headers['x-generation-id']}").json()
    assert record["engine"] == "hum" and record["parameters"]["hum_hz"] == 300
    form = {"input": (None, "Hello."), "hum_hz": (None, "250")}
    id = http.post("/v1/audio/speech/upload", files=form).headers["x-generation-id"]
    assert http.get(f"/history/{id}").json()["parameters"]["hum_hz"] == 250
    studio = http.post("/generate", json={"text": "Hello.", "hum_hz": None}).json()
    assert studio["parameters"]["hum_hz"] == 200


def test_its_parameters_are_checked_and_documented(http: TestClient) -> None:
    for name in ("SpeechBody", "GenerateBody", "LongBody"):
        schema = http.get("/openapi.json").json()["components"]["schemas"][name]
        assert schema["properties"]["hum_hz"] == {
            "anyOf": [{"type": "number", "minimum": 50, "maximum": 1000}, {"type": "null"}],
            "title": "Hum Hz",
            "description": "hum: Pitch of the hum.",
        }
        assert schema["properties"]["temperature"]["anyOf"][0]["maximum"] == 10
    answer = http.post("/v1/audio/speech", json={"input": "Hello.", "hum_hz": 2000})
    assert answer.status_code == 422 and answer.json()["error"]["param"] == "hum_hz"
    cold = {"input": "Hello.", "engine": "chatterbox", "temperature": 7}
    answer = http.post("/v1/audio/speech", json=cold)
    assert answer.status_code == 422 and answer.json()["error"]["param"] == "temperature"


def test_an_engine_without_them_says_so(http: TestClient) -> None:
    body = {"input": "Hello.", "engine": "tone", "hum_hz": 300}
    answer = http.post("/v1/audio/speech", json=body)
    assert answer.headers["x-warnings"] == '["Tone has no hum_hz; not used."]'


def test_without_the_package_the_parameter_is_unknown(client: TestClient) -> None:
    answer = client.post("/v1/audio/speech", json={"input": "Hello.", "hum_hz": 300})
    assert "Unknown fields, not used: 'hum_hz'." in answer.headers["x-warnings"]
    assert client.get("/health").json()["broken"] == []


def test_the_page_says_how_much_an_engine_fetches(make_lab: MakeLab) -> None:
    lab = make_lab()
    found = {name: Presence(True, True, "It is.", download_mb=3207) for name in CHATTERBOX_INFOS}
    here = Presence(True, True, "it needs no weights.")
    with mock.patch.object(Registry, "presence", lambda self, name: found.get(name, here)):
        choices = engine_choices(lab)
    label = "Chatterbox Spanish (Latin America) (fetches 3.2 GB)"
    assert (label, "chatterbox-es-mx") in choices and ("Tone", "tone") in choices


def test_the_page_offers_it(packages: Path, make_lab: MakeLab) -> None:
    from voicelab.server import Lab

    with on_path(packages):
        lab = make_lab()
        assert ("Hum", "hum") in engine_choices(lab)
        parts = Lab(lab).get_config_file()["components"]
    slider = {"label": "Hum (Hz)", "minimum": 50, "maximum": 1000, "step": 1, "value": 200}
    assert [part for part in parts if slider.items() <= part["props"].items()]


def test_no_field_of_a_body_is_free_for_a_parameter() -> None:
    """RESERVED holds every name that a body or a record uses already."""
    used = {"voice_file", *SHAPE_PARAMETERS, *GenerationRequest.__dataclass_fields__}
    for body in BODIES:
        used |= set(body.model_fields)
        used |= {name for name in dir(body) if not name.startswith(("_", "model_"))}
        for field in body.model_fields.values():
            used |= set(getattr(field.validation_alias, "choices", ()))
    declared = {p.name for info in CHATTERBOX_INFOS.values() for p in info.parameters}
    assert used - RESERVED == set() and declared & RESERVED == set()


def run(packages: Path, folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """The command with the packages on its path; its exit status and all that it says."""
    own = {"PYTHONPATH": str(packages), "VOICELAB_DATA_DIR": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "voicelab", *words],
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_commands_know_it(packages: Path, tmp_path: Path) -> None:
    status, output = run(packages, tmp_path, "--help")
    assert status == 0 and "chatterbox-hi, tone, hum" in " ".join(output.split())
    status, output = run(packages, tmp_path, "doctor", VOICELAB_ENGINE="hum")
    assert status == 0 and "s of speech in" in output
    assert "engine     hum (from voicelab-hum 0.3.0): ready to use" in output
    assert "left out   number (from bad-number 1.0): bad_number:PLUGIN is no" in output


def test_a_broken_one_as_the_setting_is_explained(packages: Path, tmp_path: Path) -> None:
    status, output = run(packages, tmp_path, "--engine", "number")
    assert status == 1 and output.splitlines()[-1].startswith(
        "voicelab: There is no engine 'number'; there are auto, espeak, piper, chatterbox, "
    )
    assert "Traceback" not in output
