"""The audio of a story: its takes mixed to one file, and their captions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from voicelab.audio import Clip, Cue, captions, encoded, mix, mix_frames
from voicelab.errors import Conflict
from voicelab.library.archives.missing import Missing
from voicelab.library.files.local import Files
from voicelab.library.story_items import ItemAudio, StoryItems, chapters_of, item_cues

__all__ = ["StorySound"]

Record = dict[str, Any]


class StorySound:
    """Mixes stories, and makes their captions.

    Args:
        items: of the stories.
        files: of the lab.
    """

    def __init__(self, items: StoryItems, files: Files):
        self._items = items
        self._files = files

    def streamed(self, story: Record, kind: str, missing: Missing) -> Iterator[bytes]:
        """A story from `Stories.get`; see `Stories.streamed`."""
        if not story["items"]:
            raise Conflict("The story is empty.")
        pairs = self._available_items(story["id"], missing)
        if kind in ("srt", "vtt"):
            return iter([captions(self._cues(pairs), kind).encode()])
        clips = [self._clip(*pair) for pair in pairs]
        rate = max(source.sample_rate for _, source in pairs)
        frames = mix_frames(clips, rate)
        chapters = chapters_of([i for i in story["items"] if i["id"] not in missing.ids])
        blocks = mix(clips, rate)
        return encoded(blocks, rate, kind, frames=frames, chapters=chapters, title=story["name"])

    def cues(self, id: str, missing: Missing) -> list[Cue]:
        """Captions from the chunks' times; see `Stories.cues`."""
        return self._cues(self._available_items(id, missing))

    def _cues(self, pairs: list[tuple[Record, ItemAudio]]) -> list[Cue]:
        shown = self._items.shown(*(item for item, _ in pairs))
        found = [
            cue
            for item, (_, source) in zip(shown, pairs, strict=True)
            for cue in item_cues(item, source.chunks)
        ]
        return sorted(found, key=lambda cue: cue.start_s)

    def _available_items(self, id: str, missing: Missing) -> list[tuple[Record, ItemAudio]]:
        """The items whose file exists, with their audio; others are added to `missing`."""
        found = []
        for item in self._items.of(id):
            with missing.skipping(item["id"], "story item", take=item["generation_id"]):
                audio = self._items.audio_of(item)
                self._files.path(audio.path)
                found.append((item, audio))
        missing.check_any_left(found)
        return found

    def _clip(self, item: Record, audio: ItemAudio) -> Clip:
        return Clip(
            path=self._files.path(audio.path),
            start_ms=item["start_time_ms"],
            trim_start_ms=item["trim_start_ms"],
            trim_end_ms=item["trim_end_ms"],
            volume=item["volume"],
            fade_in_ms=item["fade_in_ms"],
            fade_out_ms=item["fade_out_ms"],
        )
