"""Write the balanced folder: images or shards, manifest and labels."""

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament.engine.work import Work, remove_work
from lineament.errors import ImageError
from lineament.estimators.histograms import importance_weights
from lineament.ops.seeding import philox
from lineament.recipes.balance.generation import edit_text
from lineament.recipes.balance.plan import Goal
from lineament.recipes.balance.rounds import Candidates, picture_stage
from lineament.recipes.balance.sources import Originals, Photographs, SourceFaces
from lineament.store.atomic import make_folder, remove_stale_temporaries, storage_error, write_bytes_atomic
from lineament.store.image_formats import suffix_of
from lineament.store.images import ImageSource
from lineament.store.labels import Labels, write_labels
from lineament.store.manifest import save_manifest
from lineament.store.names import writable_names
from lineament.store.shards import write_shard

IMAGES, ORIGINALS, GENERATED, SHARDS = "images", "originals", "generated", "shards"
MANIFEST, PLAN, REPORT, LABELS, WORK = "manifest.parquet", "plan.json", "report.html", "labels.csv", "work"
OURS = frozenset({IMAGES, SHARDS, MANIFEST, PLAN, REPORT, LABELS, WORK, "config.json", ".lock"})
"""Names in a balanced folder. A folder with any other name in it is not ours and is left alone."""

_STREAM_SHARDS = 23


@dataclass(frozen=True, eq=False)
class Balanced:
    """All contents of a balanced folder."""

    source: ImageSource
    originals: Originals
    goal: Goal
    faces: SourceFaces
    candidates: Candidates
    labels: Labels | None

    @cached_property
    def files(self) -> dict[str, str]:
        """Path of each original in the folder. It depends on the names of all images, used or not."""
        return {name: f"{IMAGES}/{ORIGINALS}/{path}" for name, path in writable_names(self.source.names).items()}

    def rows(self) -> dict[str, Any]:
        """The manifest's columns: originals, generated images, rejected ones, skipped files."""
        names, grid, made = self.goal.grid.names, self.goal.grid, self.candidates
        chosen, reasons = made.chosen(self.goal.added), made.reasons(self.goal.added)
        order = np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)])
        n, k, s = len(self.originals.names), len(order), len(self.originals.skipped)
        bins = grid.locate(self.originals.values)
        weights = importance_weights(bins, self.goal.counts, self.goal.shares)

        def column(own: Any, theirs: Any, rest: Any = None) -> list[Any]:
            return [*(own if own is not None else [None] * n), *theirs, *(rest or [None] * s)]

        def numbers(values: Float[np.ndarray, " k"]) -> list[float | None]:
            return [None if np.isnan(v) else float(v) for v in values[order]]

        sources = [self.faces.names[int(i)] for i in made.source[order]]
        columns: dict[str, Any] = {
            "file": column(
                [self.files[name] for name in self.originals.names],
                [generated_file(int(i)) if chosen[i] else None for i in order],
            ),
            "kind": column(
                ["original"] * n, ["generated" if chosen[i] else "rejected" for i in order], ["skipped"] * s
            ),
            "accepted": column([True] * n, [bool(chosen[i]) for i in order], [False] * s),
            "reason": column(None, [reasons[i] or None for i in order], list(self.originals.skipped.values())),
            "source": column(list(self.originals.names), sources, list(self.originals.skipped)),
            "item": column(None, order.tolist()),
            "round": column(None, made.round[order].tolist()),
            "edit": column(None, [edit_text(names, made.wanted[i] - made.start[i]) for i in order]),
            "bin": column(bins.tolist(), [int(made.bin[i]) if made.place[i] >= 0 else None for i in order]),
        }
        for j, name in enumerate(names):
            columns[f"source_{name}"] = column(self.originals.values[:, j].tolist(), numbers(made.start[:, j]))
            columns[f"requested_{name}"] = column(None, numbers(made.wanted[:, j]))
            columns[f"measured_{name}"] = column(self.originals.values[:, j].tolist(), numbers(made.measured[:, j]))
        for name in ("length", "drift", "distance"):
            columns[name] = column(None, numbers(getattr(made, name)))
        columns["weight"] = column(weights.tolist(), [None] * k)
        if self.labels is not None:
            is_photo = isinstance(self.faces, Photographs)
            for j, heading in enumerate(self.labels.columns[1:]):
                own = [self.labels.rows[name][j] for name in self.originals.names]
                theirs = [self.labels.rows[name][j] if is_photo else None for name in sources]
                columns[f"label_{heading}"] = column(
                    own, theirs, [self.labels.rows[name][j] for name in self.originals.skipped]
                )
        return columns


def generated_file(item: int) -> str:
    """Path of an item's image in the folder."""
    return f"{IMAGES}/{GENERATED}/{item:06d}.png"


def write_folder(out: Path, balanced: Balanced, work: Work, plan: Mapping[str, Any], shards: int) -> dict[str, Any]:
    """Write everything but the report and the manifest. `seal` writes the manifest last; it marks a complete folder.

    Incomplete files of a killed run are written again. The images are not synced one by one, which would take longer
    than making them, but all at once before the manifest.

    Args:
        out: the folder.
        balanced: its contents.
        work: holds the images that were made.
        plan: contents of plan.json.
        shards: images per shard; 0 writes single files.

    Returns:
        The manifest's columns.
    """
    columns = balanced.rows()
    if shards:
        _write_shards(out, balanced, work, columns, shards)
    else:
        for name, data in _some_files(balanced, work):
            _write(out / name, data)
    if balanced.labels is not None and not shards:
        write_labels(out / LABELS, _labels_of(columns, balanced.labels))
    write_bytes_atomic(out / PLAN, json.dumps(dict(plan), indent=2).encode() + b"\n")
    return columns


def seal(out: Path, columns: dict[str, Any], plan: Mapping[str, Any]) -> None:
    """Write the manifest, which marks the folder as complete."""
    if hasattr(os, "sync"):
        os.sync()
    save_manifest(out / MANIFEST, columns, {"plan": dict(plan)})


def _write(path: Path, data: bytes) -> None:
    """Write a file unless it is there already; an incomplete file of a killed run is written again."""
    try:
        try:
            handle = path.open("xb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("xb")
        except FileExistsError:
            if path.read_bytes() == data:
                return
            handle = path.open("wb")
        with handle:
            handle.write(data)
    except OSError as error:
        raise storage_error(path, error) from error


def _some_files(balanced: Balanced, work: Work, wanted: Container[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of originals and chosen images: all of them, or those in ``wanted``.

    Raises:
        ImageError: an original cannot be read any more.
    """
    with balanced.source.reader() as read:
        for name in balanced.originals.names:
            if wanted is None or balanced.files[name] in wanted:
                try:
                    data = read(name)
                except ImageError as error:
                    raise ImageError(
                        f"{name} could be read when this run began, now it {error}; put it back"
                    ) from error
                yield balanced.files[name], data
    items = np.flatnonzero(balanced.candidates.chosen(balanced.goal.added)).tolist()
    yield from generated_files(balanced, work, [i for i in items if wanted is None or generated_file(i) in wanted])


def generated_files(balanced: Balanced, work: Work, items: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the images of these items, in the order in which they were made."""
    made = balanced.candidates
    held: tuple[int, int] | None = None
    files: list[bytes] = []
    for item in items:
        where = int(made.round[item]), int(made.batch[item])
        if where != held:
            held = where
            arrays, _ = work.piece(picture_stage(where[0]), where[1])
            ends = np.cumsum(arrays["sizes"])
            blob = arrays["files"].tobytes()
            files = [blob[end - size : end] for end, size in zip(ends, arrays["sizes"], strict=True)]
        yield generated_file(int(item)), files[made.place[item]]


def _write_shards(out: Path, balanced: Balanced, work: Work, columns: dict[str, Any], size: int) -> None:
    """Write shards of at most ``size`` images, each a random sample of the whole; every image comes with its row."""
    folder = out / SHARDS
    make_folder(folder)
    remove_stale_temporaries(folder)
    rows = [i for i, file in enumerate(columns["file"]) if file is not None]
    count = -(-len(rows) // size)
    for number in range(count):
        path, own = folder / f"{number:06d}.tar", rows[number::count]
        if path.exists():
            continue
        contents = dict(_some_files(balanced, work, {columns["file"][row] for row in own}))
        samples = []
        for i in philox(0, _STREAM_SHARDS, number).permutation(len(own)):
            row, file = own[i], columns["file"][own[i]]
            facts = {name: values[row] for name, values in columns.items() if values[row] is not None}
            text = json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()
            samples.append((f"{row:08d}", {suffix_of(contents[file]): contents[file], "json": text}))
        write_shard(path, samples)


def _labels_of(columns: dict[str, Any], labels: Labels) -> Labels:
    """Labels of all images in the folder, by file name."""
    headings = [f"label_{heading}" for heading in labels.columns[1:]]
    rows = {
        file: tuple(columns[heading][i] or "" for heading in headings)
        for i, file in enumerate(columns["file"])
        if file is not None
    }
    return Labels(labels.columns, rows)


def tidy(out: Path) -> None:
    """Remove files that only an unfinished run needs."""
    remove_work(out / WORK)
    for folder in (out, out / SHARDS):
        with suppress(OSError):
            remove_stale_temporaries(folder)
