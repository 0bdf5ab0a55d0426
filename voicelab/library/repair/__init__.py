"""References and records that are wrong or missing, and how they are mended."""

__all__: list[str] = []
