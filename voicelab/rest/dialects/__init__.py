"""Routes that clients of other servers expect; one module or package for each server."""

__all__: list[str] = []
