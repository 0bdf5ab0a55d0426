"""The store on PostgreSQL."""

__all__: list[str] = []
