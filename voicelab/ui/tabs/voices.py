"""The Voices tab: profiles with their clips, import and export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.lab import VoiceLab
from voicelab.ui.components.controls import engine_choices
from voicelab.ui.components.errors import check_may_delete, with_gradio_errors
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.profiles import profile_list, sample_list
from voicelab.ui.components.scripts import script

__all__ = ["build"]

Values = list[Any]


@dataclass(frozen=True)
class _Form:
    """The fields of a profile."""

    name: gr.Textbox
    description: gr.Textbox
    language: gr.Textbox
    engine: gr.Dropdown
    preset: gr.Dropdown

    @property
    def fields(self) -> list[Any]:
        return [self.name, self.description, self.language, self.engine, self.preset]


@dataclass(frozen=True)
class _Clip:
    """The fields of a new clip, and the buttons that add it or a picture."""

    audio: gr.Audio
    words: gr.Textbox
    add: gr.Button
    picture: gr.UploadButton


def build(lab: VoiceLab, tab: gr.Tab) -> None:
    """Add the tab's components to the current block."""
    profiles = gr.HTML("", js_on_load=script("voices"), elem_id="vl-profiles", padding=False)
    with gr.Row():
        new = gr.Button("New voice", size="sm", variant="primary")
        upload = gr.UploadButton("Import a voice (ZIP)", file_types=[".zip"], size="sm")
    with gr.Column(visible=False, elem_id="vl-profile") as editor:
        form = _form(lab)
        with gr.Row():
            save = gr.Button("Save", size="sm", variant="primary")
            close = gr.Button("Close", size="sm")
        samples = gr.HTML("", js_on_load=script("voices"), elem_id="vl-samples", padding=False)
        clip = _clip()
    opened = gr.State("")
    shown = [profiles, opened, editor, samples, *form.fields]
    handlers = _Handlers(lab)
    tab.select(handlers.list, None, profiles, **HIDDEN)
    new.click(handlers.new, None, shown, **HIDDEN)
    close.click(handlers.show, None, shown, **HIDDEN)
    save.click(handlers.save, [opened, *form.fields], shown, **HIDDEN)
    profiles.click(handlers.act, None, shown, **HIDDEN)
    samples.click(handlers.delete_sample, opened, shown, **HIDDEN)
    clip.add.click(
        handlers.add_clip,
        [opened, clip.audio, clip.words],
        [*shown, clip.audio, clip.words],
        api_visibility="private",
    )
    clip.picture.upload(handlers.set_picture, [opened, clip.picture], shown, **HIDDEN)
    upload.upload(handlers.import_zip, upload, shown, api_visibility="private")


class _Handlers:
    """Event handlers of the tab; all but `list` return the values of `_tab_values`.

    Args:
        lab: whose profiles.
    """

    def __init__(self, lab: VoiceLab):
        self._lab = lab

    def list(self) -> str:
        """The list of profiles."""
        return profile_list(self._lab.library.profiles.list())

    def show(self, id: str = "") -> Values:
        """The list and the opened profile; none for an empty id."""
        return _tab_values(self._lab, id, False)

    def new(self) -> Values:
        """An empty form."""
        return _tab_values(self._lab, "", True)

    def save(self, id: str, *values: Any) -> Values:
        """Change the opened profile, or create one."""
        profiles, fields = self._lab.library.profiles, _fields(self._lab, *values)
        saved = (
            with_gradio_errors(profiles.update, id, fields)
            if id
            else with_gradio_errors(profiles.create, **fields)
        )
        gr.Info(f"{saved['name']} is kept." if id else f"{saved['name']} is made: add a clip.")
        return self.show(saved["id"])

    def act(self, event: gr.EventData) -> Values:
        """Handle a button of the list."""
        id = str(event._data["id"])
        if event._data["act"] == "edit":
            return self.show(id)
        with_gradio_errors(check_may_delete, self._lab)
        with_gradio_errors(self._lab.library.delete_profile, id)
        return self.show()

    def delete_sample(self, id: str, event: gr.EventData) -> Values:
        """Delete a clip of the opened profile."""
        with_gradio_errors(check_may_delete, self._lab)
        with_gradio_errors(self._lab.library.profiles.delete_sample, str(event._data["id"]))
        return self.show(id)

    def add_clip(self, id: str, path: str | None, transcript: str) -> Values:
        """Add a clip and empty its fields."""
        if path is None or not id:
            missing = "Choose or record a clip first." if id else "Save the voice first."
            raise gr.Error(missing, print_exception=False)
        with_gradio_errors(self._lab.library.profiles.add_sample, id, Path(path), transcript)
        return [*self.show(id), None, ""]

    def set_picture(self, id: str, path: str) -> Values:
        """Set the picture of the opened profile."""
        if not id:
            raise gr.Error("Save the voice first.", print_exception=False)
        set_avatar = self._lab.library.profiles.set_avatar
        with_gradio_errors(set_avatar, id, Path(path).read_bytes())
        return self.show(id)

    def import_zip(self, path: str) -> Values:
        """Import the profile of an archive, and open it."""
        with Path(path).open("rb") as file:
            saved = with_gradio_errors(self._lab.library.archives.import_profile, file)
        return self.show(saved["id"])


def _clip() -> _Clip:
    audio = gr.Audio(label="A clip of 2-30 s", sources=["upload", "microphone"], type="filepath")
    words = gr.Textbox(label="What is said in it (optional)", max_length=2000)
    add = gr.Button("Add the clip", size="sm")
    picture = gr.UploadButton("Set a picture", file_types=["image"], size="sm")
    return _Clip(audio, words, add, picture)


def _form(lab: VoiceLab) -> _Form:
    with gr.Row():
        name = gr.Textbox(label="Name", max_length=100)
        description = gr.Textbox(label="Description", max_length=500, scale=2)
    with gr.Row():
        language = gr.Textbox("en", label="Language (a code such as en, de)", max_length=20)
        engines = [("The default", ""), *engine_choices(lab)]
        engine = gr.Dropdown(engines, value="", label="Engine", filterable=False)
        preset = gr.Dropdown([("None", "")], value="", label="Effects", filterable=False)
    return _Form(name, description, language, engine, preset)


def _fields(
    lab: VoiceLab, name: str, description: str, language: str, engine: str, preset: str
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": name,
        "description": description,
        "language": language,
        "default_engine": engine or None,
    }
    if preset != "own":
        fields["effects_chain"] = (
            lab.library.presets.get(preset)["effects_chain"] if preset else None
        )
    return fields


def _tab_values(lab: VoiceLab, id: str, is_new: bool) -> list[Any]:
    """Values of the list, the opened profile, the editor and its fields."""
    profiles = {profile["id"]: profile for profile in lab.library.profiles.list()}
    opened = profiles.get(id)
    listed = profile_list(list(profiles.values()))
    if opened is None:
        fields = ["", "", "en", "", gr.Dropdown(_presets(lab, None), value="")]
        return [listed, "", gr.Column(visible=is_new), "", *fields]
    chain = opened["effects_chain"]
    preset = next(
        (p["id"] for p in lab.library.presets.list() if p["effects_chain"] == chain), "own"
    )
    fields = [
        opened["name"],
        opened["description"],
        opened["language"],
        opened["default_engine"] or "",
        gr.Dropdown(_presets(lab, chain), value=preset if chain else ""),
    ]
    return [
        listed,
        id,
        gr.Column(visible=True),
        sample_list(lab.library.profiles.samples(id)),
        *fields,
    ]


def _presets(lab: VoiceLab, chain: Any) -> list[tuple[str, str]]:
    own = [("Its own chain", "own")] if chain else []
    return [("None", ""), *own, *((p["name"], p["id"]) for p in lab.library.presets.list())]
