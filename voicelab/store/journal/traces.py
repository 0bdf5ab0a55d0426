"""Evidence that a folder without records had some before: a new folder has none of it."""

from __future__ import annotations

from pathlib import Path

from voicelab.store.journal.lock import NEW_FOLDER, OWNER
from voicelab.store.journal.system import System

__all__ = ["advice", "traces"]

AUDIO_FOLDERS = {"generations": "takes", "profiles": "clips of voices", "clips": "clips of takes"}
"""Folders of audio files that records name, and what they have."""

SUFFIXES = (".wav", ".flac")
NO_COPIES = (".tmp", ".new", ".reserve")
"""Suffixes of files beside the base file that have no records."""


def traces(system: System, path: Path) -> list[str]:
    """Descriptions of the files beside a base file that only a used folder has.

    Args:
        system: makes the calls.
        path: of the base file, which is missing or has no records.

    Raises:
        OSError: the folder cannot be read.
    """
    names = system.names(path.parent)
    return [
        *(
            what
            for folder, what in AUDIO_FOLDERS.items()
            if folder in names and _has_audio(system, path, folder)
        ),
        *(["backups"] if any(_is_backup(path, name) for name in names) else []),
        *(["copies of older records"] if any(_is_copy(path, name) for name in names) else []),
        *([OWNER] if OWNER in names and not _has_no_records_yet(system, path) else []),
    ]


def advice(path: Path) -> str:
    """Advice for the operator on how to recover the records."""
    return (
        "Restore a backup, if there is one, with `python -m voicelab db restore`, keep what can "
        "still be read with `python -m voicelab db repair`, or make the records again from the "
        "sounds with `python -m voicelab db repair --from-audio` "
        f"(each with --data-dir {path.parent})."
    )


def _has_audio(system: System, path: Path, folder: str) -> bool:
    try:
        names = system.names(path.parent / folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(name.endswith(SUFFIXES) and not name.startswith(".") for name in names)


def _is_backup(path: Path, name: str) -> bool:
    return name.startswith(f"{path.stem}-") and name.endswith(f".backup{path.suffix}")


def _is_copy(path: Path, name: str) -> bool:
    return name.startswith(f"{path.name}.") and not name.endswith(NO_COPIES)


def _has_no_records_yet(system: System, path: Path) -> bool:
    """Whether OWNER is of a first start that ended before any records were written."""
    owner = system.read(path.parent / OWNER)
    return not owner.strip() or owner.decode("utf-8", "replace").rstrip().endswith(NEW_FOLDER)
