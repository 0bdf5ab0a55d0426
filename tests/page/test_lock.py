"""The lock before the launched server: every route it has, in every way somebody may come."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError, AuthenticationError

from tests.conftest import MakeLab, write_clip
from tests.house.tables import ROUTES, paths_in, walked
from tests.page.test_server import ENDPOINTS
from voicelab.errors import InvalidInput
from voicelab.lab import VoiceLab
from voicelab.server import Lab
from voicelab.settings import Settings

KEY, USER, PASSWORD = "a key of some length", "ann", "her password"
FRIEND = "http://localhost:3000"
EVIL = "https://evil.example"

PAGES = frozenset(("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"))
GRADIO = frozenset(
    (
        *("/", "/config", "/config/", "/login", "/login/", "/logout"),
        *("/pwa_icon", "/pwa_icon/{size}", "/theme.css"),
        *("/monitoring", "/monitoring/summary", "/monitoring/{key}"),
    )
)
GRADIO_API = frozenset(
    (
        *("user", "user/", "login_check", "login_check/", "token", "token/", "app_id", "app_id/"),
        *("dev/reload", "runs", "runs/", "info", "info/", "openapi.json", "theme.css"),
        "custom_component/{id}/{environment}/{type}/{file_name}",
        *("proxy={url_path:path}", "file={path_or_url:path}", "file/{path:path}"),
        *("stream/{event_id}", "stream/{event_id}/close", "reset", "reset/", "cancel"),
        "stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
        "stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
        "stream/{session_hash}/{run}/{component_id}/playlist-file",
        *("heartbeat/{session_hash}", "queue/join", "queue/data", "queue/status"),
        *("api/{api_name}", "api/{api_name}/", "run/{api_name}", "run/{api_name}/"),
        *("call/{api_name}", "call/{api_name}/", "call/{api_name}/{event_id}"),
        *("call/v2/{api_name}", "call/v2/{api_name}/", "call/v2/{api_name}/{event_id}"),
        *("component_server", "component_server/", "upload", "upload_progress", "deep_link"),
        *("process_recording", "vibe-edit", "vibe-edit/", "undo-vibe-edit", "undo-vibe-edit/"),
        *("vibe-code", "vibe-code/", "vibe-starter-queries", "vibe-starter-queries/"),
        *("mcp", "profiling/summary", "profiling/traces", "profiling/clear"),
    )
)
OPEN = frozenset(
    (
        *("/health", "/v1/health", "/gradio_api/startup-events"),
        *("/favicon.ico", "/robots.txt", "/manifest.json"),
        *("/assets/{path:path}", "/static/{path:path}", "/svelte/{path:path}"),
    )
)
DOORS = frozenset(("/login", "/logout"))
"""Answered by the lock itself."""


@cache
def known() -> frozenset[str]:
    """Ours are in the table of routes: one that is in no list fails the test."""
    ours = paths_in(ROUTES.read_text(encoding="utf-8"))
    api = {f"/gradio_api/{path}" for path in GRADIO_API}
    mounts = {"/static-offline-docs"}
    return frozenset(ours | PAGES | GRADIO | api | OPEN | mounts)


def methods(route: Any) -> list[str]:
    """Methods of a route; a mount is requested with GET and POST."""
    return sorted(getattr(route, "methods", None) or ("GET", "POST"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings = Settings(
        engine="tone",
        data_dir=tmp_path_factory.mktemp("locked"),
        port=0,
        min_free_disk_mb=0,
        api_key=KEY,  # pyright: ignore[reportArgumentType]
        auth=f"{USER}:{PASSWORD}",  # pyright: ignore[reportArgumentType]
        allow_origins=f"{FRIEND}, https://front.example",
        trust_proxy=True,
    )
    with VoiceLab(settings) as lab:
        yield lab.launch(quiet=True)


@pytest.fixture(scope="module")
def url(locked: Lab) -> str:
    return locked.local_url.rstrip("/")


@pytest.fixture(scope="module")
def cookies(url: str) -> dict[str, str]:
    answer = httpx.post(f"{url}/unlock", data={"key": KEY})
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    return dict(answer.cookies)


Ask = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def ask(url: str) -> Iterator[Ask]:
    """Status and, when it is the lock's own refusal, its words; streams are not read to the end."""
    with httpx.Client(base_url=url, timeout=30) as client:

        def response(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
            with client.stream(method, path, headers=headers) as answer:
                if answer.status_code not in (401, 403, 429) or method == "HEAD":
                    return answer.status_code, ""
                text = answer.read().decode()
            ours = re.search(r"another site|server wants|login is wrong|Too many", text, re.I)
            return answer.status_code, ours[0] if ours else ""

        yield response


def test_every_route_is_locked_in_every_way(
    locked: Lab, url: str, cookies: dict[str, str], ask: Ask
) -> None:
    ways = {
        (path, method) for path, route in walked(locked.app.routes) for method in methods(route)
    }
    routes = sorted(ways)
    assert len(routes) > 150
    unknown = {path for path, _ in routes} - known()
    assert not unknown, f"routes that the table does not know: {unknown}"
    ((name, value),) = cookies.items()
    own = {"Origin": url, "Sec-Fetch-Site": "same-origin", "Cookie": f"{name}={value}"}
    for number, (path, method) in enumerate(routes):
        if path not in DOORS:
            wrong = {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250}", "X-API-Key": "x"}
            _try_all_ways(ask, path, method, own, wrong)


def _try_all_ways(
    ask: Ask, path: str, method: str, own: dict[str, str], wrong: dict[str, str]
) -> None:
    """{no key, wrong key, key, cookie, foreign origin, foreign with key, own page} at one route."""
    url = re.sub(r"\{[^}]*\}", "1", path)
    changes = method not in ("GET", "HEAD", "OPTIONS") or path in (
        "/gradio_api/deep_link",
        "/memory",
    )
    key = {"X-API-Key": KEY}
    cookie = {"Cookie": own["Cookie"]}
    evil = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}
    if path in OPEN and method in ("GET", "HEAD"):
        for headers in ({}, wrong, evil, own):
            assert ask(method, url, headers)[0] not in (401, 403, 429), (method, path, headers)
        return
    for headers in ({}, wrong, evil):
        assert ask(method, url, headers)[0] in (401, 403), (method, path, headers)
    for headers in (key, cookie, own, {**evil, **key}):
        status, ours = ask(method, url, headers)
        assert status != 401 and not ours, (method, path, headers, status)
    status, ours = ask(method, url, {**evil, **cookie})
    assert (status == 403 and bool(ours)) == changes, (method, path, status)


@pytest.mark.parametrize(
    "path",
    [
        *("//config", "/CONFIG", "/config/", "/%63onfig", "/config%2f", "/config;x", "/./config"),
        *("/static/../config", "/assets/..%2f..%2fconfig", "/health/../config", "/health/"),
        *("/Health", "/health%00", "/health%2f..%2fconfig", "/static//config", "/static/.x"),
        *("/gradio_api//info", "/gradio_api/startup-events/", "/unlock/", "/login/", "/x"),
        "/static/..\\config",
    ],
)
def test_no_way_of_writing_a_path_goes_around(url: str, path: str) -> None:
    status, body = raw(url, f"GET {path} HTTP/1.1")
    assert status in (401, 404), (path, status)
    assert b"components" not in body


def raw(url: str, line: str, *headers: str) -> tuple[int, bytes]:
    """An answer to bytes that no client would send."""
    host, port = url.removeprefix("http://").split(":")
    named = () if any(h.startswith("Host:") for h in headers) else (f"Host: {host}:{port}",)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        text = "\r\n".join((line, *named, *headers, "Connection: close", "", ""))
        connection.sendall(text.encode("latin-1"))
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return int(answer.split(b" ")[1]), answer


def test_malformed_hosts_and_origins_are_refused_and_no_errors(url: str) -> None:
    for host in ("[::1", "]", "a b", "localhost:port", "localhost:1:2", "user@localhost", ""):
        assert raw(url, "GET /health HTTP/1.1", f"Host: {host}")[0] in (400, 403), host
    for origin in ("http://[::1", "null", "http://", "file://", f"{url}, {url}", f"{url}/", "\xff"):
        line = "POST /status/history/clear HTTP/1.1"
        headers = (f"Origin: {origin}", "Content-Length: 0")
        assert raw(url, line, *headers)[0] == 403, origin
        assert raw(url, "GET /health HTTP/1.1", *headers)[0] == 200, origin
    for path in ("/gradio_api/proxy=http://x%00", "/gradio_api/file=%00", "/gradio_api/proxy=%ff"):
        line = f"GET {path} HTTP/1.1"
        assert raw(url, line, f"X-API-Key: {KEY}")[0] in (400, 404), path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("call/nope", {"data": []}),
        ("run/nope", {"data": []}),
        ("queue/join", {"data": [], "fn_index": 99_999, "session_hash": "x"}),
        (
            "component_server",
            {"data": [], "session_hash": "x", "component_id": 99_999, "fn_name": "x"},
        ),
    ],
)
def test_an_endpoint_that_gradio_has_not_is_not_found(url: str, path: str, body) -> None:
    answer = httpx.post(f"{url}/gradio_api/{path}", json=body, headers={"X-API-Key": KEY})
    assert answer.status_code == 404 and answer.json()["error"]["type"] == "not_found"


def test_a_browser_is_asked_for_the_key_and_a_program_is_told(url: str) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = httpx.get(f"{url}/?__theme=dark", headers=browser)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/unlock?next=%2F%3F__theme%3Ddark"
    page = httpx.get(f"{url}{answer.headers['location']}")
    assert page.status_code == 200 and 'name="key"' in page.text and 'name="password"' in page.text
    assert not re.search(r"(src|href)=\"(?!data:)", page.text)
    answer = httpx.get(f"{url}/history")
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("target", "where"),
    [
        *(("/history?limit=2", "/history?limit=2"), ("https://evil.example", "/"), ("", "/")),
        *(("//evil.example", "/"), ("/\\evil.example", "/"), ("/x\r\nSet-Cookie: a=b", "/")),
    ],
)
def test_the_way_back_from_the_form_stays_here(url: str, target: str, where: str) -> None:
    answer = httpx.post(f"{url}/unlock", params={"next": target}, data={"key": KEY})
    assert answer.status_code == 303 and answer.headers["location"] == where
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
    assert KEY not in cookie
    secure = httpx.post(
        f"{url}/unlock", data={"key": KEY}, headers={"X-Forwarded-Proto": "https"}
    ).headers["set-cookie"]
    assert "Secure" in secure


def test_only_the_right_cookie_and_the_right_form_unlock(url: str, cookies: dict[str, str]) -> None:
    ((name, value),) = cookies.items()
    nonce, end, seal = value.split(".")
    for bad in ("", "x", seal, f"{nonce}.{int(end) + 1}.{seal}", f"{nonce}.{end}.{'0' * 64}"):
        assert httpx.get(f"{url}/history", cookies={name: bad}).status_code == 401
    assert httpx.get(f"{url}/history", cookies=cookies).status_code == 200
    for body, status in (
        ({"key": ""}, 401),
        ({"key": "wrong"}, 401),
        ({"username": USER, "password": "wrong"}, 401),
        ({"username": "", "password": ""}, 401),
        ({"key": "x" * 10_000}, 413),
        ({f"f{n}": "x" for n in range(20)}, 422),
    ):
        answer = httpx.post(
            f"{url}/unlock", data=body, headers={"X-Forwarded-For": f"10.9.0.{status % 250}"}
        )
        assert answer.status_code == status and "set-cookie" not in answer.headers
    foreign = {"Origin": EVIL}
    assert httpx.post(f"{url}/unlock", data={"key": KEY}, headers=foreign).status_code == 403
    assert (
        httpx.get(f"{url}/logout", cookies=cookies).headers["set-cookie"].startswith(f'{name}=""')
    )


def test_wrong_keys_are_slowed_by_address(url: str) -> None:
    here = {"X-Forwarded-For": "10.7.7.7", "X-API-Key": "wrong"}
    codes = [httpx.get(f"{url}/history", headers=here).status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]
    answer = httpx.get(f"{url}/history", headers={**here, "X-API-Key": KEY})
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= 60
    assert answer.json()["error"]["type"] == "rate_limit_error"
    form = httpx.post(f"{url}/unlock", data={"key": KEY}, headers=here)
    assert form.status_code == 429 and "retry-after" in form.headers
    # The proxy's word is the last; what stands before it came from the client.
    forged = {"X-Forwarded-For": "10.7.7.8, 10.7.7.7", "X-API-Key": KEY}
    assert httpx.get(f"{url}/history", headers=forged).status_code == 429
    other = {"X-Forwarded-For": "10.7.7.7, 10.7.7.8", "X-API-Key": KEY}
    assert httpx.get(f"{url}/history", headers=other).status_code == 200


def test_allowed_origins_are_answered_and_no_others(url: str) -> None:
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key, content-type",
    }
    for origin, allowed in ((FRIEND, True), ("http://localhost:3001", False), (EVIL, False)):
        for path in ("/history", "/gradio_api/queue/join", "/config", "/nothing"):
            response = httpx.options(f"{url}{path}", headers={"Origin": origin, **preflight})
            assert response.status_code == (204 if allowed else 403)
            authenticated = httpx.get(f"{url}{path}", headers={"Origin": origin, "X-API-Key": KEY})
            refused = httpx.get(f"{url}{path}", headers={"Origin": origin})
            assert refused.status_code == 401
            for answer in (response, authenticated, refused):
                assert "origin" in answer.headers["vary"].lower()
                assert answer.headers.get("access-control-allow-origin") == (
                    origin if allowed else None
                )
                assert ("access-control-allow-credentials" in answer.headers) == allowed
        response = httpx.options(f"{url}/history", headers={"Origin": origin, **preflight})
        assert ("x-api-key" in response.headers.get("access-control-allow-headers", "")) == allowed


def test_an_allowed_origin_may_change_something_with_the_cookie(url: str, cookies) -> None:
    for origin, status in ((FRIEND, 200), (FRIEND.upper(), 200), ("http://localhost:3001", 403)):
        answer = httpx.post(
            f"{url}/profiles",
            json={"name": f"Of {origin}"},
            headers={"Origin": origin, "Sec-Fetch-Site": "same-site"},
            cookies=cookies,
        )
        assert answer.status_code in (status, 201 if status == 200 else status), origin


@pytest.mark.parametrize("method", ["key", "bearer", "login", "key as password"])
def test_gradios_client_works_with_a_key_or_a_login(
    url: str, locked: Lab, tmp_path: Path, method: str
) -> None:
    arguments: dict[str, Any] = {
        "key": {"headers": {"X-API-Key": KEY}},
        "bearer": {"headers": {"Authorization": f"Bearer {KEY}"}},
        "login": {"auth": (USER, PASSWORD)},
        "key as password": {"auth": ("anybody", KEY)},
    }[method]
    client = Client(url, verbose=False, download_files=str(tmp_path), **arguments)
    api = client.view_api(return_format="dict")
    assert set(api["named_endpoints"]) == ENDPOINTS
    audio, record = client.predict("Hello there.", api_name="/generate")
    assert Path(audio).read_bytes()[:4] == b"RIFF"
    id = record["id"]
    assert client.predict(id, api_name="/history_item")["id"] == id
    archive = client.predict(id, api_name="/export")
    brought = client.predict(handle_file(archive), api_name="/import")["id"]
    for name in ("/stats", "/status", "/voices"):
        assert client.predict(api_name=name)
    assert client.predict(api_name="/history")["total"] >= 2
    assert client.predict(id, api_name="/favorite") == {"is_favorited": True}
    with pytest.raises(AppError, match=r"not running|no request"):
        client.predict("none", api_name="/cancel")
    for each in (id, brought):
        assert "deleted" in client.predict(each, api_name="/delete")["message"]


def test_gradios_client_without_a_key_gets_nowhere(url: str) -> None:
    with pytest.raises(ValueError, match=r"401|Could not|auth"):
        Client(url, verbose=False)
    with pytest.raises(AuthenticationError):
        Client(url, verbose=False, auth=(USER, "wrong"))
    named = {"data": ["none"], "session_hash": "x", "fn_index": 3}
    for path in ("queue/join", "run/delete", "api/delete", "call/delete"):
        answer = httpx.post(f"{url}/gradio_api/{path}", json=named)
        assert answer.status_code == 401, path


def test_an_upload_is_given_back_to_its_visitor_alone(
    url: str, cookies: dict[str, str], tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.wav", 2)
    page = httpx.get(f"{url}/", headers={"Accept": "text/html"}, cookies=cookies)
    visitor = {"voicelab-visitor": page.cookies["voicelab-visitor"]}
    assert "HttpOnly" in page.headers["set-cookie"]
    path = _uploaded(url, {**cookies, **visitor}, clip)
    assert _file(url, path, {**cookies, **visitor}).content == clip.read_bytes()
    for other in ({}, {"voicelab-visitor": "0" * 32}, {"voicelab-visitor": "x"}):
        assert _file(url, path, {**cookies, **other}).status_code == 404
    assert _file(url, path, visitor).status_code == 401
    # Of several uploads at once each has its visitor.
    files = [("files", (name, b"of " + name.encode())) for name in ("a.txt", "b.txt")]
    jar = {**cookies, **visitor}
    paths = httpx.post(f"{url}/gradio_api/upload", files=files, cookies=jar).json()
    for each in paths:
        assert _file(url, each, jar).status_code == 200
        assert _file(url, each, cookies).status_code == 404


def test_a_file_sent_by_two_visitors_is_both_theirs(url: str, cookies, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "same.wav", 2)
    jars = [{**cookies, "voicelab-visitor": digit * 32} for digit in "ab"]
    paths = {_uploaded(url, jar, clip) for jar in jars}
    (path,) = paths
    assert all(_file(url, path, jar).status_code == 200 for jar in jars)
    assert _file(url, path, {**cookies, "voicelab-visitor": "c" * 32}).status_code == 404


def _uploaded(url: str, jar: dict[str, str], clip: Path) -> str:
    files = {"files": (clip.name, clip.read_bytes())}
    (path,) = httpx.post(f"{url}/gradio_api/upload", files=files, cookies=jar).json()
    return path


def _file(url: str, path: str, jar: dict[str, str]) -> httpx.Response:
    return httpx.get(f"{url}/gradio_api/file={path}", cookies=jar)


def test_only_takes_and_own_uploads_leave_by_gradios_file_address(
    url: str, locked: Lab, cookies: dict[str, str], tmp_path: Path
) -> None:
    folder = locked.lab.settings.data_dir
    client = Client(url, verbose=False, headers={"X-API-Key": KEY}, download_files=str(tmp_path))
    _, record = client.predict("A take.", api_name="/generate")
    take = locked.lab.library.audio_path(record["id"])
    profile = locked.lab.library.profiles.create(name="With a clip")["id"]
    locked.lab.library.profiles.add_sample(profile, write_clip(tmp_path / "v.wav", 3), "Said.")
    clips = [path for path in folder.rglob("*.wav") if "generations" not in path.parts]
    assert clips
    secrets = [*folder.glob("db.json*"), *clips, Path("/etc/passwd"), folder, take.parent]
    assert any(".j-" in path.name for path in secrets)
    for secret in secrets:
        inside = f"{take.parent}/../{secret.name}"
        double = str(secret).replace("/", "%252f")
        for written in (secret, f"/{secret}", inside, double, f"file://{secret}"):
            for form in ("file=", "file/"):
                answer = httpx.get(f"{url}/gradio_api/{form}{written}", cookies=cookies)
                assert answer.status_code == 404, (form, written)
    for written in ("http://127.0.0.1/", "https://example.org/x.wav", "app.py", "", "~/x", "."):
        assert _file(url, written, cookies).status_code == 404, written
    assert _file(url, str(take), cookies).status_code == 200
    deep = Path(locked.app.uploaded_file_dir, "deep_links", "x", "state.json")
    assert _file(url, str(deep), cookies).status_code == 404


def test_what_was_uploaded_is_never_a_page(url: str, cookies: dict[str, str]) -> None:
    bad = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    for name in ("x.html", "x.svg", "x.xml", "x.xhtml", "x.js", "x.wav", "x"):
        files = {"files": (name, bad, "text/html")}
        (path,) = httpx.post(f"{url}/gradio_api/upload", files=files, cookies=cookies).json()
        for extra in ({}, {"Range": "bytes=0-20"}):
            answer = httpx.get(f"{url}/gradio_api/file={path}", cookies=cookies, headers=extra)
            assert answer.status_code in (200, 206)
            kind = answer.headers["content-type"].split(";")[0]
            assert kind in ("application/octet-stream", "audio/wav", "audio/x-wav"), name
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_headers_stand_on_every_answer(url: str, cookies: dict[str, str]) -> None:
    for path in ("/", "/health", "/nothing", "/unlock", "/config", "/gradio_api/info", "/docs"):
        for jar in (cookies, {}):
            headers = httpx.get(f"{url}{path}", cookies=jar).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'self'" in headers["content-security-policy"]
            assert headers["referrer-policy"] == "same-origin"


def test_a_take_and_a_picture_have_types_of_their_own(url: str, cookies, locked: Lab) -> None:
    record = locked.lab.generate("A take.", progress=False).record
    kind = httpx.get(f"{url}/audio/{record['id']}", cookies=cookies).headers["content-type"]
    assert kind in ("audio/wav", "audio/x-wav")


def test_share_and_host_in_launch_decide_what_is_exposed(make_lab: MakeLab) -> None:
    lab = make_lab(port=0)
    served = lab.launch(quiet=True, server_name="0.0.0.0")
    port = served.server_port
    assert lab.settings.is_exposed
    id = lab.generate("A take.", progress=False).record["id"]
    url = f"http://127.0.0.1:{port}"
    assert httpx.delete(f"{url}/history/{id}").status_code == 403
    with pytest.raises(AppError, match="open to everybody"):
        Client(url, verbose=False).predict(id, api_name="/delete")
    evil = {"Origin": "http://localhost:3000"}
    for path in ("history/import", "gradio_api/upload", "gradio_api/queue/join"):
        assert httpx.post(f"{url}/{path}", headers=evil).status_code == 403
    preflight = {**evil, "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{url}/gradio_api/queue/join", headers=preflight).status_code == 403
    lab.launch(quiet=True)
    assert not lab.settings.is_exposed and lab.settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "framed"),
    [({}, False), ({"inline": True}, True), ({"inline": False}, False)],
)
def test_a_notebook_may_show_the_page_in_a_frame(make_lab, arguments, framed: bool) -> None:
    url = make_lab(port=0).launch(quiet=True, **arguments).local_url
    policy = httpx.get(f"{url}health").headers["content-security-policy"]
    assert ("http://localhost:*" in policy) is framed


def test_a_login_given_to_launch_locks_everything(make_lab: MakeLab) -> None:
    lab = make_lab(port=0)
    url = lab.launch(quiet=True, auth=("ann", "pw")).local_url
    assert not lab.settings.is_exposed
    for path in ("history", "config", "gradio_api/info"):
        assert httpx.get(f"{url}{path}").status_code == 401
        assert httpx.get(f"{url}{path}", auth=("ann", "pw")).status_code == 200
    for bad in (lambda *_: True, [("a",)], [("a:b", "c")], [("a", "b,c")]):
        with pytest.raises(InvalidInput):
            lab.launch(auth=bad)
