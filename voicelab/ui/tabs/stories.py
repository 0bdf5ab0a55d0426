"""The Stories tab: speaks scripts as dialogues and arranges takes on tracks."""

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
from voicelab.ui.components.scripts import script, with_render_mark
from voicelab.ui.components.timeline import story_exports, story_item, timeline

__all__ = ["build"]

SCRIPT = "Anna: Did you hear that?\nBen: It was only the wind."


def build(lab: VoiceLab, tab: gr.Tab) -> None:
    """Add the tab's components to the current block."""
    picker = _picker()
    with gr.Column(visible=False) as opened:
        tracks = gr.HTML(
            "",
            js_on_load=script("ordered_clicks", "timeline"),
            elem_id="vl-timeline",
            padding=False,
        )
        exports = gr.HTML("", padding=False)
        item = _item()
        spoken, added = _script(), _added_take()
    buttons = list(item.buttons.values())
    shown = [picker.story, opened, tracks, exports, added.take, *item.outputs, *buttons]
    handlers = _Handlers(lab)
    tab.select(handlers.open_tab, [picker.story, item.chosen], shown, **HIDDEN)
    _listen_for_stories(handlers, picker, shown)
    _listen_for_items(handlers, picker.story, tracks, item, shown)
    added.add.click(handlers.add, [picker.story, added.take], shown, **HIDDEN)
    added.delete.click(
        handlers.delete_story,
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
        show_progress_on=tracks,
    )
    spoken.stop.click(speaker.stop, running, None, **HIDDEN)


@dataclass(frozen=True)
class _Picker:
    """The components that select, create and import a story."""

    story: gr.Dropdown
    name: gr.Textbox
    make: gr.Button
    upload: gr.UploadButton


@dataclass(frozen=True)
class _Item:
    """The fields of the selected item."""

    panel: gr.Column
    chosen: gr.State
    text: gr.HTML
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
        return [self.panel, self.chosen, self.text, *self.fields]


@dataclass(frozen=True)
class _Script:
    """The components for a dialogue's script."""

    lines: gr.Textbox
    speak: gr.Button
    stop: gr.Button


@dataclass(frozen=True)
class _AddedTake:
    """The components that add a take, and the button that deletes the story."""

    take: gr.Dropdown
    add: gr.Button
    delete: gr.Button


def _picker() -> _Picker:
    with gr.Row():
        story = gr.Dropdown([], label="Story", scale=3)
        name = gr.Textbox(label="New story", placeholder="its name", max_length=100, scale=2)
        make = gr.Button("Make", size="sm", elem_classes="vl-tight", scale=0)
        upload = gr.UploadButton(
            "Import", file_types=[".zip"], size="sm", elem_classes="vl-tight", scale=0
        )
    return _Picker(story, name, make, upload)


def _item() -> _Item:
    chosen = gr.State("")
    with gr.Column(visible=False, elem_id="vl-item") as panel:
        text = gr.HTML("", padding=False)
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
    return _Item(panel, chosen, text, *times, volume, fade_in, fade_out, version, _buttons())


def _buttons() -> dict[str, gr.Button]:
    """The buttons of an item, by the names of their actions in `_change`."""
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
        delete = gr.Button("Delete the story", size="sm", scale=0, min_width=130)
    return _AddedTake(take, add, delete)


def _listen_for_stories(handlers: _Handlers, picker: _Picker, shown: list[Any]) -> None:
    picker.story.input(handlers.show, picker.story, shown, **HIDDEN)
    picker.make.click(handlers.make, picker.name, [*shown, picker.name], **HIDDEN)
    picker.upload.upload(handlers.import_zip, picker.upload, shown, api_visibility="private")


def _listen_for_items(
    handlers: _Handlers, story: gr.Dropdown, tracks: gr.HTML, item: _Item, shown: list[Any]
) -> None:
    """Add listeners that run one at a time, so that "Save" then "Split" keeps its order."""
    ordered = dict(HIDDEN) | {"concurrency_id": "story", "concurrency_limit": 1}
    tracks.click(handlers.act, story, shown, trigger_mode="multiple", **ordered)
    for action, button in item.buttons.items():
        button.click(
            partial(handlers.work, action),
            [story, item.chosen, *item.fields],
            shown,
            **ordered,
        )


class _Handlers:
    """Event handlers of the tab; they return the values of `_tab_values`.

    Args:
        lab: whose stories.
    """

    def __init__(self, lab: VoiceLab):
        self._lab = lab

    def show(self, id: str | None, chosen: str = "") -> list[Any]:
        """Show a story and its selected item."""
        return _tab_values(self._lab, id, chosen)

    def open_tab(self, id: str | None, chosen: str = "") -> list[Any]:
        """As `show`, when the tab is opened."""
        return _opened_values(self._lab, id, chosen)

    def work(self, action: str, id: str, chosen: str, *values: Any) -> list[Any]:
        """Perform the action of an item's button."""
        selected = with_gradio_errors(_change, self._lab, id, chosen, action, *values)
        return self.show(id, selected)

    def act(self, id: str, event: gr.EventData) -> list[Any]:
        """Handle a click or key on the timeline."""
        data, stories = event._data, self._lab.library.stories
        action, chosen = data["act"], str(data["id"])
        if action == "move":
            fields = {"start_time_ms": int(data["start"]), "track": int(data["track"])}
            with_gradio_errors(stories.change_item, id, chosen, **fields)
        elif action == "nudge":
            with_gradio_errors(stories.nudge, id, chosen, int(data["ms"]), int(data["tracks"]))
        elif action == "remove":
            return self.work("remove", id, chosen)
        return self.show(id, chosen)

    def make(self, name: str) -> list[Any]:
        """Create a story and empty the field with its name."""
        created = with_gradio_errors(self._lab.library.stories.create, name)
        return [*self.open_tab(created["id"]), ""]

    def import_zip(self, path: str) -> list[Any]:
        """Import the story of an archive."""
        with Path(path).open("rb") as file:
            created = with_gradio_errors(self._lab.library.archives.import_story, file)
        return self.show(created["id"])

    def add(self, id: str, take: str | None) -> list[Any]:
        """Add a take at the end, and select it."""
        if not take:
            raise gr.Error("Choose a take first.", print_exception=False)
        item = with_gradio_errors(self._lab.library.stories.add_item, id, take)
        return self.show(id, item["id"])

    def delete_story(self, id: str, sure: bool) -> list[Any]:
        """Delete the story, if confirmed."""
        if not sure:
            return self.show(id)
        with_gradio_errors(check_may_delete, self._lab)
        with_gradio_errors(self._lab.library.stories.delete, id)
        return self.show(None)


def _change(lab: VoiceLab, id: str, chosen: str, action: str, *values: Any) -> str:
    """Perform the action of a button; the id of the item selected afterwards."""
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
    """Speaks scripts; each has a token with which it can be stopped.

    Args:
        lab: whose stories.
        size: number of values of `_tab_values`.
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
        """Speak a script: values of the tab, the token, and the stop button."""
        lines = parse_script(script)
        progress((0, len(lines)), unit="lines")
        dialogue, token = Dialogue(self._lab, id, lines, source="ui"), secrets.token_hex(8)
        self._dialogues[token] = dialogue
        try:
            yield [*self._skipped, token, gr.Button(interactive=True)]
            dialogue.speak(lambda *done: progress(done, unit="lines"))
        except Cancelled:
            gr.Info("Stopped.")
        except VoicelabError as error:
            yield [*self._skipped, "", gr.Button(interactive=False)]
            raise gr.Error(str(error), print_exception=False, duration=None) from error
        finally:
            del self._dialogues[token]
        yield [*_tab_values(self._lab, id, ""), "", gr.Button(interactive=False)]

    def stop(self, token: str) -> None:
        """Stop the script with this token, unless it has ended."""
        if dialogue := self._dialogues.get(token):
            dialogue.cancel()


def _tab_values(lab: VoiceLab, id: str | None, chosen: str) -> list[Any]:
    """Values of all outputs of the tab, for a story and its selected item."""
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
        with_render_mark(timeline(story, chosen)),
        story_exports(story),
        gr.Dropdown(_takes(lab), value=None),
        *_selected(lab, item),
        *[gr.Button(visible=item is not None)] * 4,
    ]


def _opened_values(lab: VoiceLab, id: str | None, chosen: str = "") -> list[Any]:
    """As `_tab_values`, without hiding anything.

    Gradio 6.8 cannot show a component that was hidden before its first render.
    """
    # With none, this answer may come after that to "Make", whose story it does not know.
    is_empty = id is None and not lab.library.stories.list()
    values = _tab_values(lab, id, chosen)
    if is_empty:
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
