"""The store on one TinyDB file."""

__all__: list[str] = []
