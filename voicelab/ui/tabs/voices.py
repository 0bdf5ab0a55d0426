"""The Voices tab: profiles, made from clips, changed, taken elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.lab import VoiceLab
from voicelab.ui.components.errors import check_may_delete, with_gradio_errors
from voicelab.ui.components.profiles import profile_list, sample_list
from voicelab.ui.components.scripts import script
from voicelab.ui.tabs.generate import engine_choices

__all__ = ["build"]


@dataclass(frozen=True)
class _Form:
    """The fields of one profile."""

    name: gr.Textbox
    description: gr.Textbox
    language: gr.Textbox
    engine: gr.Dropdown
    preset: gr.Dropdown

    @property
    def fields(self) -> list[Any]:
        return [self.name, self.description, self.language, self.engine, self.preset]


def build(lab: VoiceLab, tab: gr.Tab) -> None:
    """Lay out the tab in the current block."""
    profiles = gr.HTML("", js_on_load=script("voices"), elem_id="vl-profiles", padding=False)
    with gr.Row():
        new = gr.Button("New voice", size="sm", variant="primary")
        bring = gr.UploadButton("Import a voice (ZIP)", file_types=[".zip"], size="sm")
    with gr.Column(visible=False, elem_id="vl-profile") as editor:
        form = _form(lab)
        with gr.Row():
            save = gr.Button("Save", size="sm", variant="primary")
            close = gr.Button("Close", size="sm")
        samples = gr.HTML("", js_on_load=script("voices"), elem_id="vl-samples", padding=False)
        clip = gr.Audio(label="A clip of 2-30 s", sources=["upload", "microphone"], type="filepath")
        words = gr.Textbox(label="What is said in it (optional)", max_length=2000)
        add = gr.Button("Add the clip", size="sm")
        picture = gr.UploadButton("Set a picture", file_types=["image"], size="sm")
    opened = gr.State("")
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    shown = [profiles, opened, editor, samples, *form.fields]

    def show(id: str = "", making: bool = False) -> list[Any]:
        return _shown(lab, id, making)

    def keep(id: str, *values: Any) -> list[Any]:
        fields = _fields(lab, *values)
        made = (
            with_gradio_errors(lab.library.profiles.update, id, fields)
            if id
            else with_gradio_errors(lab.library.profiles.create, **fields)
        )
        gr.Info(f"{made['name']} is kept." if id else f"{made['name']} is made: add a clip.")
        return show(made["id"])

    def act(event: gr.EventData) -> list[Any]:
        id = str(event._data["id"])
        if event._data["act"] == "edit":
            return show(id)
        with_gradio_errors(check_may_delete, lab)
        with_gradio_errors(lab.library.delete_profile, id)
        return show()

    def remove(id: str, event: gr.EventData) -> list[Any]:
        with_gradio_errors(check_may_delete, lab)
        with_gradio_errors(lab.library.profiles.delete_sample, str(event._data["id"]))
        return show(id)

    def add_clip(id: str, path: str | None, said: str) -> list[Any]:
        if path is None or not id:
            missing = "Choose or record a clip first." if id else "Save the voice first."
            raise gr.Error(missing, print_exception=False)
        with_gradio_errors(lab.library.profiles.add_sample, id, Path(path), said)
        return [*show(id), None, ""]

    def set_picture(id: str, path: str) -> list[Any]:
        if not id:
            raise gr.Error("Save the voice first.", print_exception=False)
        with_gradio_errors(lab.library.profiles.set_avatar, id, Path(path).read_bytes())
        return show(id)

    def import_zip(path: str) -> list[Any]:
        with Path(path).open("rb") as file:
            made = with_gradio_errors(lab.library.archives.import_profile, file)
        return show(made["id"])

    tab.select(lambda: profile_list(lab.library.profiles.list()), None, profiles, **quiet)
    new.click(lambda: show("", True), None, shown, **quiet)
    close.click(show, None, shown, **quiet)
    save.click(keep, [opened, *form.fields], shown, **quiet)
    profiles.click(act, None, shown, **quiet)
    samples.click(remove, opened, shown, **quiet)
    add.click(add_clip, [opened, clip, words], [*shown, clip, words], api_visibility="private")
    picture.upload(set_picture, [opened, picture], shown, **quiet)
    bring.upload(import_zip, bring, shown, api_visibility="private")


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


def _shown(lab: VoiceLab, id: str, making: bool) -> list[Any]:
    """Values of the list, the opened profile, the editor and its fields."""
    everyone = {profile["id"]: profile for profile in lab.library.profiles.list()}
    opened = everyone.get(id)
    listed = profile_list(list(everyone.values()))
    if opened is None:
        fields = ["", "", "en", "", gr.Dropdown(_presets(lab, None), value="")]
        return [listed, "", gr.Column(visible=making), "", *fields]
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
