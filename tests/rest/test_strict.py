"""What comes in is read strictly, and in one way at every route."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from voicelab.lab import VoiceLab
from voicelab.rest import application
from voicelab.rest.forms import MAX_PARTS
from voicelab.rest.routing import BODY_NOT_USED, MAX_DEPTH, Router

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=B"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
TEXT = (b'form-data; name="input"', b"Hello.")
JSON_ROUTES = [
    *("/v1/audio/speech", "/v1/audio/speech/upload", "/generate", "/profiles", "/stories"),
    *("/effects/presets", "/history/export", "/audio/speech/long"),
]
FORM_ROUTES = ["/v1/audio/speech/upload", "/profiles/import", "/history/import", "/voices"]


def multipart(*parts: tuple[bytes, bytes], end: bytes = b"--B--\r\n") -> bytes:
    head = b"--B\r\nContent-Disposition: "
    return b"".join(head + name + b"\r\n\r\n" + value + b"\r\n" for name, value in parts) + end


def refused(answer, *codes: int) -> str:
    assert answer.status_code in codes, (answer.status_code, answer.text)
    body = answer.json()
    error = body["error"]
    # The voice studio's routes have the sentence twice.
    assert body in ({"error": error}, {"error": error, "detail": error["message"]})
    assert set(error) == {"message", "type", "code", "param"}
    return error["message"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff\xfe", b'{"input": "\xff"}', b"NaN", b'{"a": NaN}', b'{"input": 1e999}'),
        *(b"null", b"[]", b'"a"', b"[" * 100_000, b'{"a":' * 100_000),
        b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        *('{"input": "a"}'.encode("utf-16"), b'{"input": ' + b"9" * 5000 + b"}"),
        *(b'{"%s": "\\ud800"}' % name for name in (b"input", b"text", b"name", b"voice", b"ids")),
        *(b'{"\\udfff": 1}', b'{"input": ["\\ud800"]}'),
    ],
    ids=lambda body: ascii(body[:20].decode("latin-1")),
)
def test_a_body_that_is_no_flat_json_in_utf8_is_refused(client: TestClient, body: bytes) -> None:
    for path in JSON_ROUTES:
        refused(client.post(path, content=body, headers=JSON), 422)


@pytest.mark.parametrize(
    "body",
    [
        b'{"input": "a", "input": "b"}',
        b'{"input": "a", "x": [{"y": {"input": 1, "\\u0069nput": 2}}]}',
        b'{"%s": 1, "%s": 2}' % (b"x" * 100_000, b"x" * 100_000),
        b'{"input": null, "input": %s}' % (b"9" * 300),
    ],
)
def test_a_key_that_stands_twice_is_refused_and_named(
    client: TestClient, lab: VoiceLab, body: bytes
) -> None:
    for path in JSON_ROUTES:
        message = refused(client.post(path, content=body, headers=JSON), 422)
        assert "twice" in message and ("'input'" in message or "xxx" in message)
        assert len(message) < 100
    for method, path in (("PUT", "/storage/policy"), ("PATCH", "/history"), ("POST", "/tts")):
        message = refused(client.request(method, path, content=body, headers=JSON), 422)
        assert "twice" in message
    assert lab.history.list()[1] == 0
    apart = b'{"input": "Hello.", "x": [{"y": 1}, {"y": 1}], "y": {"input": 1}}'
    assert client.post("/v1/audio/speech", content=apart, headers=JSON).status_code == 200


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_nesting_has_a_limit(client: TestClient, depth: int) -> None:
    inner = "[" * (depth - 1) + "]" * (depth - 1)
    body = f'{{"input": "A short take.", "x": {inner}}}'
    answer = client.post("/v1/audio/speech", content=body, headers=JSON)
    assert answer.status_code == (200 if depth == MAX_DEPTH else 422)
    assert depth == MAX_DEPTH or "nested deeper than 32" in refused(answer, 422)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (multipart((b'form-data; name="input"', b"\xff\xfe")), "UTF-8"),
        (multipart((b'form-data; name="input"', b"\xed\xa0\x80")), "UTF-8"),
        (multipart(TEXT, (b'form-data; name="\xff"', b"x")), "UTF-8"),
        (multipart(TEXT, (b'form-data; name="file"; filename="\xff"', b"x")), "UTF-8"),
        (multipart(TEXT, (b'form-data; name="x"', b"\xe2\x82")), "UTF-8"),
        (multipart(TEXT, (b'form-data; name="%s"' % (b"x" * 5000), b"x")), ""),
        (multipart(TEXT, (b"form-data", b"x")), "name"),
        (multipart(*[(b'form-data; name="f%d"' % n, b"x") for n in range(MAX_PARTS + 1)]), "100"),
        (multipart(TEXT, end=b""), "ends before"),
        (multipart(TEXT)[:-8], "ends before"),
        (b"junk", "cannot be read"),
        (b"", "ends before"),
    ],
    ids=lambda value: ascii(value[-30:].decode("latin-1")) if isinstance(value, bytes) else "",
)
def test_a_form_that_is_broken_or_not_utf8_is_refused(
    client: TestClient, body: bytes, words: str
) -> None:
    for path in FORM_ROUTES:
        assert words in refused(client.post(path, content=body, headers=FORM), 400, 422)


def test_a_form_in_small_pieces_is_read_as_a_whole(client: TestClient) -> None:
    body = multipart((b'form-data; name="input"', "Grüße, 李小龍 🎙.".encode()))
    pieces = (body[n : n + 1] for n in range(len(body)))
    answer = client.post("/v1/audio/speech/upload", content=pieces, headers=FORM)
    assert answer.status_code == 200, answer.text
    record = client.get(f"/history/{answer.headers['x-generation-id']}").json()
    assert record["text"] == "Grüße, 李小龍 🎙."


@pytest.mark.parametrize(
    "body", [b"input=%FF", b"input=a&%ed%a0%80=1", b"a=1&" * 200], ids=range(3)
)
def test_an_encoded_form_is_read_as_strictly(client: TestClient, body: bytes) -> None:
    refused(client.post("/v1/audio/speech/upload", content=body, headers=URLENCODED), 422)


def test_a_charset_that_is_not_utf8_is_refused(client: TestClient) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=B; charset=utf-16"}
    answer = client.post("/v1/audio/speech/upload", content=multipart(TEXT), headers=kind)
    assert "UTF-8" in refused(answer, 422)


def test_a_voice_file_sent_as_a_text_or_twice_is_refused(client: TestClient) -> None:
    clip = (b'form-data; name="voice_file"', b"not a file")
    for parts, words in (((TEXT, clip), "is a text"), ((TEXT, TEXT), "twice")):
        body = multipart(*parts)
        answer = client.post("/v1/audio/speech/upload", content=body, headers=FORM)
        assert words in refused(answer, 422)
    assert client.get("/history").json()["total"] == 0


def test_fields_of_a_form_left_empty_or_null_are_the_defaults(client: TestClient) -> None:
    names = ("voice", "seed", "speed", "response_format", "voice_file", "normalize", "engine")
    for nothing in (b"", b"null"):
        empty = [(b'form-data; name="%s"' % name.encode(), nothing) for name in names]
        empty = [part for part in empty if nothing == b"" or b"voice_file" not in part[0]]
        body = multipart(TEXT, *empty)
        answer = client.post("/v1/audio/speech/upload", content=body, headers=FORM)
        assert answer.status_code == 200 and "x-warnings" not in answer.headers, answer.text


def test_a_file_under_another_name_is_told_as_unused(client: TestClient) -> None:
    body = multipart(TEXT, (b'form-data; name="clip"; filename="a.wav"', b"x"))
    answer = client.post("/v1/audio/speech/upload", content=body, headers=FORM)
    assert json.loads(answer.headers["x-warnings"]) == ["Unknown fields, not used: 'clip'."]


def test_a_parameter_that_a_route_has_not_is_told_or_refused(client: TestClient) -> None:
    answer = client.get("/history?serach=a&limit=5&t=")
    assert json.loads(answer.headers["x-warnings"]) == ["Unknown fields, not used: 'serach', 't'."]
    assert "x-warnings" not in client.get("/history?search=a&limit=5").headers
    made = client.post("/v1/audio/speech", json={"input": "A short take."})
    message = refused(client.delete("/history?confirm=true&serach=b"), 422)
    assert "'serach'" in message and "search" in message
    assert client.get(f"/history/{made.headers['x-generation-id']}").status_code == 200


def test_a_body_that_a_route_does_not_take_is_told_or_refused(
    client: TestClient, lab: VoiceLab
) -> None:
    take = lab.generate("It stays.", progress=False)
    response = client.post("/storage/cleanup", json={"dry_run": False})
    assert response.json()["dry_run"] is True
    assert response.headers["x-warnings"] == json.dumps([BODY_NOT_USED])
    assert "x-warnings" not in client.post("/storage/cleanup", json={}).headers
    refused(client.request("DELETE", f"/history/{take.id}", json={"ids": []}), 422)
    assert client.get(f"/history/{take.id}").status_code == 200
    assert client.request("DELETE", f"/history/{take.id}", json={}).status_code == 200


@pytest.mark.parametrize("query", ["search=%FF", "%FF=1", "search=%ED%A0%80"])
def test_a_query_that_is_not_utf8_is_refused(client: TestClient, query: str) -> None:
    assert "UTF-8" in refused(client.get(f"/history?{query}"), 422)


@pytest.mark.parametrize("path", ["/history/%FF", "/audio/%ED%A0%80", "/no/%FF%00", "/voices/%80"])
def test_a_path_that_is_not_utf8_is_not_found(client: TestClient, path: str) -> None:
    refused(client.get(path), 404)


def test_every_route_is_a_strict_one(lab: VoiceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: set[type] = set()
    included: list[str] = []
    real = application.FastAPIOffline

    def watched(**options: object):
        made = real(**options)
        include = made.include_router

        def include_router(router, **more: object) -> None:
            included.append(router.tags[0])
            assert isinstance(router, Router), router.tags
            kinds.update(type(route) for route in router.routes if isinstance(route, APIRoute))
            include(router, **more)

        made.include_router = include_router
        return made

    monkeypatch.setattr(application, "FastAPIOffline", watched)
    application.build(lab)
    assert len(included) > 8 and len(kinds) == 1 and kinds != {APIRoute}


@pytest.mark.parametrize(
    ("headers", "query"),
    [({"X-A": "x" * 40_000}, ""), ({f"X-{n}": "x" for n in range(200)}, ""), ({}, "x" * 40_000)],
    ids=["long", "many", "query"],
)
def test_address_and_headers_have_a_limit(
    client: TestClient, headers: dict[str, str], query: str
) -> None:
    assert "at most 32 KiB" in refused(client.get(f"/history?search={query}", headers=headers), 431)


def is_reported_unused(answer, *names: str) -> bool:
    response = json.loads(answer.headers["x-warnings"])
    return (
        answer.is_success
        and f"Unknown fields, not used: {', '.join(map(repr, names))}." in response
    )


def test_a_field_that_a_form_or_body_has_not_is_told_at_every_route(
    client: TestClient, voice: Path
) -> None:
    def sent(path: str, clip: str, **fields: str):
        with voice.open("rb") as file:
            return client.post(path, data={**fields, "zz": "1"}, files={clip: file})

    assert is_reported_unused(sent("/voices", "voice_file", voice_name="Anna"), "zz")
    anna = client.get("/voices/Anna").json()["voice"]["id"]
    response = {"reference_text": "Words."}
    assert is_reported_unused(sent(f"/profiles/{anna}/samples", "file", **response), "zz")
    assert is_reported_unused(sent("/generate/import", "file"), "zz")
    assert is_reported_unused(client.put("/voices/Anna", data={"new_name": "Eva", "zz": "1"}), "zz")
    story = client.post("/stories", json={"name": "A story", "zz": 1, "yy": None})
    assert is_reported_unused(story, "zz")
    chain = [{"type": "gain", "params": {"gain_db": -3}}]
    preset = {"name": "Mine", "effects_chain": chain, "zz": 1}
    assert is_reported_unused(client.post("/effects/presets", json=preset), "zz")
    refused(client.request("DELETE", "/history", json={"ids": [], "zz": 1}), 422)
    refused(client.put("/storage/policy", json={"max_takse": 1}), 422)


def test_what_a_route_cannot_do_is_told_or_refused(client: TestClient) -> None:
    spoken = client.post("/v1/audio/speech", json={"input": "Hi.", "instructions": "whisper"})
    assert any(
        "instructions is kept as a note" in message
        for message in json.loads(spoken.headers["x-warnings"])
    )
    events = {"input": "Hi.", "stream_format": "sse"}
    assert "/v1/audio/speech" in refused(client.post("/v1/audio/speech/stream", json=events), 422)
