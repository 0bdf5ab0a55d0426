"""HTML of the page's header, cards with totals, and clean-up reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicelab.engines import LoadState
from voicelab.ui.components.templates import render, size

__all__ = ["cards", "cleanup_refused", "cleanup_report", "header"]

MAX_LISTED = 100
"""Number of takes listed in a report."""


def header(label: str, reason: str, state: LoadState, speaker: str, stands_in: bool) -> str:
    """The engine, why it was chosen, and its loading state.

    Args:
        label: of the default engine.
        reason: a sentence.
        state: of the default engine.
        speaker: label of the engine that speaks now.
        stands_in: the default engine speaks in Chatterbox's place; how to get that is shown.
    """
    states = {"initializing": "loading", "error": "cannot be loaded", "ready": "ready"}
    return render(
        "header",
        label=label,
        state=states.get(state.state) or state.line or "starting",
        reason=reason,
        loading=state if state.state == "initializing" else None,
        error=state.error,
        speaker=speaker if speaker != label else None,
        stands_in=stands_in,
    )


def cards(values: Sequence[tuple[str, str]]) -> str:
    """Cards with a number and a label each.

    Args:
        values: (label, number) of each card.
    """
    return render("cards", cards=values)


def cleanup_report(report: Mapping[str, Any]) -> str:
    """What a clean-up deleted, or would delete."""
    verb = "would go" if report["dry_run"] else "went"
    counts = [
        f"{len(report['deleted'])} takes {verb}",
        f"{len(report['compressed'])} to FLAC",
        f"{len(report['orphan_files'])} files of no take",
        f"{len(report['missing_files'])} without their file",
        f"{report['going_files']} of {report['audio_files']} audio files {verb}",
        f"{size(report['freed_bytes'])} freed",
    ]
    if report["not_compressed"]:
        counts.append(f"{len(report['not_compressed'])} stay WAV after an error")
    return render("cleanup", counts=counts, takes=report["deleted"][:MAX_LISTED])


def cleanup_refused(message: str) -> str:
    """Why nothing was deleted."""
    return render("cleanup_refused", message=message)
