"""The page: its header, tabs and endpoints."""

from __future__ import annotations

import gradio as gr

from voicelab.lab import VoiceLab
from voicelab.ui import endpoints
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.figures import header
from voicelab.ui.tabs import generate, history, stats, stories, voices

__all__ = ["build"]

HEADER_POLL_S = 2.0


def build(lab: VoiceLab) -> None:
    """Add all parts of the page to the current Blocks."""
    head = gr.HTML(_header(lab), padding=False)
    again = gr.Button("Load it again", visible=False, elem_id="vl-load", size="sm")
    with gr.Tabs() as tabs:
        with gr.Tab("Generate", id="generate") as generate_tab:
            controls = generate.build(lab, generate_tab)
        with gr.Tab("History", id="history") as history_tab:
            history.build(lab, controls, tabs, history_tab)
        with gr.Tab("Voices", id="voices") as voices_tab:
            voices.build(lab, voices_tab)
        with gr.Tab("Stories", id="stories") as stories_tab:
            stories.build(lab, stories_tab)
        with gr.Tab("Stats", id="stats") as stats_tab:
            stats.build(lab, stats_tab)
    endpoints.build(lab)
    timer = gr.Timer(HEADER_POLL_S)

    def refresh() -> tuple[str, gr.Button, gr.Timer]:
        # Poll only while the engine is being loaded.
        state = lab.registry.state().state
        busy = state in ("not_started", "initializing")
        return _header(lab), gr.Button(visible=state == "error"), gr.Timer(active=busy)

    def load() -> gr.Timer:
        lab.scheduler.preload(lab.registry.default)
        return gr.Timer(active=True)

    shown = [head, again, timer]
    timer.tick(refresh, None, shown, **HIDDEN)
    again.click(load, None, timer, **HIDDEN)
    gr.on(None, refresh, None, shown, **HIDDEN)  # when the page is opened


def _header(lab: VoiceLab) -> str:
    registry = lab.registry
    speaker = registry.info(registry.speaker()).label
    return header(
        registry.info().label, registry.reason, registry.state(), speaker, registry.stands_in
    )
