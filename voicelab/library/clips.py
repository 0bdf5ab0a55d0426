"""Files of profiles: reference clips and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from voicelab.audio import CLIP_RATE, MAX_CLIP_S, read, to_float
from voicelab.library.files.local import Files
from voicelab.library.pictures import check_picture
from voicelab.records import now

__all__ = ["joined_clips", "written_avatar", "written_sample"]

FOLDER = "profiles"
BETWEEN_SAMPLES_S = 0.2
Record = dict[str, Any]


def written_sample(files: Files, samples: NDArray[np.float32], reference_text: str) -> Record:
    """The file of a clip from `prepare_clip`, float32 (n,) at 24 kHz, and a row for it.

    Raises:
        StoreFull: nothing is left.
    """
    id = str(uuid4())
    path = f"{FOLDER}/{id}.wav"
    files.write(path, samples, CLIP_RATE)
    return {
        "id": id,
        "audio_path": path,
        "reference_text": reference_text,
        "duration": round(len(samples) / CLIP_RATE, 3),
        "created_at": now(),
    }


def joined_clips(files: Files, rows: Sequence[Record]) -> NDArray[np.float32] | None:
    """Clips joined with silence between, at most 30 s: float32 (n,) at 24 kHz; None without any."""
    silence = np.zeros(int(BETWEEN_SAMPLES_S * CLIP_RATE), np.float32)
    pieces: list[NDArray[np.float32]] = []
    for row in rows:
        pcm, _ = read(files.path(row["audio_path"]))
        pieces += [to_float(pcm), silence]
    return np.concatenate(pieces[:-1])[: MAX_CLIP_S * CLIP_RATE] if pieces else None


def written_avatar(files: Files, content: bytes) -> str:
    """The file of a picture, a PNG of at most 512 pixels a side.

    Raises:
        InvalidInput: not a picture that can be read, or over 10 MiB.
        StoreFull: nothing is left.
    """
    picture = check_picture(content)
    path = f"{FOLDER}/{uuid4()}.png"
    files.write_bytes(path, picture)
    return path
