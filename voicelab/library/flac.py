"""A version's WAV made FLAC: written beside it, read back and compared before the WAV goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from voicelab.audio import storage_error
from voicelab.codecs import encode, read
from voicelab.errors import StorageError
from voicelab.library.files import Files
from voicelab.library.versions import GENERATIONS, VERSIONS
from voicelab.store import Query, Store

__all__ = ["compress"]


def compress(version: dict[str, Any], store: Store, files: Files) -> int:
    """Change a version's file to FLAC; how many bytes that saved.

    Killed at any point, it leaves the WAV, or both files, of which the sweep removes one.

    Raises:
        StorageError: what was written is not what was read; nothing has changed.
        StoreFull: nothing has changed.
    """
    source = str(version["audio_path"])
    target = source.removesuffix(".wav") + ".flac"
    pcm, rate = read(files.path(source))
    with files.kept(target):
        _write(files.target(target), encode(pcm, rate, "flac"))
        again, _ = read(files.path(target))
        if not np.array_equal(pcm, again):
            raise StorageError(f"The FLAC of {source} is not the same sound; it was kept as WAV.")
        before, after = (files.path(path).stat().st_size for path in (source, target))
        with store.batch():
            store.patch(VERSIONS, version["id"], {"audio_path": target, "size_bytes": after})
            _follow(version["generation_id"], source, target, store)
    files.delete(source)
    return before - after


def _follow(generation_id: str, source: str, target: str, store: Store) -> None:
    """The take's size, and its path when this version is the one that is heard."""
    query = Query(where={"generation_id": generation_id})
    fields: dict[str, Any] = {
        "size_bytes": sum(size for (size,) in store.values(VERSIONS, ("size_bytes",), query))
    }
    take = store.get(GENERATIONS, generation_id)
    if take is not None and take["audio_path"] == source:
        fields["audio_path"] = target
    store.patch(GENERATIONS, generation_id, fields)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error) from error
