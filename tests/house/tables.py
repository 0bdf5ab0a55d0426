"""The tables of routes and settings, made from the code.

`python -m tests.house.tables` writes them; a test fails while a file differs from the code.
"""

from __future__ import annotations

import inspect
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from fastapi.routing import APIRoute
from pydantic import SecretStr
from pydantic.fields import FieldInfo

import voicelab
from voicelab.lab import VoiceLab
from voicelab.rest import build
from voicelab.settings import Settings

ROOT = Path(voicelab.__file__).parent
ROUTES, SETTINGS = ROOT / "rest" / "ROUTES.md", ROOT / "SETTINGS.md"

NOTE = "Written by `python -m tests.house.tables`, and compared with the code by a test."

GROUPS = MappingProxyType(
    {
        "": "all",
        "openai": "OpenAI",
        "chatterbox": "Chatterbox TTS API",
        "chatterbox_server": "Chatterbox TTS Server",
        "studio": "voice studio",
    }
)
"""By the name of the module in rest/dialects; a module that is not here fails."""


def walked(routes: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, route) of every route, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from walked(inner.routes, prefix + route.include_context.prefix)
        else:
            yield prefix + route.path, route


def group_of(route: Any) -> str:
    """The clients a route is made for."""
    parts = route.endpoint.__module__.split(".")
    return GROUPS[parts[3] if parts[2] == "dialects" else ""]


def described(route: Any) -> str:
    """The first line of what /docs says of it."""
    text = route.description or inspect.getdoc(route.endpoint)
    return text.splitlines()[0].replace("|", "\\|")


def endpoints(lab: VoiceLab) -> dict[tuple[Any, str], list[tuple[str, APIRoute]]]:
    """By endpoint and method, its paths: those that /docs shows first."""
    found: dict[tuple[Any, str], list[tuple[str, APIRoute]]] = {}
    for path, route in walked(build(lab).routes):
        # Others are pages of the documentation, and the fast way to /status/progress.
        if isinstance(route, APIRoute) and route.endpoint.__module__.startswith("voicelab."):
            for method in sorted(route.methods):
                found.setdefault((route.endpoint, method), []).append((path, route))
    for ways in found.values():
        ways.sort(key=lambda way: not way[1].include_in_schema)
    return found


def route_rows(lab: VoiceLab) -> list[str]:
    """A row for each method of an endpoint: its first path, then the others."""
    rows: dict[str, list[str]] = {group: [] for group in GROUPS.values()}
    for (_, method), ((path, route), *others) in endpoints(lab).items():
        group, also = group_of(route), " ".join(f"`{other}`" for other, _ in others)
        rows[group].append(f"| {method} | `{path}` | {described(route)} | {group} | {also} |")
    return [row for group in rows.values() for row in group]


def routes_table() -> str:
    """The whole of ROUTES.md."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(engine="tone", data_dir=Path(folder), min_free_disk_mb=0)
        with VoiceLab(settings) as lab:
            rows = route_rows(lab)
    head = [
        "# Routes",
        "",
        NOTE,
        "Fields of requests and answers are in /docs and /openapi.json of a running server; what",
        "holds for all routes, and for each kind of client, is in [README.md](README.md).",
        "",
        "| method | path | what it does | for | also at |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def default_of(field: FieldInfo) -> str:
    """The default in words."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "unset" if value is None else "none" if value == "" else str(value)


def values_of(field: FieldInfo) -> str:
    """What may be given: the choices, or the kind with its range."""
    kind = next((each for each in get_args(field.annotation) if each is not type(None)), None)
    kind = field.annotation if kind is None or isinstance(kind, str) else kind
    if choices := get_args(kind):
        return ", ".join(choices)
    words = {bool: "on, off", int: "whole number", float: "number", Path: "path"}
    words |= {str: "text", SecretStr: "secret"}
    limits = [
        getattr(rule, side)
        for rule in field.metadata
        for side in ("ge", "le")
        if hasattr(rule, side)
    ]
    return " ".join([words[kind], *([f"{limits[0]} to {limits[1]}"] if limits else [])])


def settings_table() -> str:
    """The whole of SETTINGS.md."""
    head = [
        "# Settings",
        "",
        NOTE,
        "Each is an option of `app.py` and of `python -m voicelab`, or a variable of the",
        "environment; the option wins. On and off are `--share` and `--no-share`, as a variable 1",
        "and 0.",
        "",
        "| option | variable | values | default | what it does |",
        "|---|---|---|---|---|",
    ]
    rows = [
        f"| `--{name.replace('_', '-')}` | `VOICELAB_{name.upper()}` | {values_of(field)} | "
        f"{default_of(field)} | {(field.description or '').replace('|', '/')} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join([*head, *rows, ""])


def paths_in(table: str) -> set[str]:
    """All paths that a table of routes names."""
    return set(re.findall(r"`(/[^`]*)`", table))


def main() -> None:
    """Write both files."""
    # On a Space some defaults are others.
    os.environ.pop("SYSTEM", None)
    ROUTES.write_text(routes_table(), encoding="utf-8")
    SETTINGS.write_text(settings_table(), encoding="utf-8")


if __name__ == "__main__":
    main()
