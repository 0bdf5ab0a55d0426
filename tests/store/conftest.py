"""What the store's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from voicelab.store import Query, Store, TinyStore

Opened = Callable[..., TinyStore]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens stores on the test's folder; those still open at the end are abandoned."""
    stores: list[TinyStore] = []

    def open_store(**options: Any) -> TinyStore:
        stores.append(TinyStore(tmp_path, **{"background": False, **options}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.abandon()


def fill(store: Store, count: int, start: int = 0) -> None:
    """Documents with ids i0, i1, ...; a commit each."""
    for n in range(start, start + count):
        store.insert("t", {"id": f"i{n}", "created_at": f"{n:05}", "n": n, "text": f"Text {n}"})


def ids(store: Store, table: str = "t") -> list[str]:
    """Of all documents, the oldest first."""
    return [row["id"] for row in store.page(table, Query(descending=False))[0]]


def journals(folder: Path) -> list[Path]:
    """The journal's files."""
    return sorted(folder.glob("db.json.j-????????"))
