"""One file a tab; each has `build`."""

__all__: list[str] = []
