"""Long arrays piece by piece, so that no copy of all of one is made."""

from collections.abc import Iterator


def row_blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover ``count`` rows."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
