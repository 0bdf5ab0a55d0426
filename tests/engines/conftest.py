"""What the engines' suites share; they run without the packages of the page, routes and store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_chatterbox


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if pluginmanager.hasplugin("playwright"):  # it has an option of this name, for the page's tests
        return
    parser.addoption(
        "--device", help="where Chatterbox computes; a GPU leaves out what a CPU alone promises"
    )


def pytest_configure(config: pytest.Config) -> None:
    tiny_chatterbox.DEVICE = config.getoption("--device", default=None) or "cpu"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if tiny_chatterbox.DEVICE == "cpu":
        return
    left_out = [item for item in items if item.get_closest_marker("cpu")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="module", autouse=True)
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the self-test keeps its answers: not in the cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "voicelab" / "selftest"
