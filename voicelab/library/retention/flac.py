"""Conversion of a version's WAV to FLAC, which is verified before the WAV is deleted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from voicelab.audio import Metadata, half_written, sync_folder, tag_flac
from voicelab.errors import Conflict, NotFound, StorageError, storage_error
from voicelab.library.descriptions import described
from voicelab.library.files.local import Files
from voicelab.library.versions import GENERATIONS, VERSIONS
from voicelab.store import Query, Store

__all__ = ["compress"]

BLOCK = 1 << 18
"""Samples per block, which bounds the memory for long files."""


def compress(version: dict[str, Any], store: Store, files: Files) -> int:
    """Convert a version's file to FLAC, and return the bytes saved.

    When interrupted it leaves the WAV or both files, of which the sweep removes one.

    Args:
        version: its row, which may be outdated.
        store, files: of the lab.

    Raises:
        NotFound: the version or its file is missing.
        Conflict: the version has another file now.
        StorageError: the FLAC differs from the WAV, which stays.
        StoreFull: the WAV stays.
    """
    files.check()
    source = str(version["audio_path"])
    target = source.removesuffix(".wav") + ".flac"
    before = files.path(source).stat().st_size
    take = store.get(GENERATIONS, version["generation_id"])
    row = store.get(VERSIONS, version["id"])
    if take is None or row is None:
        raise NotFound("The version is gone.")
    _write(files.path(source), files.target(target), described(take, row))
    files.publish(target)
    after = files.path(target).stat().st_size
    try:
        with store.batch():
            fields = {"audio_path": target, "size_bytes": after}
            store.patch(VERSIONS, version["id"], fields, expected={"audio_path": source})
            _update_take(version["generation_id"], source, target, store)
    except (NotFound, Conflict):
        if not store.count(VERSIONS, Query(where={"audio_path": target})):
            files.delete(target)
        raise
    # Any other failure may have come after the commit reached the disk: both files stay then.
    files.delete(source)
    return before - after


def _update_take(generation_id: str, source: str, target: str, store: Store) -> None:
    """Update the take's size, and its path when this version is its default."""
    query = Query(where={"generation_id": generation_id})
    fields: dict[str, Any] = {
        "size_bytes": sum(size for (size,) in store.values(VERSIONS, ("size_bytes",), query))
    }
    take = store.get(GENERATIONS, generation_id)
    if take is not None and take["audio_path"] == source:
        fields["audio_path"] = target
    store.patch(GENERATIONS, generation_id, fields)


def _write(source: Path, target: Path, metadata: Metadata) -> None:
    """Write the FLAC under a temporary name, and rename it when it is verified."""
    # Another replica's clean-up may write the same.
    temporary = half_written(target)
    try:
        _encode(source, temporary)
        tag_flac(temporary, metadata)
        _sync(temporary)
        _compare(source, temporary)
        temporary.replace(target)
        sync_folder(target.parent)
    except (soundfile.SoundFileError, ValueError) as error:
        raise StorageError(f"{source.name} could not be made FLAC; it was kept as WAV.") from error
    except OSError as error:
        raise storage_error(error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _encode(source: Path, target: Path) -> None:
    with soundfile.SoundFile(source) as wav:
        if wav.subtype != "PCM_16":
            raise StorageError(f"{source.name} is not 16-bit; it was kept as it is.")
        shape = (wav.samplerate, wav.channels, "PCM_16")
        with soundfile.SoundFile(target, "w", *shape, format="FLAC") as flac:
            for block in wav.blocks(BLOCK, dtype="int16"):
                flac.write(block)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)  # Windows flushes nothing that is open for reading only
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compare(source: Path, target: Path) -> None:
    with soundfile.SoundFile(source) as wav, soundfile.SoundFile(target) as flac:
        same = (wav.samplerate, wav.channels, wav.frames) == (
            *(flac.samplerate, flac.channels, flac.frames),
        )
        for block in wav.blocks(BLOCK, dtype="int16"):
            same = same and np.array_equal(block, flac.read(BLOCK, dtype="int16"))
    if not same:
        raise StorageError(f"The FLAC of {source.name} is not the same sound; it stays a WAV.")
