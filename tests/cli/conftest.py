"""Fixtures of other folders that the commands' tests need too."""

from tests.store.conftest import opened

__all__ = ["opened"]
