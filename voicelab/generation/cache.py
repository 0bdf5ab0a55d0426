"""Chunks spoken before, kept by everything that made them: an edited text costs its changes alone.

A file a chunk, under the hash of engine, versions, voice, language, parameters, seed and text.
The oldest go first when there are too many bytes. Losing the folder loses nothing but time.
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
"""Digest of the samples, and the seed that made them."""

SPARED_BYTES = 16 * 2**20
"""Of the disk: the last of it is for what cannot be made again."""

Samples = NDArray[np.float32]


def chunk_key(**facts: Any) -> str:
    """The name of a chunk: 64 hex digits, the SHA-256 of all that its samples depend on."""
    facts = {key: dict(v) if isinstance(v, Mapping) else v for key, v in facts.items()}
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()


class ChunkCache:
    """Samples of chunks in a folder of at most `max_bytes`.

    It never fails a take: what cannot be read is as if it were not there, what cannot be
    written is not kept.

    Args:
        folder: made at the first chunk, in one that is there.
        max_bytes: 0 keeps nothing.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] | None = None

    @property
    def size_bytes(self) -> int:
        """Of all chunks kept."""
        with self._lock:
            return sum(self._known().values())

    def get(self, key: str) -> tuple[Samples, int] | None:
        """float32 (n,) and the seed that made them; None when they are not here, or damaged."""
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
            known = self._known()
            known[key] = known.pop(key, len(content))
        return np.frombuffer(body, np.float32), seed

    def put(self, key: str, samples: Samples, seed: int) -> None:
        """Keep float32 (n,); the chunks unused for longest go when it gets too much."""
        body = samples.astype(np.float32, copy=False).tobytes()
        if HEADER.size + len(body) > self._max_bytes:
            return
        temporary = half_written(self._folder / key)
        try:
            self._folder.mkdir(exist_ok=True)
            if shutil.disk_usage(self._folder).free < SPARED_BYTES + len(body):
                return
            temporary.write_bytes(HEADER.pack(_digest(body), seed) + body)
            temporary.replace(self._folder / key)
        except OSError:
            log.debug("a chunk could not be kept", exc_info=True)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        with self._lock:
            known = self._known()
            known.pop(key, None)
            known[key] = HEADER.size + len(body)
            self._make_room(known)

    def prune(self, unused_since: float) -> int:
        """Remove chunks last used before this Unix time; how many bytes went."""
        freed = 0
        with self._lock:
            known = self._known()
            for key in list(known):
                try:
                    if (self._folder / key).stat().st_mtime >= unused_since:
                        continue
                    freed += known[key]
                except FileNotFoundError:
                    pass  # somebody else removed it: it is not to be counted any more
                except OSError:
                    continue
                self._remove(known, key)
        return freed

    def clear(self) -> int:
        """Remove all; how many bytes went."""
        return self.prune(math.inf)

    def _known(self) -> dict[str, int]:
        """Key -> bytes, the one unused for longest first."""
        if self._sizes is None:
            found = []
            with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                        status = entry.stat()
                        found.append((status.st_mtime, entry.name, status.st_size))
            self._sizes = {name: size for _, name, size in sorted(found)}
        return self._sizes

    def _make_room(self, known: dict[str, int]) -> None:
        total = sum(known.values())
        for key in list(known):
            if total <= self._max_bytes:
                return
            total -= known[key]
            self._remove(known, key)

    def _remove(self, known: dict[str, int], key: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / key).unlink(missing_ok=True)
        del known[key]


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
