"""Training images as batches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from lightning_fabric import Fabric

from lineament.engine.console import console, progress_bar
from lineament.ops.seeding import philox
from lineament.store.images import ReadingReport, load_image_array

_STREAM_EPOCH, _STREAM_HELD_OUT = 3, 5


def batch_indices(seed: int, num_images: int, start: int, count: int) -> list[int]:
    """Image numbers ``start`` to ``start + count`` of an endless sequence of shuffled epochs."""
    indices: list[int] = []
    while len(indices) < count:
        epoch, offset = divmod(start + len(indices), num_images)
        order = philox(seed, _STREAM_EPOCH, epoch).permutation(num_images)
        indices += order[offset : offset + count - len(indices)].tolist()
    return indices


def load_images(path: Path | Sequence[Path], resolution: int, cache_dir: Path, fabric: Fabric) -> np.ndarray:
    """Load all images of one or several sources as one array.

    The first process decodes them; the others wait and read the cache.
    """
    with fabric.rank_zero_first(), progress_bar(disable=not fabric.is_global_zero) as bar:
        task = bar.add_task("reading images", total=None, note="")
        return load_image_array(
            path,
            resolution,
            cache_dir,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            on_report=lambda report: _tell(report) if fabric.is_global_zero else None,
        )


def _tell(report: ReadingReport) -> None:
    for line in report.lines():
        console.print(line, soft_wrap=True, markup=False)


def split_held_out(num_images: int, held_out: int, seed: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Numbers of the images for training, and of those held out: ``held_out`` of them, but at most a tenth of all."""
    order = philox(seed, _STREAM_HELD_OUT, 0).permutation(num_images)
    count = min(held_out, num_images // 10)
    return order[: num_images - count], np.sort(order[num_images - count :])
