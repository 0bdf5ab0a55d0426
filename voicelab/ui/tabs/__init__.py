"""One module for each tab; each has `build`."""

__all__: list[str] = []
