"""The command line: serve, say, doctor, storage, db, check-takes."""

from voicelab.cli.main import main
from voicelab.cli.signals import end_in_order

__all__ = ["end_in_order", "main"]
