"""The input components of a take's settings, and their choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from voicelab.engines import find_language
from voicelab.lab import VoiceLab

__all__ = ["Controls", "engine_choices", "language_choice", "voice_choices"]


@dataclass(frozen=True)
class Controls:
    """The inputs of the Generate tab, which the History tab fills for "Use again"."""

    text: gr.Textbox
    based_on: gr.State
    voice: gr.Dropdown
    engine: gr.Dropdown
    language: gr.Dropdown
    seed: gr.Textbox
    speed: gr.Slider
    gap_ms: gr.Slider
    normalize: gr.Checkbox
    sliders: dict[tuple[str, str], gr.Slider]

    @property
    def outputs(self) -> list[Any]:
        """The components in the order of `values`."""
        shape = [self.speed, self.gap_ms, self.normalize]
        voice = [self.voice, self.engine, self.language, self.seed]
        return [self.text, self.based_on, *voice, *shape, *self.sliders.values()]

    def values(self, lab: VoiceLab, record: dict[str, Any]) -> list[Any]:
        """The settings of a take, for `outputs`."""
        usable = [name for _, name in engine_choices(lab)]
        engine = record["engine"] if record["engine"] in usable else lab.registry.default
        parameters = record["parameters"]
        seed = "" if record["seed"] is None else str(record["seed"])
        sliders = [
            parameters[name] if owner == record["engine"] and name in parameters else gr.skip()
            for owner, name in self.sliders
        ]
        return [
            record["text"],
            record["id"],
            gr.Dropdown(voice_choices(lab), value=record["profile_id"]),
            engine,
            language_choice(lab, engine, record["language"]),
            seed,
            parameters.get("speed", 1.0),
            parameters.get("gap_ms", lab.settings.gap_ms),
            parameters.get("normalize", False),
            *sliders,
        ]


def voice_choices(lab: VoiceLab) -> list[tuple[str, str]]:
    """(name, id) of the profiles."""
    return [(profile["name"], profile["id"]) for profile in lab.library.profiles.list()]


def engine_choices(lab: VoiceLab) -> list[tuple[str, str]]:
    """(label, name) of the engines that are offered and usable here, and of the default.

    The label says how much is fetched when the engine first speaks.
    """
    usable = [
        name
        for name in lab.registry.names
        if name == lab.registry.default
        or (
            lab.registry.info(name).offered
            and lab.registry.presence(name).installed
            and lab.registry.presence(name).weights
        )
    ]
    return [(_engine_label(lab, name), name) for name in usable]


def _engine_label(lab: VoiceLab, name: str) -> str:
    label, size_mb = lab.registry.info(name).label, lab.registry.presence(name).download_mb
    return f"{label} (fetches {size_mb / 1000:.1f} GB)" if size_mb else label


def language_choice(lab: VoiceLab, engine: str, value: str | None = None) -> gr.Dropdown:
    """A dropdown with the languages of an engine; hidden if there is only one."""
    spoken = lab.registry.info(engine).languages
    choices = [(name, code) for code, name in spoken.items()]
    return gr.Dropdown(
        choices,
        value=find_language(value or "", spoken) or next(iter(spoken)),
        label="Language",
        visible=len(choices) > 1,
    )
