"""What the stores' tests share; each store fresh for each test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.store.server import Server, programs
from voicelab.store import MemoryStore, Query, Store, TinyStore, open_store

Opened = Callable[..., TinyStore]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens stores on the test's folder; those still open at the end are abandoned."""
    stores: list[TinyStore] = []

    def opened(**options: Any) -> TinyStore:
        stores.append(TinyStore(tmp_path, **{"background": False, **options}))
        return stores[-1]

    yield opened
    for store in stores:
        store.abandon()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL, running."""
    server = Server(programs())
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of a database without a table."""
    server.clear()
    yield server.url
    server.clear()


@pytest.fixture(params=["tiny", "memory", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each store in turn, empty."""
    stores: dict[str, Callable[[], Store]] = {
        "tiny": lambda: TinyStore(tmp_path),
        "memory": MemoryStore,
        "postgres": lambda: open_store(request.getfixturevalue("database")),
    }
    store = stores[request.param]()
    yield store
    store.close()


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The address of a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def audio_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Where replicas share their audio; empty."""
    import fsspec

    if request.param == "folder":
        yield (tmp_path / "shared audio").as_uri()
        return
    if request.param == "memory":
        yield f"memory://{tmp_path.name}/audio"
        fsspec.filesystem("memory").store.clear()
        return
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("bucket"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    system = fsspec.filesystem("s3")
    system.mkdir("lab")
    yield "s3://lab/audio"
    system.rm("lab", recursive=True)


def fill(store: Store, count: int = 5, start: int = 0) -> None:
    """Documents with ids i0, i1, ...; a commit each."""
    for n in range(start, start + count):
        store.insert("t", {"id": f"i{n}", "created_at": f"{n:05}", "n": n, "text": f"Text {n}"})


def ids(store: Store, table: str = "t") -> list[str]:
    """Of all documents, the oldest first."""
    return [row["id"] for row in store.page(table, Query(descending=False))[0]]


def journals(folder: Path) -> list[Path]:
    """The journal's files."""
    return sorted(folder.glob("db.json.j-????????"))


def together(works: list[Callable[[], None]]) -> None:
    """Run all at once; raises what the first of them raised."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
