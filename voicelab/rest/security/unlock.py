"""The page /unlock, which asks a browser for key or login and sets the session cookie."""

from __future__ import annotations

import html
from collections.abc import Callable
from string import Template
from urllib.parse import parse_qs, urlsplit

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive

from voicelab.errors import InvalidInput, TooLarge, TooManyAttempts, Unauthorized
from voicelab.rest.json import Json
from voicelab.rest.security.connection import Connection
from voicelab.rest.security.credentials import LIFETIME_S, Credentials
from voicelab.rest.security.throttle import Throttle

__all__ = ["CredentialCheck", "check_attempt", "respond"]

CredentialCheck = Callable[[Connection], bool | None]
MAX_FORM_BYTES = 8192
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"

PAGE_TEMPLATE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>voicelab: unlock</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2937; --soft: #4b5563;
  --line: #6b7280; --accent: #4338ca; --on-accent: #ffffff; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --paper: #111827; --ink: #f3f4f6; --soft: #d1d5db;
  --line: #9ca3af; --accent: #a5b4fc; --on-accent: #111827; --bad: #fca5a5; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { width: 100%; max-width: 22rem; }
h1 { font-size: 1.5rem; margin: 0; }
p { margin: .25rem 0 1rem; color: var(--soft); }
.bad { color: var(--bad); font-weight: 600; }
form + form { margin-top: 1.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
label { display: block; font-weight: 600; margin-top: .75rem; }
input { width: 100%; padding: .6rem .7rem; font: inherit; color: inherit; border-radius: 8px;
  border: 1px solid var(--line); background: transparent; }
button { width: 100%; margin-top: 1rem; padding: .6rem; font: inherit; font-weight: 600; border: 0;
  border-radius: 8px; color: var(--on-accent); background: var(--accent); cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
</style>
</head>
<body>
<main>
<h1>voicelab</h1>
<p>This server is locked.</p>
$error
$forms
</main>
</body>
</html>
""")
KEY_FORM = """<form method="post">
<label for="key">Key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>Unlock</button>
</form>
"""
LOGIN_FORM = """<form method="post">
<label for="username">Name</label>
<input id="username" name="username" autocomplete="username" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Log in</button>
</form>
"""


def check_attempt(connection: Connection, throttle: Throttle, *checks: CredentialCheck) -> bool:
    """Whether any of the checks finds the right key or login; a wrong one is counted.

    Args:
        connection: the request.
        throttle: counts wrong keys.
        *checks: each gives True, False, or None when the request has no such credentials.

    Raises:
        TooManyAttempts: too many wrong keys came from that address.
        Unauthorized: the credentials are wrong.
    """
    results = [check(connection) for check in checks]
    if all(is_right is None for is_right in results):
        return False
    throttle.check(connection.address)
    if any(results):
        return True
    throttle.fail(connection.address)
    raise Unauthorized("That key or login is wrong.")


async def respond(
    connection: Connection, receive: Receive, credentials: Credentials, throttle: Throttle
) -> Response | None:
    """The response at /unlock (a page), /login (as Gradio's clients expect it) or /logout."""
    if connection.path == "/logout":
        return _logout_response(connection, credentials)
    if connection.method == "POST":
        form = await _form(connection, receive)
        if connection.path == "/login":
            return _login_response(connection, form, credentials, throttle)
        return _unlock_response(connection, form, credentials, throttle)
    if connection.path == "/unlock" and connection.method in ("GET", "HEAD"):
        if credentials.sent_cookie(connection):
            return RedirectResponse(_next_url(connection), 303)
        return _page(credentials)
    return RedirectResponse(_at_root(connection, "/unlock"), 303)


def _login_response(
    connection: Connection, form: dict[str, str], credentials: Credentials, throttle: Throttle
) -> Response:
    _check(connection, form, credentials, throttle)
    response = Json({"success": True})
    _set_cookie(response, connection, credentials)
    return response


def _unlock_response(
    connection: Connection, form: dict[str, str], credentials: Credentials, throttle: Throttle
) -> Response:
    try:
        _check(connection, form, credentials, throttle)
    except Unauthorized as error:
        return _page(credentials, error.message, 401)
    except TooManyAttempts as error:
        page = _page(credentials, error.message, 429)
        page.headers["Retry-After"] = str(error.retry_after_s)
        return page
    response = RedirectResponse(_next_url(connection), 303)
    _set_cookie(response, connection, credentials)
    return response


def _check(
    connection: Connection, form: dict[str, str], credentials: Credentials, throttle: Throttle
) -> None:
    def is_right(_: Connection) -> bool:
        name, password = (form.get(field, "").encode() for field in ("username", "password"))
        return credentials.is_key(form.get("key", "").encode()) or credentials.is_login(
            name, password
        )

    check_attempt(connection, throttle, is_right)


async def _form(connection: Connection, receive: Receive) -> dict[str, str]:
    """The fields of a urlencoded form.

    Raises:
        InvalidInput: the body is not such a form.
        TooLarge: it has more than MAX_FORM_BYTES bytes.
    """
    if (
        not connection.header("content-type")
        .lower()
        .startswith("application/x-www-form-urlencoded")
    ):
        raise InvalidInput("A form (application/x-www-form-urlencoded) is wanted here.")
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_FORM_BYTES:
            raise TooLarge(f"A form may have {MAX_FORM_BYTES} bytes.")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    except ValueError as error:
        raise InvalidInput("The form has too many fields.") from error
    return {name: values[0] for name, values in fields.items()}


def _page(credentials: Credentials, error: str = "", status: int = 200) -> Response:
    forms = [KEY_FORM] if credentials.has_key else []
    forms += [LOGIN_FORM] if credentials.has_users else []
    error_html = f'<p class="bad" role="alert">{html.escape(error)}</p>' if error else ""
    text = PAGE_TEMPLATE.substitute(error=error_html, forms="".join(forms))
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers=headers)


def _set_cookie(response: Response, connection: Connection, credentials: Credentials) -> None:
    response.set_cookie(
        credentials.cookie_name,
        credentials.cookie(),
        max_age=LIFETIME_S,
        secure=connection.secure,
        httponly=True,
        samesite="strict",
    )


def _logout_response(connection: Connection, credentials: Credentials) -> Response:
    response = RedirectResponse(_at_root(connection, "/unlock"), 303)
    response.delete_cookie(
        credentials.cookie_name, secure=connection.secure, httponly=True, samesite="strict"
    )
    return response


def _next_url(connection: Connection) -> str:
    """The path of this server that the query names with `next`; / if it is another site's."""
    query = connection.scope.get("query_string", b"").decode("latin-1")
    try:
        wanted = parse_qs(query, max_num_fields=10).get("next", ["/"])[0]
    except ValueError:
        wanted = "/"
    foreign = wanted[:1] != "/" or wanted[1:2] in ("/", "\\") or not wanted.isprintable()
    return _at_root(connection, "/" if foreign else wanted)


def _at_root(connection: Connection, path: str) -> str:
    return urlsplit(connection.scope.get("root_path", "")).path.rstrip("/") + path
