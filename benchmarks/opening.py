"""``python -m benchmarks.opening FILE``: seconds and memory of opening a foreign checkpoint, in a process of its own.

The cache of converted copies is an empty one, which is removed afterwards.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lineament.checkpoints.conversion_cache import CACHE_VARIABLE
from lineament.checkpoints.opening import open_generator
from lineament.store.foreign.checkpoints import file_hash, open_checkpoint


def _peak() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str]) -> None:
    """Print a Markdown table: hash, read, first opening with conversion, second opening from the copy."""
    path = Path(argv[0])
    size, before = path.stat().st_size / 2**20, _peak()
    steps: dict[str, Callable[[], object]] = {
        "hash": lambda: file_hash(path),
        "read (`open_checkpoint`: hash, structure, NaN check)": lambda: open_checkpoint(path),
        "first opening (read, build, convert all networks, load)": lambda: open_generator(path),
        "second opening, of the copy": lambda: open_generator(path),
    }
    print(f"| {path.name}, {size:.0f} MB | seconds | memory so far, times the file |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        os.environ[CACHE_VARIABLE] = cache
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            print(f"| {name} | {time.perf_counter() - start:.2f} | {(_peak() - before) / size:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
