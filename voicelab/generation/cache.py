"""A cache of spoken chunks, so that an edited text only costs its changes.

One file per chunk, named by a hash of engine, versions, voice, language, parameters, seed and text.
The least recently used are removed first. Without the folder, chunks are spoken again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import shutil
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from voicelab.audio import half_written

__all__ = ["ChunkCache", "chunk_key"]

log = logging.getLogger(__name__)

HEADER = struct.Struct("<16sQ")
"""File header: 16-byte digest of the samples, and the seed as uint64."""

MIN_FREE_BYTES = 16 * 2**20
"""Free disk space that is left for data that cannot be computed again."""

Samples = NDArray[np.float32]


def chunk_key(**inputs: Any) -> str:
    """The name of a chunk: SHA-256, as 64 hex digits, of everything that its samples depend on."""
    inputs = {key: dict(v) if isinstance(v, Mapping) else v for key, v in inputs.items()}
    return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()


class ChunkCache:
    """Samples of chunks in a folder of at most `max_bytes`.

    It never fails a take: chunks that cannot be read count as missing, and those that cannot be
    written are not kept.

    Args:
        folder: created with the first chunk; its parent must exist.
        max_bytes: size of the cache; 0 disables it.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] | None = None

    @property
    def size_bytes(self) -> int:
        """Size of all chunks in the cache."""
        with self._lock:
            return sum(self._entries().values())

    def get(self, key: str) -> tuple[Samples, int] | None:
        """Samples, float32 (n,), and the seed that made them; None when missing or damaged."""
        path = self._folder / key
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        body = content[HEADER.size :]
        if len(content) < HEADER.size or len(body) % 4:
            return None
        digest, seed = HEADER.unpack_from(content)
        if digest != _digest(body):
            return None
        with self._lock:
            entries = self._entries()
            entries[key] = entries.pop(key, len(content))
        return np.frombuffer(body, np.float32), seed

    def put(self, key: str, samples: Samples, seed: int) -> None:
        """Store a chunk, and remove the least recently used ones above the limit.

        Args:
            key: from `chunk_key`.
            samples: float32 (n,).
            seed: the seed that made them.
        """
        body = samples.astype(np.float32, copy=False).tobytes()
        if HEADER.size + len(body) > self._max_bytes:
            return
        temporary = half_written(self._folder / key)
        try:
            self._folder.mkdir(exist_ok=True)
            if shutil.disk_usage(self._folder).free < MIN_FREE_BYTES + len(body):
                return
            temporary.write_bytes(HEADER.pack(_digest(body), seed) + body)
            temporary.replace(self._folder / key)
        except OSError:
            log.debug("a chunk could not be kept", exc_info=True)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        with self._lock:
            entries = self._entries()
            entries.pop(key, None)
            entries[key] = HEADER.size + len(body)
            self._evict(entries)

    def prune(self, unused_since: float) -> int:
        """Remove chunks last used before a Unix time in seconds; the bytes freed."""
        freed = 0
        with self._lock:
            entries = self._entries()
            for key in list(entries):
                try:
                    if (self._folder / key).stat().st_mtime >= unused_since:
                        continue
                    freed += entries[key]
                except FileNotFoundError:
                    pass  # removed by another process: forget it, too
                except OSError:
                    continue
                self._remove(entries, key)
        return freed

    def clear(self) -> int:
        """Remove all chunks; the bytes freed."""
        return self.prune(math.inf)

    def _entries(self) -> dict[str, int]:
        """Key -> bytes, the least recently used first."""
        if self._sizes is None:
            files = []
            with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                        status = entry.stat()
                        files.append((status.st_mtime, entry.name, status.st_size))
            self._sizes = {name: size for _, name, size in sorted(files)}
        return self._sizes

    def _evict(self, entries: dict[str, int]) -> None:
        total = sum(entries.values())
        for key in list(entries):
            if total <= self._max_bytes:
                return
            total -= entries[key]
            self._remove(entries, key)

    def _remove(self, entries: dict[str, int], key: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / key).unlink(missing_ok=True)
        del entries[key]


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
