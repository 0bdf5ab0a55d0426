"""A finished take in a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Speech"]


@dataclass(frozen=True)
class Speech:
    """A finished take in a notebook: shows itself as a player.

    Attributes:
        record: as /history/{id} gives it.
        path: the audio file.
    """

    record: dict[str, Any]
    path: Path

    @property
    def id(self) -> str:
        """Of the take."""
        return self.record["id"]

    def _repr_html_(self) -> str:
        """A player with the audio inside, at its own loudness (IPython's normalises)."""
        import base64

        audio = base64.b64encode(self.path.read_bytes()).decode()
        text = html.escape(self.record["text"][:300])
        facts = (
            f"{self.record['engine']}, seed {self.record['seed']}, {self.record['duration']:.1f} s"
        )
        return (
            f"<figure style='margin:0'><figcaption dir='auto'>{text}</figcaption>"
            f"<audio controls src='data:audio/{self.path.suffix[1:]};base64,{audio}'></audio>"
            f"<div><small>{html.escape(facts)}</small></div></figure>"
        )
