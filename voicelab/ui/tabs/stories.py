"""The Stories tab: a script becomes a dialogue, takes are laid out in time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.errors import Cancelled, NotFound, VoicelabError
from voicelab.generation import Dialogue, parse_script
from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.ui.components.errors import check_may_delete, with_gradio_errors
from voicelab.ui.components.scripts import marked, script
from voicelab.ui.components.timeline import story_exports, story_item, timeline

__all__ = ["build"]

SCRIPT = "Anna: Did you hear that?\nBen: It was only the wind."


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

    @property
    def fields(self) -> list[Any]:
        trims = [self.trim_start, self.trim_end]
        fades = [self.fade_in, self.fade_out]
        return [self.start, self.track, *trims, self.volume, *fades, self.version]

    @property
    def outputs(self) -> list[Any]:
        return [self.panel, self.chosen, self.words, *self.fields]


def build(lab: VoiceLab, tab: gr.Tab) -> None:
    """Lay out the tab in the current block."""
    with gr.Row():
        story = gr.Dropdown([], label="Story", scale=3)
        name = gr.Textbox(label="New story", placeholder="its name", max_length=100, scale=2)
        make = gr.Button("Make", size="sm", elem_classes="vl-tight", scale=0)
        bring = gr.UploadButton(
            "Import", file_types=[".zip"], size="sm", elem_classes="vl-tight", scale=0
        )
    with gr.Column(visible=False) as opened:
        lanes = gr.HTML(
            "",
            js_on_load=script("ordered_clicks", "timeline"),
            elem_id="vl-timeline",
            padding=False,
        )
        exports = gr.HTML("", padding=False)
        item = _item()
        with gr.Row():
            save = gr.Button("Save", size="sm", variant="primary", visible=False)
            split = gr.Button("Split in the middle", size="sm", visible=False)
            double = gr.Button("Duplicate", size="sm", visible=False)
            remove = gr.Button("Remove", size="sm", visible=False)
        script_box = gr.Textbox(
            label="Script",
            info="Name: line, one a row; the names are those of the Voices tab.",
            placeholder=SCRIPT,
            lines=4,
        )
        with gr.Row():
            speak = gr.Button("Speak the script", variant="primary", size="sm", scale=4)
            stop = gr.Button("Stop", size="sm", interactive=False, scale=0, min_width=80)
        with gr.Row():
            takes = gr.Dropdown([], label="A take of the history", scale=4)
            add = gr.Button("Add", size="sm", elem_classes="vl-tight", scale=0)
            drop = gr.Button("Delete the story", size="sm", scale=0, min_width=130)
    buttons = [save, split, double, remove]
    shown = [story, opened, lanes, exports, takes, *item.outputs, *buttons]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    def show(id: str | None, chosen: str = "") -> list[Any]:
        return _shown(lab, id, chosen)

    def work(id: str, chosen: str, action: str, *values: Any) -> list[Any]:
        left = with_gradio_errors(_change, lab, id, chosen, action, *values)
        return show(id, left)

    def act(id: str, event: gr.EventData) -> list[Any]:
        data = event._data
        wanted, chosen = data["act"], str(data["id"])
        if wanted == "move":
            fields = {"start_time_ms": int(data["start"]), "track": int(data["track"])}
            with_gradio_errors(lab.library.stories.change_item, id, chosen, **fields)
        elif wanted == "nudge":
            with_gradio_errors(
                lab.library.stories.nudge, id, chosen, int(data["ms"]), int(data["tracks"])
            )
        elif wanted == "remove":
            return work(id, chosen, "remove")
        return show(id, chosen)

    tab.select(lambda id, chosen: _arrived(lab, id, chosen), [story, item.chosen], shown, **quiet)
    story.input(show, story, shown, **quiet)
    # In the order of the clicks: "Save", then "Split".
    edit = quiet | {"concurrency_id": "story", "concurrency_limit": 1}
    lanes.click(act, story, shown, trigger_mode="multiple", **edit)
    for button, action in zip(buttons, ("save", "split", "double", "remove"), strict=True):
        button.click(
            lambda id, chosen, *values, action=action: work(id, chosen, action, *values),
            [story, item.chosen, *item.fields],
            shown,
            **edit,
        )
    make.click(
        lambda words: [
            *_arrived(lab, with_gradio_errors(lab.library.stories.create, words)["id"]),
            "",
        ],
        name,
        [*shown, name],
        **quiet,
    )
    add.click(lambda id, take: _added(lab, id, take), [story, takes], shown, **quiet)
    drop.click(
        lambda id, sure: _dropped(lab, id) if sure else show(id),
        [story, gr.Checkbox(False, visible=False)],
        shown,
        js="(id) => [id, confirm('Delete this story? Its takes stay.')]",
        **quiet,
    )
    bring.upload(lambda path: _imported(lab, path), bring, shown, api_visibility="private")
    speaker, spoken = Speaker(lab, len(shown)), gr.State("")
    speak.click(
        speaker.speak,
        [story, script_box],
        [*shown, spoken, stop],
        api_visibility="private",
        show_progress_on=lanes,
    )
    stop.click(speaker.stop, spoken, None, **quiet)


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
    return _Item(
        panel,
        chosen,
        words,
        start,
        track,
        trim_start,
        trim_end,
        volume,
        fade_in,
        fade_out,
        version,
    )


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


def _added(lab: VoiceLab, id: str, take: str | None) -> list[Any]:
    if not take:
        raise gr.Error("Choose a take first.", print_exception=False)
    return _shown(lab, id, with_gradio_errors(lab.library.stories.add_item, id, take)["id"])


def _dropped(lab: VoiceLab, id: str) -> list[Any]:
    with_gradio_errors(check_may_delete, lab)
    with_gradio_errors(lab.library.stories.delete, id)
    return _shown(lab, None, "")


def _imported(lab: VoiceLab, path: str) -> list[Any]:
    with Path(path).open("rb") as file:
        return _shown(lab, with_gradio_errors(lab.library.archives.import_story, file)["id"], "")


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
