"""Options that the page's event listeners share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["HIDDEN"]

HIDDEN: Mapping[str, Any] = MappingProxyType(
    {"api_visibility": "private", "show_progress": "hidden"}
)
"""For a listener that is no named endpoint, and whose outputs show no progress."""
