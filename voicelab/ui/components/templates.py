"""HTML from Jinja templates, with every value escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["clock", "counted", "render", "size"]

FOLDER = Path(__file__).parents[1] / "templates"


def clock(seconds: float) -> str:
    """Seconds as m:ss.t."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def size(size_bytes: float) -> str:
    """Bytes with a suitable unit."""
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def counted(number: int, word: str) -> str:
    """The number with the word, in the plural if it is not 1."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": clock, "size": size, "counted": counted}
    return environment


ENVIRONMENT = _environment()


def render(template: str, **values: Any) -> str:
    """A template of `ui/templates` as HTML.

    Args:
        template: its name without ".html".
        **values: plain text, never HTML.

    Raises:
        jinja2.UndefinedError: the template names a value that is missing.
    """
    return ENVIRONMENT.get_template(f"{template}.html").render(**values)
