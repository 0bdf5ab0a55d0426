"""Fetching files from the Hugging Face hub into its cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voicelab.engines.chatterbox.checkpoints import FILES, ONE_T3, SHARED, VOICE, names_in
from voicelab.errors import EngineUnavailable

__all__ = ["fetched_folders"]

SMALL_FILES = ("*.json", "*.txt", VOICE)
"""Besides the weights: tokenizers, whose files differ from model to model, and the voice."""


def fetched_folders(name: str) -> tuple[Path, ...]:
    """The snapshots that a checkpoint is in, once all its files are fetched.

    Raises:
        EngineUnavailable: its repository lacks a file.
        Exception: whatever huggingface_hub raises.
    """
    with _without_progress_bars():
        sources = [(FILES[name][0], _listed(name)), *([SHARED[name]] if name in SHARED else [])]
        return tuple(_fetched(repository, files) for repository, files in sources)


def _listed(name: str) -> tuple[str, ...]:
    """The files of the checkpoint's own repository, by their real names."""
    repository, files = FILES[name]
    if ONE_T3 not in files:
        return files
    from huggingface_hub import HfApi  # of the extra chatterbox

    listing = HfApi(token=_token()).list_repo_files(repository)
    found = [names_in(name, file, listing) for file in files]
    lacking = [file for file, names in zip(files, found, strict=True) if len(names) != 1]
    if lacking:
        there = ", ".join(each for each in listing if each.endswith((".safetensors", ".pt")))
        raise EngineUnavailable(
            f"its repository {repository} has not exactly one {' and '.join(lacking)}; "
            f"it has {there or 'no weights'}."
        )
    return tuple(names[0] for names in found)


def _fetched(repository: str, files: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download  # of the extra chatterbox

    patterns = [*files, *SMALL_FILES]
    return Path(snapshot_download(repository, allow_patterns=patterns, token=_token()))


def _token() -> str | None:
    return os.environ.get("HF_TOKEN") or None


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    from huggingface_hub.utils import (  # of the extra chatterbox
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
