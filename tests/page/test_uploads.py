"""Gradio's upload: what is not in order is refused in our shape, and no file of it stays."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import wait_for
from tests.shape import is_envelope
from voicelab.lab import VoiceLab

END = b"--B--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=B"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where Gradio keeps uploads."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def url(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {"engine": "tone", "port": 0, "min_free_disk_mb": 0, "max_upload_mb": 1}
    with VoiceLab.open(tmp_path_factory.mktemp("data"), **settings) as lab:
        yield f"{lab.launch(quiet=True).local_url.rstrip('/')}/gradio_api/upload"


def part(name: bytes, content: bytes = b"hello", field: bytes = b'name="files"') -> bytes:
    named = b'; filename="' + name + b'"' if name else b""
    disposition = b"Content-Disposition: form-data; " + field + named
    return b"--B\r\n" + disposition + b"\r\n\r\n" + content + b"\r\n"


def files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (part(b"a\xff.txt") + END, "UTF-8"),
        (part(b"\xed\xa0\x80.txt") + END, "UTF-8"),
        (part(b"a\x00.txt") + END, "U+0000"),
        (part("a\u202etxt.exe".encode()) + END, "U+202E"),
        (part(b"x" * 5000) + END, ""),
        (part(b"..") + END, "folder"),
        (part(b"good.txt") + part(b"a\xff.txt") + END, "UTF-8"),
        (part(b"good.txt"), "last boundary"),
        (part(b"good.txt")[:-9], "last boundary"),
        (part(b"good.txt") + part(b"") + END, "nothing but files"),
        (part(b"good.txt") + part(b"bad.txt", field=b"x=y") + END, "nothing but files"),
        (part(b"good.txt") + b"junk" * 1000, ""),
        (b"junk", ""),
        (b"", "last boundary"),
        (b"".join(part(b"%d.txt" % number) for number in range(101)) + END, "100"),
    ],
)
def test_a_form_that_is_not_in_order_leaves_nothing(
    url: str, cache: Path, body: bytes, message: str
) -> None:
    refused = httpx.post(url, content=body, headers=FORM)
    assert refused.status_code == 422 and is_envelope(refused), refused.text
    assert message in refused.json()["error"]["message"]
    assert files(cache) == []


def test_what_is_no_form_or_too_large_is_refused(url: str, cache: Path) -> None:
    for content_type in ("application/json", "multipart/form-data", ""):
        refused = httpx.post(url, content=b"{}", headers={"Content-Type": content_type})
        assert refused.status_code == 422 and is_envelope(refused)

    def pieces() -> Iterator[bytes]:
        yield part(b"long.txt", b"x" * 600_000)
        yield part(b"longer.txt", b"x" * 600_000) + END

    refused = httpx.post(url, content=pieces(), headers=FORM)
    assert refused.status_code == 413 and is_envelope(refused)
    assert files(cache) == []


def test_a_client_that_hangs_up_leaves_nothing(url: str, cache: Path) -> None:
    place = urlsplit(url)
    head = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 900000\r\n"
    head += f"Content-Type: {FORM['Content-Type']}\r\n\r\n"
    with socket.create_connection((place.hostname, place.port)) as line:
        line.sendall(head.encode() + part(b"a.txt") + part(b"b.txt", b"x" * 100_000))
        wait_for(lambda: len(files(cache)) == 2)
    wait_for(lambda: files(cache) == [])


def test_a_long_name_is_cut_and_a_foreign_one_kept(url: str, cache: Path) -> None:
    names = ["x" * 1000 + ".txt", "Ærø 語 👩‍🚀.txt", "a/b.txt", "x"]
    body = b"".join(part(name.encode(), name.encode()) for name in names)
    answer = httpx.post(url, content=body + END, headers=FORM)
    kept = [Path(path) for path in answer.json()]
    assert sorted(kept) == sorted(files(cache))
    assert [path.read_bytes().decode() for path in kept] == names
    assert kept[0].suffix == ".txt" and 100 < len(kept[0].name) <= 255
    assert [path.name for path in kept[1:]] == [names[1], "b.txt", "x"]
