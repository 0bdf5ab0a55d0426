"""Other servers' routes, as their clients call them: each a translation to our own requests."""

__all__: list[str] = []
