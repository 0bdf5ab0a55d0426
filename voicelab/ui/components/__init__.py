"""Components shared by tabs: HTML of records, details of a take, the storage policy."""

__all__: list[str] = []
