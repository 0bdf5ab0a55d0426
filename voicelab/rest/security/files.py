"""Access control for Gradio's /file= addresses: takes, generated files, a visitor's own uploads."""

from __future__ import annotations

import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import NotFound
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.security.connection import Connection
from voicelab.rest.security.uploads import UPLOAD

__all__ = ["Files"]

ADDRESSES = ("/gradio_api/file=", "/gradio_api/file/")
COOKIE = "voicelab-visitor"
VISITOR = re.compile(r"[0-9a-f]{32}")
DIGEST = re.compile(r"[0-9a-f]{64}")
AUDIO_SUFFIXES = frozenset((".wav", ".flac"))
MAX_OWNED_FILES = 50_000
"""Uploads whose owner is remembered (about 20 MB); others are sent to nobody."""
MAX_ANSWER_BYTES = 1 << 20


class Files(HttpMiddleware):
    """Records who uploaded each file, and hides it from everybody else.

    A visitor is identified by a random cookie that is set with the page; a client without the
    cookie by its address. Files made by an event lie in the same folder, under a hash of their
    content and a random number of this installation: whoever was sent such a path may read it; it
    cannot be guessed.

    Args:
        app: Gradio's application.
        cache: the folder where Gradio keeps uploads and copies of generated files.
        takes: the folder of takes.
        is_upload: whether Gradio knows a path as an upload of this process.
        proxy: (behind_proxy, forwarded_addresses) of `Connection`.
    """

    def __init__(
        self,
        app: ASGIApp,
        cache: Path,
        takes: Path,
        is_upload: Callable[[str], bool],
        proxy: tuple[bool, bool],
    ):
        super().__init__(app)
        self._cache = cache.resolve()
        self._takes = takes.resolve()
        self._is_upload = is_upload
        self._proxy = proxy
        self._owners: OrderedDict[str, set[str]] = OrderedDict()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope, *self._proxy)
        if connection.path.startswith(ADDRESSES):
            self._check(connection)
        if connection.path == UPLOAD and connection.method == "POST":
            send = self._record_owner(connection, send)
        elif connection.wants_page and not _has_visitor_cookie(connection):
            send = _set_visitor_cookie(connection, send)
        await self.app(scope, receive, send)

    def _check(self, connection: Connection) -> None:
        if not self._may_read(connection, connection.path[len(ADDRESSES[0]) :]):
            raise NotFound("There is no such file for you.")

    def _may_read(self, connection: Connection, requested: str) -> bool:
        try:
            path = Path(requested)
            if not path.is_absolute() or ".." in path.parts:
                return False
            resolved = path.resolve()
        except (OSError, ValueError, RuntimeError):
            return False
        if resolved.is_relative_to(self._takes):
            return resolved.suffix in AUDIO_SUFFIXES
        if not _is_cached(resolved, self._cache):
            return False
        owners = self._owners.get(str(resolved))
        if owners is None:
            return not (self._is_upload(str(path)) or self._is_upload(str(resolved)))
        return bool(owners & _visitor_keys(connection))

    def _record_owner(self, connection: Connection, send: Send) -> Send:
        body = bytearray()
        is_list = False

        async def send_and_record(message: Message) -> None:
            nonlocal is_list
            if message["type"] == "http.response.start":
                is_list = message["status"] == 200
            elif is_list and len(body) <= MAX_ANSWER_BYTES:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    self._add_owner(connection, bytes(body))
            await send(message)

        return send_and_record

    def _add_owner(self, connection: Connection, body: bytes) -> None:
        # Before the response is sent, so that nobody else can request the file earlier.
        try:
            paths = json.loads(body)
        except ValueError:
            return
        for path in paths:
            name = str(Path(path).resolve())
            # The same content uploaded by two visitors has one path and two owners.
            self._owners.setdefault(name, set()).update(_visitor_keys(connection))
            self._owners.move_to_end(name)
            if len(self._owners) > MAX_OWNED_FILES:
                self._owners.popitem(last=False)


def _has_visitor_cookie(connection: Connection) -> bool:
    return VISITOR.fullmatch(connection.cookies.get(COOKIE, "")) is not None


def _visitor_keys(connection: Connection) -> set[str]:
    return (
        {connection.cookies[COOKIE]}
        if _has_visitor_cookie(connection)
        else {f"at {connection.address}"}
    )


def _is_cached(path: Path, cache: Path) -> bool:
    """Whether the path is one of Gradio's cache: a folder named by a SHA-256, one file in it."""
    try:
        inner = path.relative_to(cache).parts
    except ValueError:
        return False
    return len(inner) == 2 and DIGEST.fullmatch(inner[0]) is not None and inner[1][0] != "."


def _set_visitor_cookie(connection: Connection, send: Send) -> Send:
    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            cookie: SimpleCookie = SimpleCookie({COOKIE: secrets.token_hex(16)})
            morsel = cookie[COOKIE]
            morsel["path"], morsel["httponly"], morsel["samesite"] = "/", True, "Strict"
            morsel["secure"] = connection.secure
            MutableHeaders(scope=message).append("set-cookie", cookie.output(header="").strip())
        await send(message)

    return send_with_cookie
