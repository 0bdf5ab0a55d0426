"""Code run by a Python of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["last_json"]


def last_json(code: str, folder: Path, *before: str) -> Any:
    """The last line that `code` prints, read as JSON.

    Args:
        code: has the folder in `sys.argv[1]`.
        folder: of its own.
        before: the command that starts Python, none for Python itself.
    """
    done = subprocess.run(
        [*before, sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
