"""Output of the `db` commands: lists of losses, and progress bars."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

__all__ = ["dry_run", "progress", "print_losses", "record_sizes"]

LISTED = 20
"""Number of losses listed one by one."""


def dry_run(options: argparse.ArgumentParser) -> None:
    """Add the option --dry-run."""
    options.add_argument("--dry-run", action="store_true", help="only say what would be done")


def print_losses(sentences: list[str], what: str) -> None:
    """Print each sentence with `what` before it, at most LISTED of them."""
    for sentence in sentences[:LISTED]:
        print(f"{what}: {sentence}")
    if len(sentences) > LISTED:
        print(f"and {len(sentences) - LISTED:,} more")


def record_sizes(path: Path) -> tuple[int, int]:
    """Bytes of db.json and of its journal."""
    journal = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}.j-*"))
    return path.stat().st_size if path.exists() else 0, journal


def progress(path: Path) -> tqdm:
    """A progress bar over the bytes of the records."""
    return tqdm(total=sum(record_sizes(path)), unit="B", unit_scale=True, leave=False)
