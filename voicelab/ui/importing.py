"""How Gradio is imported: without telemetry, and without the type stubs that it writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__all__: list[str] = []

COMPONENT_META = "gradio.component_meta"


class _StublessFinder(MetaPathFinder):
    """Finds Gradio's metaclass of components, and replaces its writer of type stubs.

    Gradio parses the source of each of its components and compares it with a .pyi file beside it.
    That is a third of the time of its import, and of use for editors alone.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != COMPONENT_META:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(_execute, spec.loader.exec_module)
        return spec


def _execute(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    execute(module)
    vars(module)["create_or_modify_pyi"] = lambda *_: None


def _import_gradio() -> None:
    # Both are read when gradio is imported.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")
    finder = _StublessFinder()
    sys.meta_path.insert(0, finder)
    try:
        import_module("gradio")
    finally:
        sys.meta_path.remove(finder)


_import_gradio()
