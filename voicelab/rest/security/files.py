"""Gradio's /file= address: takes, what Gradio made, and a visitor's own uploads; nothing else."""

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
from voicelab.rest.security.uploads import UPLOAD
from voicelab.rest.security.visit import Visit

__all__ = ["Files"]

ADDRESSES = ("/gradio_api/file=", "/gradio_api/file/")
COOKIE = "voicelab-visitor"
VISITOR = re.compile(r"[0-9a-f]{32}")
DIGEST = re.compile(r"[0-9a-f]{64}")
SOUNDS = frozenset((".wav", ".flac"))
REMEMBERED = 50_000
"""Uploads whose visitor is known; about 20 MB. A forgotten one is given to nobody."""
ANSWER_BYTES = 1 << 20


class Files(HttpMiddleware):
    """Remembers who uploaded what, and refuses it to others.

    A visitor is a random cookie that comes with the page; a client without one is its address.
    What an event made lies in the same folder, under the hash of its content and of a random
    number of this installation: who has seen its address may fetch it, nobody can guess it.

    Args:
        app: Gradio's application.
        cache: the folder where Gradio keeps uploads, and copies of what events made.
        takes: the folder of takes.
        is_upload: whether Gradio knows a path as an upload of this process.
        proxy: as for `Visit`.
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
        visit = Visit(scope, *self._proxy)
        if visit.path.startswith(ADDRESSES):
            self._check(visit)
        if visit.path == UPLOAD and visit.method == "POST":
            send = self._remembering(visit, send)
        elif visit.wants_page and not _known(visit):
            send = _introducing(visit, send)
        await self.app(scope, receive, send)

    def _check(self, visit: Visit) -> None:
        if not self._may_have(visit, visit.path[len(ADDRESSES[0]) :]):
            raise NotFound("There is no such file for you.")

    def _may_have(self, visit: Visit, asked: str) -> bool:
        try:
            path = Path(asked)
            if not path.is_absolute() or ".." in path.parts:
                return False
            resolved = path.resolve()
        except (OSError, ValueError, RuntimeError):
            return False
        if resolved.is_relative_to(self._takes):
            return resolved.suffix in SOUNDS
        if not _is_kept(resolved, self._cache):
            return False
        owners = self._owners.get(str(resolved))
        if owners is None:
            return not (self._is_upload(str(path)) or self._is_upload(str(resolved)))
        return bool(owners & _names(visit))

    def _remembering(self, visit: Visit, send: Send) -> Send:
        body = bytearray()
        is_list = False

        async def watched(message: Message) -> None:
            nonlocal is_list
            if message["type"] == "http.response.start":
                is_list = message["status"] == 200
            elif is_list and len(body) <= ANSWER_BYTES:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    self._remember(visit, bytes(body))
            await send(message)

        return watched

    def _remember(self, visit: Visit, body: bytes) -> None:
        # Before the visitor has the answer, so that nobody else can ask earlier.
        try:
            paths = json.loads(body)
        except ValueError:
            return
        for path in paths:
            name = str(Path(path).resolve())
            # The same file sent by two has one path: it is both's.
            self._owners.setdefault(name, set()).update(_names(visit))
            self._owners.move_to_end(name)
            if len(self._owners) > REMEMBERED:
                self._owners.popitem(last=False)


def _known(visit: Visit) -> bool:
    return VISITOR.fullmatch(visit.cookies.get(COOKIE, "")) is not None


def _names(visit: Visit) -> set[str]:
    return {visit.cookies[COOKIE]} if _known(visit) else {f"at {visit.address}"}


def _is_kept(path: Path, cache: Path) -> bool:
    """As Gradio names what it keeps: a folder named by a hash, one file in it."""
    try:
        inner = path.relative_to(cache).parts
    except ValueError:
        return False
    return len(inner) == 2 and DIGEST.fullmatch(inner[0]) is not None and inner[1][0] != "."


def _introducing(visit: Visit, send: Send) -> Send:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            cookie: SimpleCookie = SimpleCookie({COOKIE: secrets.token_hex(16)})
            morsel = cookie[COOKIE]
            morsel["path"], morsel["httponly"], morsel["samesite"] = "/", True, "Strict"
            morsel["secure"] = visit.secure
            MutableHeaders(scope=message).append("set-cookie", cookie.output(header="").strip())
        await send(message)

    return marked
