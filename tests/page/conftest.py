"""A launched server, and Chromium that may ask nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from voicelab.lab import VoiceLab
from voicelab.server import Lab
from voicelab.settings import Settings


@pytest.fixture(scope="module")
def page_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VoiceLab]:
    folder = tmp_path_factory.mktemp("served")
    with VoiceLab(Settings(engine="espeak", data_dir=folder, port=0, min_free_disk_mb=0)) as lab:
        yield lab


@pytest.fixture(scope="module")
def server(page_lab: VoiceLab) -> Iterator[Lab]:
    yield page_lab.launch(quiet=True)


@pytest.fixture(scope="module")
def url(server: Lab) -> str:
    return server.local_url.rstrip("/")


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    executable = shutil.which("chromium")
    assert executable, "the browser tests need Debian's chromium"
    flags = (
        "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync mute-audio "
        "autoplay-policy=no-user-gesture-required"
    )
    return {"executable_path": executable, "args": [f"--{flag}" for flag in flags.split()]}


@pytest.fixture
def outside(page: Any, url: str) -> list[str]:
    """Requests that tried to leave the server; they are stopped."""
    left: list[str] = []

    def check(route: Any) -> None:
        if route.request.url.startswith((url, "data:", "blob:")):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    page.route("**/*", check)
    return left


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: the README's folder when it is asked for."""
    import os

    if os.environ.get("PICTURES"):
        return Path(__file__).parents[2] / "notebooks" / "pictures"
    return tmp_path
