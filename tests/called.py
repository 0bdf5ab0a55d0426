"""What voicelab calls of other packages, so that a warning which names it fails the tests."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["warning_filters"]

ROOT = Path(__file__).resolve().parent.parent / "voicelab"
CATEGORIES = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")


def warning_filters() -> list[str]:
    """Lines of pytest's `filterwarnings`: an announced change of what voicelab calls is an error.

    A name counts where it is quoted, called or reached with a dot: "`stft` ...", "torch.stft ...".
    """
    names = "|".join(sorted(map(re.escape, _called())))
    pattern = rf"(?s).*([`'\"]({names})[`'\"(]|\.({names})\b|\b({names})\()"
    return [f"error:{pattern}:{category}" for category in CATEGORIES]


def _called() -> set[str]:
    return {name for path in ROOT.rglob("*.py") for name in _called_by(path)}


def _called_by(path: Path) -> Iterator[str]:
    """Names imported from other packages, and attributes of what was imported."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    bound: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            bound |= {_bound(alias) for alias in node.names if _foreign(alias.name)}
        elif isinstance(node, ast.ImportFrom) and _foreign(node.module or "voicelab"):
            bound |= {_bound(alias) for alias in node.names}
            yield from (alias.name for alias in node.names)
    for node in nodes:
        if isinstance(node, ast.Attribute) and _first(node) in bound:
            yield node.attr


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.split(".")[0]


def _foreign(module: str) -> bool:
    package = module.split(".")[0]
    return package != "voicelab" and package not in sys.stdlib_module_names


def _first(node: ast.expr) -> str | None:
    """`torch` of `torch.nn.functional.pad`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
