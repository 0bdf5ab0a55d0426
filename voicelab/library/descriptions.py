"""Metadata of the files of takes, from which their records can be rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from voicelab.audio import Metadata

__all__ = ["described"]

TITLE_CHARS = 60

TAKE = (
    *("id", "text", "language", "duration", "seed", "instruct", "created_at", "engine"),
    *("model_size", "parameters", "chunks", "tags", "label", "source", "software", "voice"),
    *("voice_source", "clip", "profile_id"),
)
VERSION = ("id", "label", "is_default", "effects_chain", "source_version_id", "seed", "created_at")


def described(take: Mapping[str, Any], version: Mapping[str, Any]) -> Metadata:
    """The metadata of one version's file.

    Args:
        take: its record.
        version: its row; its chunks are only included when they differ from the take's.
    """
    own = {name: version[name] for name in VERSION if version.get(name) is not None}
    if version["chunks"] != take["chunks"]:
        own["chunks"] = version["chunks"]
    generation = {name: take[name] for name in TAKE if take.get(name) is not None}
    document = {"version": "1.0", "generation": generation, "versions": [own]}
    tags = {
        "title": " ".join(take["text"].split())[:TITLE_CHARS],
        "artist": take.get("voice") or "",
        "date": take["created_at"],
        "software": f"voicelab, {take['engine']}",
        "language": take["language"],
        "comment": take["text"],
    }
    return Metadata(tags, orjson.dumps(document))
