"""`python -m voicelab`: the same as `python app.py`."""

from __future__ import annotations

import logging
import sys

from voicelab.errors import VoicelabError
from voicelab.lab import VoiceLab
from voicelab.settings import Settings

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Open the page and serve until Ctrl+C; the exit status.

    Args:
        arguments: options; those of the process when None.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # One line a download or poll is noise in a log that people read.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        with VoiceLab(Settings.from_arguments(arguments)) as lab:
            from voicelab.server import Lab

            Lab(lab).launch()
    except VoicelabError as error:
        print(f"voicelab: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
