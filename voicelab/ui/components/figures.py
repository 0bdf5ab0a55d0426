"""Figures as HTML: totals in cards, the report of a clean-up, the head of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voicelab.ui.components.templates import render, size

__all__ = ["cards", "cleanup_refused", "cleanup_report", "header"]

REPORTED = 100
"""Takes that a report names."""


def header(label: str, reason: str, state: str, line: str) -> str:
    """The engine, why that one, and whether it still loads."""
    states = {"initializing": f"loading: {line}", "error": "cannot be loaded", "ready": "ready"}
    shown = states.get(state) or line or "starting"
    return render("header", label=label, state=shown, reason=reason)


def cards(values: Sequence[tuple[str, str]]) -> str:
    """Big numbers with a word under each.

    Args:
        values: (word, number) of each.
    """
    return render("cards", cards=values)


def cleanup_report(report: Mapping[str, Any]) -> str:
    """What went, or would go, in a clean-up."""
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
    return render("cleanup", counts=counts, takes=report["deleted"][:REPORTED])


def cleanup_refused(message: str) -> str:
    """Why nothing went."""
    return render("cleanup_refused", message=message)
