"""The audio files of a lab, on a disk or on a file system of fsspec."""

from voicelab.library.files.local import Files
from voicelab.library.files.remote import open_files

__all__ = ["Files", "open_files"]
