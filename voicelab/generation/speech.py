"""A finished take in a notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voicelab.audio import blocks, encoded, write_whole

__all__ = ["Speech"]


@dataclass(frozen=True)
class Speech:
    """A finished take in a notebook, displayed as a player.

    Attributes:
        record: as /history/{id} gives it.
        path: the audio file.
    """

    record: dict[str, Any]
    path: Path

    @property
    def id(self) -> str:
        """Id of the take."""
        return self.record["id"]

    def export(self, path: str | Path, *, progress: bool = True) -> Path:
        """Write the audio in another format, with a progress bar in seconds of audio.

        Args:
            path: its suffix selects the format: one of `voicelab.audio.encoding.FORMATS`, or m4b.
            progress: show a bar (tqdm).

        Returns:
            The file written.

        Raises:
            InvalidInput: no such format.
            StoreFull, StorageError: it could not be written; nothing is left at `path`.
        """
        from tqdm.auto import tqdm  # start-up time: 30 ms

        target = Path(path)
        sound, rate, frames = blocks(self.path)
        with tqdm(total=round(frames / rate), unit="s", disable=not progress) as bar:

            def reported_blocks() -> Iterator[Any]:
                done = 0
                for block in sound:
                    yield block
                    done += len(block)
                    bar.update(done // rate - bar.n)

            name = target.suffix.removeprefix(".").lower()
            write_whole(target, encoded(reported_blocks(), rate, name, frames=frames))
        return target

    def _repr_html_(self) -> str:
        """An HTML player with the audio embedded; unlike IPython's it does not normalize."""
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
