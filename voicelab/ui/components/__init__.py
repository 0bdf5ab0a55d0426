"""Parts that tabs share: HTML of records, the versions drawer, the storage policy."""

__all__: list[str] = []
