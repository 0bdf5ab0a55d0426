"""Shared options of event listeners."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["HIDDEN"]

HIDDEN: Mapping[str, Any] = MappingProxyType(
    {"api_visibility": "private", "show_progress": "hidden"}
)
"""Options of a private listener that shows no progress on its outputs."""
