"""The parts of the lock by themselves, and the REST application behind it when it stands alone."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.conftest import MakeLab
from voicelab.errors import TooManyAttempts
from voicelab.rest import application_arguments, build, middleware
from voicelab.rest.security.connection import Connection, origin_parts
from voicelab.rest.security.credentials import LIFETIME_S, Credentials
from voicelab.rest.security.guard import Guard, is_open
from voicelab.rest.security.headers import Headers
from voicelab.rest.security.throttle import ADDRESSES, ATTEMPTS, WINDOW_S, Throttle
from voicelab.settings import Settings


def connection(
    path: str = "/", method: str = "POST", proxy: bool = False, **headers: str
) -> Connection:
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": named}
    return Connection({"scheme": "http", "client": ("10.0.0.1", 5), **scope}, proxy, proxy)


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        *(("localhost:7860", "http://localhost:7860", True), ("x.org", "http://x.org:80", True)),
        *(("x.org", "https://x.org", True), ("x.org:443", "https://x.org", True)),
        *(("X.org", "https://x.ORG", True), ("[::1]:7860", "http://[::1]:7860", True)),
        *(("localhost:7860", "http://localhost:3000", False), ("x.org", "http://y.org", False)),
        *(("localhost:7860", "http://127.0.0.1:7860", False), ("x.org", "null", False)),
        *(("x.org", "http://x.org.evil", False), ("x.org", "http://x.org@evil", False)),
        *(("x.org", "http://x.org/", False), ("x.org", "ftp://x.org", False)),
        *(
            ("[::1", "http://[::1", False),
            ("", "http://", False),
            ("x.org:80", "https://x.org", False),
        ),
    ],
)
def test_an_origin_is_own_when_its_host_and_port_are(host: str, origin: str, own: bool) -> None:
    assert connection(host=host, origin=origin).is_own is own


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://x.org"}, False),
        ({"sec_fetch_site": "same-site", "origin": "http://x.org"}, True),
        ({"sec_fetch_site": "same-origin", "origin": "http://y.org"}, False),
    ],
)
def test_what_the_browser_says_of_the_site_counts(headers: dict[str, str], own: bool) -> None:
    assert connection(host="x.org", **headers).is_own is own


def test_forwarded_headers_count_when_they_are_trusted_alone() -> None:
    headers = {
        **{"host": "localhost:7860", "origin": "https://x.org", "x_forwarded_host": "x.org"},
        **{"x_forwarded_proto": "https", "x_forwarded_for": "1.1.1.1, 2.2.2.2"},
    }
    direct, behind = connection(**headers), connection(proxy=True, **headers)
    assert (direct.is_own, direct.secure, direct.address) == (False, False, "10.0.0.1")
    assert (behind.is_own, behind.secure, behind.address) == (True, True, "2.2.2.2")
    assert not connection(proxy=True, **{**headers, "x_forwarded_proto": "http"}).is_own


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        *(
            ("1.2.3.4:80", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::/64"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
        ),
        *(("[2001:db8::1]:80", "2001:db8::/64"), ("unknown", "unknown"), ("x" * 500, "x" * 64)),
    ],
)
def test_addresses_are_told_apart_as_households_are(forwarded: str, address: str) -> None:
    assert connection(proxy=True, x_forwarded_for=forwarded).address == address


def test_an_origin_has_three_parts_or_none() -> None:
    assert origin_parts("HTTPS://X.org") == ("https", "x.org", 443)
    for bad in ("", "null", "http://[::1", "http://a b", "http://x:123456", "//x", "http://x\n"):
        assert origin_parts(bad) is None


@pytest.mark.parametrize("root", ["", "/lab", "/lab/"])
def test_a_path_is_what_the_router_sees(root: str) -> None:
    for path, open_to_all in (("/health", True), ("/history", False), ("/labhealth", False)):
        scope = {"type": "http", "method": "GET", "headers": [], "root_path": root}
        prefix = root.rstrip("/")
        assert is_open(Connection({**scope, "path": prefix + path})) is open_to_all
        assert is_open(Connection({**scope, "path": path})) is open_to_all


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static", "/static//x", "/static/../config", "/static/.git", "/assets/a\\b"],
)
def test_nothing_but_plain_names_is_a_static_file(path: str) -> None:
    assert not is_open(connection(path, "GET"))
    assert is_open(connection("/static/js/x-1.2_3@4.js", "GET")) and is_open(
        connection("/health", "HEAD")
    )
    assert not is_open(connection("/health", "POST"))


@pytest.mark.parametrize("key", ["secret", "schlüssel", "ключ", "🗝", " padded ", "a" * 5000])
def test_a_key_is_known_in_any_script_and_no_other_is(key: str) -> None:
    lock = Credentials(key, [])
    assert lock.is_key(key.encode())
    for other in ("", "?", "????", key.strip() + "x", key.strip()[:-1], "\udce9"):
        assert not lock.is_key(other.encode("utf-8", "surrogateescape"))
    if key == "schlüssel":
        assert lock.is_key(key.encode("latin-1"))


def test_logins_are_compared_as_a_whole() -> None:
    lock = Credentials(None, [("ann", "pw"), ("bob", "p:w")])
    for name, password, right in (
        *(("ann", "pw", True), ("bob", "p:w", True), ("ann", "p:w", False), ("", "", False)),
        *(("eve", "", False), ("eve", "pw", False), ("ann", "", False)),
    ):
        assert lock.is_login(name.encode(), password.encode()) is right
        token = base64.b64encode(f"{name}:{password}".encode()).decode()
        assert lock.sent_login(connection(authorization=f"Basic {token}")) is right
    for broken in ("!!!", "", "YQ", "YQ=="):
        assert lock.sent_login(connection(authorization=f"basic {broken}")) is False
    assert lock.sent_login(connection(authorization="Bearer x")) is None
    assert not Credentials(None, []) and not Credentials("", [])


def test_a_cookie_ends_and_is_void_when_the_key_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Credentials("key", [("ann", "pw")])
    value = lock.cookie()
    sent = connection(cookie=f"other=1; {lock.cookie_name}={value}")
    assert lock.sent_cookie(sent) and Credentials("key", [("ann", "pw")]).sent_cookie(sent)
    for other in (Credentials("other", [("ann", "pw")]), Credentials("key", [("ann", "other")])):
        assert other.cookie_name != lock.cookie_name
        assert not other.sent_cookie(connection(cookie=f"{other.cookie_name}={value}"))
    assert lock.cookie() != value
    later = int(value.split(".")[1])
    monkeypatch.setattr("time.time", lambda: later + 1)
    assert LIFETIME_S > 0 and not lock.sent_cookie(sent)


def test_the_throttle_forgets_after_a_minute_and_is_bounded() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)
    for _ in range(ATTEMPTS):
        throttle.check("here")
        throttle.fail("here")
    with pytest.raises(TooManyAttempts) as raised:
        throttle.check("here")
    assert raised.value.retry_after_s == WINDOW_S
    throttle.check("there")
    now = WINDOW_S
    throttle.check("here")
    for number in range(2 * ADDRESSES):
        throttle.fail(str(number))
    assert len(throttle._failures) == ADDRESSES


@pytest.mark.parametrize(
    "bad", ["*", "null", "http://x/", "x.org", "http://x y", "http://x,,ftp://y"]
)
def test_only_exact_origins_are_a_setting(bad: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        Settings(allow_origins=bad)


@pytest.mark.parametrize("bad", ["", " ", "'self'; script-src *", "a,b", "x\r\ny: z"])
def test_a_policy_of_frames_holds_sources_alone(bad: str) -> None:
    with pytest.raises(ValidationError, match="sources"):
        Settings(frame_ancestors=bad)


def test_a_space_is_framed_by_its_site_and_behind_its_proxy(monkeypatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_HOST", "someone-voicelab.hf.space")
    settings = Settings()
    expected = "'self' https://huggingface.co https://someone-voicelab.hf.space"
    assert settings.frame_ancestors == expected and settings.trust_proxy and settings.is_exposed
    monkeypatch.setenv("SPACE_HOST", "x; script-src *")
    assert Settings().frame_ancestors == "'self' https://huggingface.co"


def test_active_content_that_is_data_loses_its_power() -> None:
    async def answer(scope, receive, send) -> None:
        await Response(b"<svg/>", media_type="image/svg+xml; charset=utf-8")(scope, receive, send)

    client = TestClient(Headers(answer, "'self'"))
    for path in ("/audio/1", "/profiles/1/avatar", "/gradio_api/file=x.svg", "/static", "/docs/x"):
        headers = client.get(path).headers
        assert headers["content-type"] == "application/octet-stream", path
        assert headers["content-disposition"] == "attachment"
    for path in ("/favicon.ico", "/static/img/logo.svg"):
        assert client.get(path).headers["content-type"].startswith("image/svg+xml")


def test_a_websocket_is_locked_as_everything_else(make_lab: MakeLab) -> None:
    lab = make_lab(api_key="key")
    application = FastAPI(middleware=middleware(lab.settings, any_host=True))

    @application.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    client = TestClient(application)
    evil = {"origin": "http://evil.example"}
    for headers in ({}, evil, {"x-api-key": "wrong"}):
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/socket", headers=headers),
        ):
            pass
    for headers in ({"x-api-key": "key"}, {"x-api-key": "key", **evil}):
        with client.websocket_connect("/socket", headers=headers) as connected:
            assert connected.receive_text() == "hello"


def test_an_application_that_never_started_lets_nobody_in(make_lab: MakeLab) -> None:
    lab = make_lab(api_key="key")
    layers = middleware(lab.settings, any_host=True)
    application = FastAPI(routes=build(lab).routes, **application_arguments(layers))
    bare = TestClient(application)
    for headers in ({}, {"x-api-key": "key"}):
        assert bare.get("/history", headers=headers).status_code == 503
    with TestClient(application) as started:
        assert started.get("/history").status_code == 401
        assert started.get("/history", headers={"x-api-key": "key"}).status_code == 200


def test_a_login_of_the_browsers_own_does_not_vouch_for_another_sites_page(make_lab) -> None:
    """HTTP Basic goes along with whatever a browser sends, a key in a header does not."""
    lab = make_lab(api_key="key", auth="ann:pw")
    evil = {"origin": "http://evil.example"}
    with TestClient(build(lab)) as client:
        for auth in (("ann", "pw"), ("any", "key")):
            assert client.get("/history", auth=auth).status_code == 200
            refused = client.post("/profiles", json={"name": "A"}, headers=evil, auth=auth)
            assert refused.status_code == 403
        for header in ({"x-api-key": "key"}, {"authorization": "Bearer key"}):
            made = client.post("/profiles", json={"name": str(header)}, headers={**evil, **header})
            assert made.is_success


def test_a_key_sent_to_an_open_server_is_of_no_concern(client: TestClient) -> None:
    """Clients of OpenAI always send one."""
    for _ in range(2 * ATTEMPTS):
        answer = client.get("/history", headers={"Authorization": "Bearer sk-none"})
        assert answer.status_code == 200
    evil = {"Origin": "http://evil.example", "Authorization": "Bearer sk-none"}
    assert client.post("/profiles", json={"name": "A"}, headers=evil).status_code == 403


def test_errors_from_inside_carry_cors_too(make_lab: MakeLab, monkeypatch) -> None:
    lab = make_lab(allow_origins="http://localhost:3000")
    monkeypatch.setattr(lab.history, "stats", lambda: 1 / 0)
    friend = {"Origin": "http://localhost:3000"}
    with TestClient(build(lab), raise_server_exceptions=False) as client:
        for path, status in (("/history/stats", 500), ("/history/none", 404)):
            answer = client.get(path, headers=friend)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == friend["Origin"]


def test_every_layer_lets_the_lifespan_through(lab) -> None:
    seen: list[str] = []

    async def inner(scope, receive, send) -> None:
        seen.append(scope["type"])

    for layer in middleware(lab.settings):
        assert isinstance(layer, Middleware)
        app = layer.cls(inner, *layer.args, **layer.kwargs)
        with pytest.raises(StopIteration):
            app({"type": "lifespan"}, _never, _never).__await__().send(None)
    assert seen == ["lifespan"] * len(middleware(lab.settings))
    assert Guard in [layer.cls for layer in middleware(lab.settings)]


async def _never(*_: Any) -> Any:
    raise AssertionError("nothing is sent")


@pytest.mark.parametrize("trusted", [False, True])
def test_the_application_sees_a_forwarded_host_only_from_a_proxy(trusted: bool) -> None:
    seen: list[dict[bytes, bytes]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]))

    guard = Guard(application, Credentials(None, []), frozenset(), trusted, trusted)
    headers = [(b"host", b"a"), (b"x-forwarded-host", b"evil.example"), (b"origin", b"http://a")]
    scope = {"type": "http", "method": "GET", "path": "/config", "headers": headers}
    anyio.run(guard, scope, None, None)
    assert (b"x-forwarded-host" in seen[0]) is trusted and b"origin" not in seen[0]
