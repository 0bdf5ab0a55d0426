"""Theme and style sheet: system fonts, no external resources, dark and light, from 360 px width."""

from __future__ import annotations

from typing import Any

import gradio as gr

from voicelab.ui.components.scripts import script, style

__all__ = ["appearance"]

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def appearance() -> dict[str, Any]:
    """Theme, CSS and head elements as arguments of `launch`."""
    theme = gr.themes.Soft(primary_hue="indigo", font=SANS, font_mono=MONO, radius_size="md")
    head = f"<script>\n{script('shortcuts')}</script>"
    return {"theme": theme, "css": style(), "head": head}
