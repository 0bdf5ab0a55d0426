"""What is kept for how long: policy, FLAC, clean-up."""

__all__: list[str] = []
