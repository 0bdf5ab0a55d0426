"""The command line: serve, say, doctor, storage, db, check-takes."""

from voicelab.cli.main import main
from voicelab.cli.options import parse_settings
from voicelab.cli.signals import end_in_order

__all__ = ["end_in_order", "main", "parse_settings"]
