"""The audio files of a lab, on a disk or on a file system of fsspec."""

__all__: list[str] = []
