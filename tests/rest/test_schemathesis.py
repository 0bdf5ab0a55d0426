"""What schemathesis makes of openapi.json is answered as it says, whatever is sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.conftest import write_clip
from voicelab.lab import VoiceLab
from voicelab.rest import build
from voicelab.settings import Settings

ENDLESS = {"/status/stream", "/v1/status/stream"}
"""Streams that end when the client goes; test_listeners.py reads them."""

CHECKS: list[Any] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.unsupported_method,
]
SEED, EXAMPLES = 11, 5


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VoiceLab]:
    """One lab for all that is sent, so that what one request left meets the next."""
    folder = tmp_path_factory.mktemp("lab")
    chosen = Settings(engine="tone", data_dir=folder, min_free_disk_mb=0, max_queue=10_000)
    with VoiceLab(chosen) as lab:
        yield lab


@pytest.fixture(scope="module")
def known(lab: VoiceLab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ids that are there, by the name of their place in a path."""
    clip = write_clip(tmp_path_factory.mktemp("clips") / "voice.wav", 3.0)
    profile = lab.library.profiles.create("Anna")["id"]
    sample = lab.library.profiles.add_sample(profile, clip)["id"]
    take = lab.generate("The fjord was quiet. A boat drew a line across it.", progress=False)
    story = lab.library.stories.create("The wind", "")["id"]
    item = lab.library.stories.add_item(story, take.id)["id"]
    ids = {"vid": take.record["active_version_id"], "sid": sample, "iid": item, "index": "0"}
    ids |= {"version_id": ids["vid"], "voice_name": "Anna", "job_id": take.id}
    ids |= {"request_id": take.record["request_id"], "/profiles": profile, "/stories": story}
    return ids | {"id": take.id}


def send_invalid(operation: Any, known: dict[str, str], mode: Any, examples: int) -> list[str]:
    """Send examples to an operation; what of the answers is not as declared."""
    wrong: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        # Half of them meet something that is there.
        if (len(str(case.body)) + len(str(case.query))) % 2 == 0:
            for name in case.path_parameters or ():
                case.path_parameters[name] = _id(known, operation.path, name)
        answer = case.call()
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Exception, BaseExceptionGroup) as error:
            wrong.append(f"{error}\n{answer.text[:300]}")

    # An operation without parameters cannot be called wrongly.
    with contextlib.suppress(Unsatisfiable):
        send()
    return wrong


def _id(known: dict[str, str], path: str, name: str) -> str:
    family = "/" + path.split("/")[1]
    return known.get(family if name == "id" else name, known["id"])


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_everything_is_answered_as_declared(
    lab: VoiceLab, known: dict[str, str], mode: schemathesis.GenerationMode, slow: bool
) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", build(lab))
    wrong: list[str] = []
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path not in ENDLESS:
            count += 1
            wrong += send_invalid(operation, known, mode, 60 if slow else EXAMPLES)
    assert not wrong, f"{len(wrong)} wrong answers, the first of them:\n{wrong[0]}"
    assert count > 100
