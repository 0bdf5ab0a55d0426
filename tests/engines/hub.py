"""A Hugging Face hub on loopback, as far as downloads ask it, which fails on demand."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it serves, how it fails, and what it was asked.

    Attributes:
        files: name -> content, of every repository.
        listings: repository -> the names that it lists; those of all files where it is not here.
        status: answered in place of files, when not 200.
        headers: of such an answer.
        cut_after: bytes after which the connection of a GET ends, for so many GETs as `cuts`.
        delay_s: before each block of 16 kB.
        etag: sent in place of the hash of the content.
        tampered: the bytes sent are others than those of the ETag.
        asked: (method, file, Range) of each request for a file.
    """

    files: dict[str, bytes]
    listings: dict[str, list[str]] = field(default_factory=dict)
    address: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int = 0
    cuts: int = 0
    delay_s: float = 0.0
    tampered: bool = False
    etag: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def ranges(self) -> list[str]:
        """The Range of each GET that had one."""
        return [wanted for method, _, wanted in self.asked if method == "GET" and wanted]


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub at `address` while the block lasts."""
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def use(hub: Hub, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library and ours ask this hub, and keep files in this cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, name = self.hub, self.path.rpartition("/")[2]
        wanted = self.headers.get("Range", "")
        if not self.path.startswith("/api/"):
            hub.asked.append((self.command, name, wanted))
        content = hub.files.get(name)
        if hub.status == 200 and self.path.startswith("/api/models/"):
            repository = self.path.removeprefix("/api/models/").partition("?")[0]
            names = hub.listings.get(repository, list(hub.files))
            siblings = [{"rfilename": each} for each in names]
            listing = {"id": "ResembleAI/x", "sha": COMMIT, "siblings": siblings}
            self._answer_json(json.dumps(listing).encode())
            return
        if hub.status != 200 or content is None:
            self.send_response(hub.status if hub.status != 200 else 404)
            for header, value in hub.headers.items():
                self.send_header(header, value)
            if hub.status == 200:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hub.etag or hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            self._send((b"?" * len(content) if hub.tampered else content)[start:])

    def _answer_json(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send(self, content: bytes) -> None:
        hub, sent = self.hub, 0
        cut = hub.cut_after if hub.cuts else 0
        hub.cuts = max(0, hub.cuts - 1)
        with contextlib.suppress(ConnectionError):
            while sent < len(content):
                time.sleep(hub.delay_s)
                block = content[sent : sent + (1 << 14)]
                self.wfile.write(block)
                sent += len(block)
                if cut and sent >= cut:
                    self.close_connection = True
                    self.connection.close()
                    return
