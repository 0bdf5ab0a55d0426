"""The write-ahead journal and what a crash leaves of it."""

__all__: list[str] = []
