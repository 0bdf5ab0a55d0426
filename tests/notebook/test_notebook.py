from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
SHOWN = MappingProxyType(
    {
        "quickstart": ("<audio controls",),
        "voices-and-effects": ("<audio controls", "<svg"),
        "long-texts-and-editing": ("<audio controls", "<svg"),
        "rest-and-clients": ("<audio  controls",),
        "operating-it": ("<audio controls", "<svg"),
    }
)
"""Notebook -> what its cells must show as HTML; IPython's own player has two spaces."""


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_the_notebook_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICELAB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("VOICELAB_ENGINE", "espeak")
    monkeypatch.setenv("VOICELAB_PORT", "0")
    monkeypatch.setenv("VOICELAB_MIN_FREE_DISK_MB", "0")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(
        output.data.get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    )
    assert all(part in shown for part in SHOWN[name])
