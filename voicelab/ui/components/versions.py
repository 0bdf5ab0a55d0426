"""HTML of the versions of a take, with waveforms and players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicelab.ui.components.templates import render

__all__ = ["version_list"]


def version_list(versions: Sequence[tuple[Mapping[str, Any], Sequence[float]]]) -> str:
    """The versions of a take.

    Args:
        versions: (record, peaks) of each; peaks are magnitudes 0..1, in order of time.
    """
    return render("versions", versions=versions)
