"""What the commands of `db` print: losses, and a bar over the records' bytes."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

__all__ = ["dry_run", "progress", "tell_losses", "weights"]

LISTED = 20
"""Losses that a report names one by one."""


def dry_run(options: argparse.ArgumentParser) -> None:
    """Add the option that all commands of `db` have."""
    options.add_argument("--dry-run", action="store_true", help="only say what would be done")


def tell_losses(sentences: list[str], what: str) -> None:
    """Print a line each, at most LISTED of them."""
    for sentence in sentences[:LISTED]:
        print(f"{what}: {sentence}")
    if len(sentences) > LISTED:
        print(f"and {len(sentences) - LISTED:,} more")


def weights(path: Path) -> tuple[int, int]:
    """Bytes of the base file and of its journal."""
    journal = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}.j-*"))
    return path.stat().st_size if path.exists() else 0, journal


def progress(path: Path) -> tqdm:
    """A bar over about the bytes of the records."""
    return tqdm(total=sum(weights(path)), unit="B", unit_scale=True, leave=False)
