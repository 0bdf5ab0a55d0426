"""The details of a take: its versions, chunks and effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from voicelab.audio import EFFECTS, peaks, read
from voicelab.errors import NotFound, StorageError, VoicelabError
from voicelab.generation import Take
from voicelab.lab import VoiceLab
from voicelab.ui.components.errors import check_may_delete, with_gradio_errors
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.scripts import script
from voicelab.ui.components.takes import chunk_list
from voicelab.ui.components.versions import version_list

__all__ = ["Drawer", "build"]


@dataclass(frozen=True)
class Drawer:
    """The components of the details; `show` gives their values for a take's id."""

    outputs: list[Any]
    show: Callable[[str], list[Any]]


def build(lab: VoiceLab) -> Drawer:
    """Add the drawer, closed, to the current block."""
    with gr.Column(visible=False, elem_id="vl-drawer") as drawer:
        with gr.Row():
            title = gr.HTML("", padding=False)
            close = gr.Button("Close", size="sm", scale=0, min_width=80)
        versions = gr.HTML("", js_on_load=script("versions"), elem_id="vl-versions", padding=False)
        with gr.Row():
            again = gr.Button("Another reading", size="sm")
            stop = gr.Button("Stop", size="sm", interactive=False)
        progress = gr.HTML("", padding=False, elem_id="vl-remade")
        with gr.Accordion("Effects", open=False):
            editor = _effects(lab)
        with gr.Accordion("Sentences", open=False):
            chunks = gr.HTML(
                "", js_on_load=script("versions"), elem_id="vl-sentences", padding=False
            )
    opened, running = gr.State(""), gr.State("")
    outputs = [drawer, opened, title, versions, chunks]

    def show(id: str) -> list[Any]:
        return _drawer_values(lab, id)

    def act(id: str, event: gr.EventData) -> list[Any]:
        chosen, action = str(event._data["id"]), event._data["act"]
        try:
            if action == "default":
                lab.library.versions.set_default(id, chosen)
            elif action == "discard":
                check_may_delete(lab)
                lab.library.versions.delete(id, chosen)
        except VoicelabError as error:
            gr.Warning(str(error))
        return show(id)

    remake_outputs = [*outputs, running, stop, progress]
    versions.click(act, opened, outputs, **HIDDEN)
    shown: dict[str, Any] = {"api_visibility": "private", "show_progress_on": versions}
    chunks.click(_chunk_handler(lab), opened, remake_outputs, **shown)
    again.click(_regenerate_handler(lab), opened, remake_outputs, **shown)
    stop.click(lambda request_id: _cancel(lab, request_id), running, None, **HIDDEN)
    close.click(lambda: [gr.Column(visible=False), ""], None, [drawer, opened], **HIDDEN)
    _editing(lab, editor, opened, outputs)
    return Drawer(outputs, show)


@dataclass(frozen=True)
class _Editor:
    preset: gr.Dropdown
    chain: gr.Dropdown
    groups: dict[str, gr.Group]
    sliders: dict[tuple[str, str], gr.Slider]
    preview_effects: gr.Button
    apply_effects: gr.Button
    preview: gr.Audio
    name: gr.Textbox
    save_preset: gr.Button


def _effects(lab: VoiceLab) -> _Editor:
    with gr.Row():
        preset = gr.Dropdown(_preset_names(lab), value="", label="Preset", filterable=False)
        chain = gr.Dropdown(
            [(effect.label, kind) for kind, effect in EFFECTS.items()],
            multiselect=True,
            label="Chain, in this order",
        )
    groups, sliders = {}, {}
    for kind, effect in EFFECTS.items():
        with gr.Group(visible=False) as groups[kind]:
            gr.HTML(f"<b>{effect.label}</b> {effect.description}", elem_classes="vl-muted")
            for p in effect.parameters:
                unit = f" ({p.unit})" if p.unit else ""
                sliders[kind, p.name] = gr.Slider(
                    p.minimum, p.maximum, p.default, step=p.step, label=p.label + unit
                )
    with gr.Row():
        preview_effects = gr.Button("Hear it", size="sm")
        apply_effects = gr.Button("Keep as a version", size="sm", variant="primary")
    preview = gr.Audio(label="Preview", interactive=False, visible=False, autoplay=True)
    with gr.Row():
        name = gr.Textbox(label="Name of a preset", max_length=100, scale=3)
        save_preset = gr.Button("Keep as a preset", size="sm", elem_classes="vl-tight", scale=1)
    return _Editor(
        preset, chain, groups, sliders, preview_effects, apply_effects, preview, name, save_preset
    )


def _editing(lab: VoiceLab, editor: _Editor, opened: gr.State, outputs: list[Any]) -> None:
    values = [editor.chain, *editor.sliders.values()]

    def chain_of(kinds: list[str] | None, *numbers: float) -> list[dict[str, Any]]:
        parameters = dict(zip(editor.sliders, numbers, strict=True))
        return [
            {
                "type": kind,
                "params": {
                    name: value for (owner, name), value in parameters.items() if owner == kind
                },
            }
            for kind in kinds or []
        ]

    def follow(kinds: list[str] | None) -> list[Any]:
        return [gr.Group(visible=kind in (kinds or [])) for kind in editor.groups]

    def load(id: str) -> list[Any]:
        steps = with_gradio_errors(lab.library.presets.get, id)["effects_chain"] if id else []
        parameters = {(s["type"], name): v for s in steps for name, v in s["params"].items()}
        kinds = list(dict.fromkeys(step["type"] for step in steps))
        numbers = [parameters.get(key, slider.value) for key, slider in editor.sliders.items()]
        return [kinds, *numbers, *follow(kinds)]

    def preview_effects(id: str, *chosen: Any) -> Any:
        pcm, rate = with_gradio_errors(lab.library.versions.preview, id, chain_of(*chosen))
        return gr.Audio(value=(rate, pcm), visible=True)

    def apply_effects(id: str, *chosen: Any) -> list[Any]:
        with_gradio_errors(lab.library.versions.apply, id, chain_of(*chosen))
        return _drawer_values(lab, id)

    def save_preset(name: str, *chosen: Any) -> Any:
        preset = with_gradio_errors(lab.library.presets.create, name, chain_of(*chosen))
        return gr.Dropdown(_preset_names(lab), value=preset["id"])

    editor.chain.change(follow, editor.chain, list(editor.groups.values()), **HIDDEN)
    editor.preset.input(load, editor.preset, [*values, *editor.groups.values()], **HIDDEN)
    editor.preview_effects.click(
        preview_effects, [opened, *values], editor.preview, api_visibility="private"
    )
    editor.apply_effects.click(apply_effects, [opened, *values], outputs, api_visibility="private")
    editor.save_preset.click(save_preset, [editor.name, *values], editor.preset, **HIDDEN)


def _preset_names(lab: VoiceLab) -> list[tuple[str, str]]:
    return [
        ("None", ""),
        *((preset["name"], preset["id"]) for preset in lab.library.presets.list()),
    ]


def _drawer_values(lab: VoiceLab, id: str) -> list[Any]:
    try:
        record = lab.history.get(id)
    except NotFound:
        return [gr.Column(visible=False), "", "", "", ""]
    versions = [(version, _peaks(lab, version)) for version in record["versions"]]
    return [
        gr.Column(visible=True),
        id,
        f"<h3 dir='auto'>{escape(record['text'][:120])}</h3>",
        version_list(versions),
        chunk_list(record["chunks"], again=True),
    ]


def _peaks(lab: VoiceLab, version: dict[str, Any]) -> list[float]:
    try:
        return peaks(read(lab.library.files.path(version["audio_path"]))[0])
    except (NotFound, StorageError):
        return []


def _cancel(lab: VoiceLab, request_id: str) -> None:
    if request_id and lab.status.is_live(request_id):
        lab.cancel(request_id)


def _regenerate_handler(lab: VoiceLab) -> Any:
    def again(id: str, progress: gr.Progress = gr.Progress()):  # noqa: B008
        yield from _remake(lab, with_gradio_errors(lab.regenerate, id), progress)

    return again


def _chunk_handler(lab: VoiceLab) -> Any:
    def again(id: str, event: gr.EventData, progress: gr.Progress = gr.Progress()):  # noqa: B008
        take = with_gradio_errors(lab.regenerate_chunk, id, int(event._data["index"]))
        yield from _remake(lab, take, progress)

    return again


def _remake(lab: VoiceLab, take: Take, progress: gr.Progress):
    skipped = [gr.skip()] * 5
    yield [*skipped, take.request_id, gr.Button(interactive=True), "Being made..."]
    try:
        with take:
            for piece in take:
                if piece.chunk is not None:
                    progress((piece.chunk.index + 1, take.total_chunks), unit="chunks")
    except VoicelabError as error:
        gr.Warning(str(error))
    yield [*_drawer_values(lab, take.id), "", gr.Button(interactive=False), ""]
