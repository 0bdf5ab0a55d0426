"""The Stories tab: a script becomes a dialogue, takes are laid out in time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.errors import Cancelled, NotFound, VoicelabError
from voicelab.generation import Dialogue, parse_script
from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.ui.components.errors import check_may_delete, with_gradio_errors
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.scripts import marked, script
from voicelab.ui.components.timeline import story_exports, story_item, timeline

__all__ = ["build"]

SCRIPT = "Anna: Did you hear that?\nBen: It was only the wind."


def build(lab: VoiceLab, tab: gr.Tab) -> None:
    """Lay out the tab in the current block."""
    picker = _picker()
    with gr.Column(visible=False) as opened:
        lanes = gr.HTML(
            "",
            js_on_load=script("ordered_clicks", "timeline"),
            elem_id="vl-timeline",
            padding=False,
        )
        exports = gr.HTML("", padding=False)
        item = _item()
        spoken, added = _script(), _added_take()
    buttons = list(item.buttons.values())
    shown = [picker.story, opened, lanes, exports, added.take, *item.outputs, *buttons]
    handlers = _Handlers(lab)
    tab.select(handlers.arrive, [picker.story, item.chosen], shown, **HIDDEN)
    _listen_for_stories(handlers, picker, shown)
    _listen_for_items(handlers, picker.story, lanes, item, shown)
    added.add.click(handlers.add, [picker.story, added.take], shown, **HIDDEN)
    added.drop.click(
        handlers.drop,
        [picker.story, gr.Checkbox(False, visible=False)],
        shown,
        js="(id) => [id, confirm('Delete this story? Its takes stay.')]",
        **HIDDEN,
    )
    speaker, running = Speaker(lab, len(shown)), gr.State("")
    spoken.speak.click(
        speaker.speak,
        [picker.story, spoken.lines],
        [*shown, running, spoken.stop],
        api_visibility="private",
        show_progress_on=lanes,
    )
    spoken.stop.click(speaker.stop, running, None, **HIDDEN)


@dataclass(frozen=True)
class _Picker:
    """Which story, and where others come from."""

    story: gr.Dropdown
    name: gr.Textbox
    make: gr.Button
    bring: gr.UploadButton


@dataclass(frozen=True)
class _Item:
    """The fields of the selected item."""

    panel: gr.Column
    chosen: gr.State
    words: gr.HTML
    start: gr.Number
    track: gr.Number
    trim_start: gr.Number
    trim_end: gr.Number
    volume: gr.Slider
    fade_in: gr.Number
    fade_out: gr.Number
    version: gr.Dropdown
    buttons: dict[str, gr.Button]

    @property
    def fields(self) -> list[Any]:
        trims = [self.trim_start, self.trim_end]
        fades = [self.fade_in, self.fade_out]
        return [self.start, self.track, *trims, self.volume, *fades, self.version]

    @property
    def outputs(self) -> list[Any]:
        return [self.panel, self.chosen, self.words, *self.fields]


@dataclass(frozen=True)
class _Script:
    """The script of a dialogue."""

    lines: gr.Textbox
    speak: gr.Button
    stop: gr.Button


@dataclass(frozen=True)
class _AddedTake:
    """A take to add, and the button that deletes the story."""

    take: gr.Dropdown
    add: gr.Button
    drop: gr.Button


def _picker() -> _Picker:
    with gr.Row():
        story = gr.Dropdown([], label="Story", scale=3)
        name = gr.Textbox(label="New story", placeholder="its name", max_length=100, scale=2)
        make = gr.Button("Make", size="sm", elem_classes="vl-tight", scale=0)
        bring = gr.UploadButton(
            "Import", file_types=[".zip"], size="sm", elem_classes="vl-tight", scale=0
        )
    return _Picker(story, name, make, bring)


def _item() -> _Item:
    chosen = gr.State("")
    with gr.Column(visible=False, elem_id="vl-item") as panel:
        words = gr.HTML("", padding=False)
        with gr.Row():
            names = ("Start (ms)", "Track", "Trim the start (ms)", "Trim the end (ms)")
            start, track, trim_start, trim_end = (
                gr.Number(0, label=label, minimum=0, precision=0, min_width=120) for label in names
            )
        with gr.Row():
            volume = gr.Slider(0, 2, 1, step=0.01, label="Volume")
            fade_in = gr.Number(0, label="Fade in (ms)", minimum=0, precision=0, min_width=120)
            fade_out = gr.Number(0, label="Fade out (ms)", minimum=0, precision=0, min_width=120)
            version = gr.Dropdown([("The default", "")], value="", label="Version")
    times = (start, track, trim_start, trim_end)
    return _Item(panel, chosen, words, *times, volume, fade_in, fade_out, version, _buttons())


def _buttons() -> dict[str, gr.Button]:
    """By what `_change` calls them."""
    with gr.Row():
        return {
            "save": gr.Button("Save", size="sm", variant="primary", visible=False),
            "split": gr.Button("Split in the middle", size="sm", visible=False),
            "double": gr.Button("Duplicate", size="sm", visible=False),
            "remove": gr.Button("Remove", size="sm", visible=False),
        }


def _script() -> _Script:
    lines = gr.Textbox(
        label="Script",
        info="Name: line, one a row; the names are those of the Voices tab.",
        placeholder=SCRIPT,
        lines=4,
    )
    with gr.Row():
        speak = gr.Button("Speak the script", variant="primary", size="sm", scale=4)
        stop = gr.Button("Stop", size="sm", interactive=False, scale=0, min_width=80)
    return _Script(lines, speak, stop)


def _added_take() -> _AddedTake:
    with gr.Row():
        take = gr.Dropdown([], label="A take of the history", scale=4)
        add = gr.Button("Add", size="sm", elem_classes="vl-tight", scale=0)
        drop = gr.Button("Delete the story", size="sm", scale=0, min_width=130)
    return _AddedTake(take, add, drop)


def _listen_for_stories(handlers: _Handlers, picker: _Picker, shown: list[Any]) -> None:
    picker.story.input(handlers.show, picker.story, shown, **HIDDEN)
    picker.make.click(handlers.make, picker.name, [*shown, picker.name], **HIDDEN)
    picker.bring.upload(handlers.import_zip, picker.bring, shown, api_visibility="private")


def _listen_for_items(
    handlers: _Handlers, story: gr.Dropdown, lanes: gr.HTML, item: _Item, shown: list[Any]
) -> None:
    """In the order of the clicks: "Save", then "Split"."""
    ordered = dict(HIDDEN) | {"concurrency_id": "story", "concurrency_limit": 1}
    lanes.click(handlers.act, story, shown, trigger_mode="multiple", **ordered)
    for action, button in item.buttons.items():
        button.click(
            partial(handlers.work, action),
            [story, item.chosen, *item.fields],
            shown,
            **ordered,
        )


class _Handlers:
    """What the tab's listeners do; they give the values of `_shown`.

    Args:
        lab: whose stories.
    """

    def __init__(self, lab: VoiceLab):
        self._lab = lab

    def show(self, id: str | None, chosen: str = "") -> list[Any]:
        """A story and its selected item."""
        return _shown(self._lab, id, chosen)

    def arrive(self, id: str | None, chosen: str = "") -> list[Any]:
        """The same, when the tab is opened."""
        return _arrived(self._lab, id, chosen)

    def work(self, action: str, id: str, chosen: str, *values: Any) -> list[Any]:
        """What a button of the item asks for."""
        left = with_gradio_errors(_change, self._lab, id, chosen, action, *values)
        return self.show(id, left)

    def act(self, id: str, event: gr.EventData) -> list[Any]:
        """What a click or a key on the timeline asks for."""
        data, stories = event._data, self._lab.library.stories
        wanted, chosen = data["act"], str(data["id"])
        if wanted == "move":
            fields = {"start_time_ms": int(data["start"]), "track": int(data["track"])}
            with_gradio_errors(stories.change_item, id, chosen, **fields)
        elif wanted == "nudge":
            with_gradio_errors(stories.nudge, id, chosen, int(data["ms"]), int(data["tracks"]))
        elif wanted == "remove":
            return self.work("remove", id, chosen)
        return self.show(id, chosen)

    def make(self, name: str) -> list[Any]:
        """A new story; its name's field is emptied."""
        made = with_gradio_errors(self._lab.library.stories.create, name)
        return [*self.arrive(made["id"]), ""]

    def import_zip(self, path: str) -> list[Any]:
        """The story of an archive."""
        with Path(path).open("rb") as file:
            made = with_gradio_errors(self._lab.library.archives.import_story, file)
        return self.show(made["id"])

    def add(self, id: str, take: str | None) -> list[Any]:
        """Put a take at the end, and select it."""
        if not take:
            raise gr.Error("Choose a take first.", print_exception=False)
        item = with_gradio_errors(self._lab.library.stories.add_item, id, take)
        return self.show(id, item["id"])

    def drop(self, id: str, sure: bool) -> list[Any]:
        """Delete the story, if somebody is sure."""
        if not sure:
            return self.show(id)
        with_gradio_errors(check_may_delete, self._lab)
        with_gradio_errors(self._lab.library.stories.delete, id)
        return self.show(None)


def _change(lab: VoiceLab, id: str, chosen: str, action: str, *values: Any) -> str:
    """Do what a button asks for; the item that is selected afterwards."""
    if action == "remove":
        check_may_delete(lab)
        lab.library.stories.remove_item(id, chosen)
        return ""
    if action == "double":
        return lab.library.stories.duplicate(id, chosen)["id"]
    if action == "split":
        items = {item["id"]: item for item in lab.library.stories.get(id)["items"]}
        lab.library.stories.split(id, chosen, items[chosen]["duration_ms"] // 2)
        return chosen
    start, track, trim_start, trim_end, volume, fade_in, fade_out, version = values
    lab.library.stories.change_item(
        id,
        chosen,
        start_time_ms=start,
        track=track,
        trim_start_ms=trim_start,
        trim_end_ms=trim_end,
        volume=volume,
        fade_in_ms=fade_in,
        fade_out_ms=fade_out,
        version_id=version or None,
    )
    return chosen


class Speaker:
    """Speaks scripts, each until it is stopped by the word that `speak` gave for it.

    Args:
        lab: whose stories.
        size: how many values `_shown` gives.
    """

    def __init__(self, lab: VoiceLab, size: int):
        self._lab = lab
        self._skipped = [gr.skip()] * size
        self._dialogues: dict[str, Dialogue] = {}

    def speak(
        self,
        id: str,
        script: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio finds it by its default
    ) -> Iterator[list[Any]]:
        """What the tab shows, the word, and whether there is something to stop."""
        lines = parse_script(script)
        progress((0, len(lines)), unit="lines")
        dialogue, word = Dialogue(self._lab, id, lines, source="ui"), secrets.token_hex(8)
        self._dialogues[word] = dialogue
        try:
            yield [*self._skipped, word, gr.Button(interactive=True)]
            dialogue.speak(lambda *done: progress(done, unit="lines"))
        except Cancelled:
            gr.Info("Stopped.")
        except VoicelabError as error:
            yield [*self._skipped, "", gr.Button(interactive=False)]
            raise gr.Error(str(error), print_exception=False, duration=None) from error
        finally:
            del self._dialogues[word]
        yield [*_shown(self._lab, id, ""), "", gr.Button(interactive=False)]

    def stop(self, word: str) -> None:
        """Nothing happens to what has ended."""
        if dialogue := self._dialogues.get(word):
            dialogue.cancel()


def _shown(lab: VoiceLab, id: str | None, chosen: str) -> list[Any]:
    """Everything the tab shows of a story, and of the selected item."""
    stories = [(story["name"], story["id"]) for story in lab.library.stories.list()]
    known = {value for _, value in stories}
    id = id if id in known else next((value for _, value in stories), None)
    picker = gr.Dropdown(stories, value=id)
    if id is None:
        hidden = [gr.Button(visible=False)] * 4
        blank = [gr.Column(visible=False), "", "", 0, 0, 0, 0, 1, 0, 0, ""]
        return [picker, gr.Column(visible=False), "", "", gr.skip(), *blank, *hidden]
    story = lab.library.stories.get(id)
    item = next((each for each in story["items"] if each["id"] == chosen), None)
    return [
        picker,
        gr.Column(visible=True),
        marked(timeline(story, chosen)),
        story_exports(story),
        gr.Dropdown(_takes(lab), value=None),
        *_selected(lab, item),
        *[gr.Button(visible=item is not None)] * 4,
    ]


def _arrived(lab: VoiceLab, id: str | None, chosen: str = "") -> list[Any]:
    """The same, hiding nothing: gradio 6.8 never shows again what it was told to hide undrawn."""
    # With none, this answer may come after that to "Make", whose story it does not know.
    is_silent = id is None and not lab.library.stories.list()
    values = _shown(lab, id, chosen)
    if is_silent:
        return [gr.skip()] * len(values)
    return [gr.skip() if getattr(value, "visible", True) is False else value for value in values]


def _selected(lab: VoiceLab, item: dict[str, Any] | None) -> list[Any]:
    if item is None:
        return [gr.Column(visible=False), "", "", *[gr.skip()] * 8]
    keys = ("start_time_ms", "track", "trim_start_ms", "trim_end_ms", "volume")
    try:
        rows = lab.history.get(item["generation_id"])["versions"]
    except NotFound:
        rows = []
    versions = [("The default", ""), *((row["label"], row["id"]) for row in rows)]
    return [
        gr.Column(visible=True),
        item["id"],
        story_item(item),
        *(item[key] for key in keys),
        item["fade_in_ms"],
        item["fade_out_ms"],
        gr.Dropdown(versions, value=item["version_id"] or ""),
    ]


def _takes(lab: VoiceLab) -> list[tuple[str, str]]:
    records, _ = lab.history.list(Filters(status="completed"), limit=100)
    return [(f"{r['profile_name']}: {r['text'][:70]}", r["id"]) for r in records]
