"""openapi.json says what routes answer, and routes answer as it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.rest.tour import Tour
from voicelab.lab import VoiceLab

SOUND = {"audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "audio/aac"}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def strict(schema: Any) -> Any:
    """The schema with no room for keys that it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def named(schema: dict[str, Any]) -> bool:
    """Whether it is of objects whose fields are declared, or of texts."""
    if "anyOf" in schema:
        return all(map(named, schema["anyOf"]))
    each = schema.get("items", schema)
    return "$ref" in each or each.get("type") == "string"


def validator(document: dict[str, Any], pointer: str) -> Draft202012Validator:
    whole = Resource.from_contents(
        {"$schema": "https://json-schema.org/draft/2020-12/schema"} | strict(document)
    )
    registry = Registry().with_resource("urn:openapi", whole)
    return Draft202012Validator({"$ref": f"urn:openapi#{pointer}"}, registry=registry)


def pointer(*parts: str) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def test_every_answer_is_as_declared(
    client: TestClient, lab: VoiceLab, voice, document: dict[str, Any]
) -> None:
    answers = Tour(client, lab, voice).go()
    declared = {(method, path): operation for method, path, operation in operations(document)}
    # Streams without an end cannot be read whole; test_listeners.py reads them.
    endless = {("GET", "/status/stream"), ("GET", "/v1/status/stream")}
    assert set(declared) - set(answers) == endless
    for (method, path), responses in answers.items():
        for answer in responses:
            code = str(answer.status_code)
            content = declared[method, path]["responses"][code]["content"]
            kind = answer.headers["content-type"].partition(";")[0]
            assert kind in content, (method, path, kind)
            if kind == "application/json":
                parts = ("paths", path, method.lower(), "responses", code, "content", kind)
                schema = validator(document, pointer(*parts, "schema"))
                wrong = [f"{e.json_path}: {e.message}" for e in schema.iter_errors(answer.json())]
                assert not wrong, (method, path, wrong[:3])


def test_every_answer_has_a_schema_and_every_error_our_shape(document: dict[str, Any]) -> None:
    error = {"$ref": "#/components/schemas/ErrorBody"}
    for method, path, operation in operations(document):
        where = (method, path)
        answers = operation["responses"]
        for code, answer in answers.items():
            assert re.fullmatch(r"[245]\d\d", code), where
            schemas = [entry["schema"] for entry in answer["content"].values()]
            assert schemas and all(schemas), where
            if code >= "400":
                assert schemas == [error], where
        assert {"401", "403", "500", "503"} <= set(answers), where
        responses = bool(operation.get("parameters") or operation.get("requestBody"))
        assert ({"400", "404", "422"} <= set(answers)) == responses, where


def test_every_answer_in_json_names_its_fields(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for code, answer in operation["responses"].items():
            schema = answer["content"].get("application/json", {}).get("schema")
            if schema is not None:
                assert named(schema), (method, path, code)


def test_sound_archives_tables_and_events_are_declared_as_what_they_are(
    document: dict[str, Any],
) -> None:
    def content(method: str, path: str) -> dict[str, Any]:
        return document["paths"][path][method]["responses"]["200"]["content"]

    binary, text = {"type": "string", "format": "binary"}, {"type": "string"}
    speech = content("post", "/v1/audio/speech")
    assert set(speech) == SOUND | {"audio/pcm", "text/event-stream"}
    assert speech["audio/mpeg"]["schema"] == binary
    events = speech["text/event-stream"]
    assert "type" not in events["schema"] and "events" in events["schema"]["description"]
    assert content("get", "/history/{id}/export") == {"application/zip": {"schema": binary}}
    assert content("get", "/profiles/{id}/avatar") == {"image/png": {"schema": binary}}
    assert content("get", "/status/stream") == {"text/event-stream": events}
    assert content("get", "/metrics") == {"text/plain": {"schema": text}}
    table = content("get", "/history/export")
    assert table == {"text/csv": {"schema": text}, "application/jsonl": {"schema": text}}


def test_the_locks_are_declared_and_optional(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"] == {"type": "http", "scheme": "bearer"}
    assert schemes["api_key"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert schemes["basic"] == {"type": "http", "scheme": "basic"}
    assert document["security"] == [{}, {"bearer": []}, {"api_key": []}, {"basic": []}]
