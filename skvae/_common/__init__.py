"""Small things that several wings need; it imports nothing else of skvae, and is not public."""

__all__: list[str] = []
