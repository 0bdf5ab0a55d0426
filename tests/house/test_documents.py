"""What is written beside the code, as far as a machine can check it."""

from __future__ import annotations

import pytest

from tests.house.tables import ROUTES, SETTINGS, routes_table, settings_table


def test_the_table_of_routes_is_that_of_the_code() -> None:
    assert ROUTES.read_text(encoding="utf-8") == routes_table()


def test_the_table_of_settings_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSTEM", raising=False)
    assert SETTINGS.read_text(encoding="utf-8") == settings_table()
