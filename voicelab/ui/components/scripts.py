"""The page's CSS and JavaScript from `ui/static`."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["with_render_mark", "script", "style"]

FOLDER = Path(__file__).parents[1] / "static"


def script(*names: str) -> str:
    """The concatenated JavaScript files, for `js_on_load`, `js` or a script element.

    Args:
        *names: of files in `ui/static`, without ".js".
    """
    return "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names)


def style() -> str:
    """The style sheet of the page."""
    return (FOLDER / "page.css").read_text(encoding="utf-8")


def with_render_mark(html: str) -> str:
    """The HTML with a unique attribute, from which `ordered_clicks.js` detects a new rendering."""
    return f"<div data-drawn='{time.monotonic_ns()}'>{html}</div>"
