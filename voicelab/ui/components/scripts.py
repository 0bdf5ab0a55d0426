"""The page's own CSS and JavaScript, from the files of `ui/static`."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["marked", "script", "style"]

FOLDER = Path(__file__).parents[1] / "static"


def script(*names: str) -> str:
    """The JavaScript files one after the other, for `js_on_load`, `js` or a script element.

    Args:
        *names: of files in `ui/static`, without ".js".
    """
    return "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names)


def style() -> str:
    """The style sheet of the page."""
    return (FOLDER / "page.css").read_text(encoding="utf-8")


def marked(html: str) -> str:
    """The HTML with a mark that no other drawing has: `ordered_clicks.js` waits for it."""
    return f"<div data-drawn='{time.monotonic_ns()}'>{html}</div>"
