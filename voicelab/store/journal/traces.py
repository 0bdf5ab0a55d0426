"""What shows that records were in a folder, when there are none: a new folder has nothing of it."""

from __future__ import annotations

from pathlib import Path

from voicelab.store.journal.lock import NEW_FOLDER, OWNER
from voicelab.store.journal.system import System

__all__ = ["advice", "traces"]

SOUNDS = {"generations": "takes", "profiles": "clips of voices", "clips": "clips of takes"}
"""Folders of sounds that records name."""

SUFFIXES = (".wav", ".flac")
NO_COPIES = (".tmp", ".new", ".reserve")
"""Ends of names beside the base file that hold no records."""


def traces(system: System, path: Path) -> list[str]:
    """What there is beside a base file that only a store's folder has, in words.

    Args:
        system: that reads.
        path: of the base file, which is not there or holds nothing.

    Raises:
        OSError: the folder cannot be read.
    """
    names = system.names(path.parent)
    return [
        *(
            what
            for folder, what in SOUNDS.items()
            if folder in names and _sounds(system, path, folder)
        ),
        *(["backups"] if any(_is_backup(path, name) for name in names) else []),
        *(["copies of older records"] if any(_is_copy(path, name) for name in names) else []),
        *([OWNER] if OWNER in names and not _has_only_begun(system, path) else []),
    ]


def advice(path: Path) -> str:
    """How to go on, for the owner of the machine."""
    return (
        "Restore a backup, if there is one, with `python -m voicelab db restore`, keep what can "
        "still be read with `python -m voicelab db repair`, or make the records again from the "
        "sounds with `python -m voicelab db repair --from-audio` "
        f"(each with --data-dir {path.parent})."
    )


def _sounds(system: System, path: Path, folder: str) -> bool:
    try:
        names = system.names(path.parent / folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(name.endswith(SUFFIXES) and not name.startswith(".") for name in names)


def _is_backup(path: Path, name: str) -> bool:
    return name.startswith(f"{path.stem}-") and name.endswith(f".backup{path.suffix}")


def _is_copy(path: Path, name: str) -> bool:
    return name.startswith(f"{path.name}.") and not name.endswith(NO_COPIES)


def _has_only_begun(system: System, path: Path) -> bool:
    """A first start that was killed before it had written any records left this."""
    owner = system.read(path.parent / OWNER)
    return not owner.strip() or owner.decode("utf-8", "replace").rstrip().endswith(NEW_FOLDER)
