"""HTML of profiles and their clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicelab.ui.components.templates import render

__all__ = ["profile_list", "sample_list"]

Record = Mapping[str, Any]


def profile_list(profiles: Sequence[Record]) -> str:
    """A list of profiles with pictures and counts."""
    return render("profiles", profiles=profiles)


def sample_list(samples: Sequence[Record]) -> str:
    """A list of a profile's clips, with players and delete buttons."""
    return render("samples", samples=samples)
