"""Profiles and their clips as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicelab.ui.components.templates import render

__all__ = ["profile_list", "sample_list"]

Record = Mapping[str, Any]


def profile_list(profiles: Sequence[Record]) -> str:
    """Each profile with its picture and counts."""
    return render("profiles", profiles=profiles)


def sample_list(samples: Sequence[Record]) -> str:
    """The clips of a profile, to hear and to remove."""
    return render("samples", samples=samples)
