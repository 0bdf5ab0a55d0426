"""`python -m voicelab`."""

import sys

from voicelab.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
