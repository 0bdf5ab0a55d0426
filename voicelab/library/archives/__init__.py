"""Takes, profiles and stories as ZIP archives."""

__all__: list[str] = []
