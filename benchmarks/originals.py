"""``python -m benchmarks.originals``: our networks against the original programs.

Each program makes a network of random weights, writes it as it does in training, and computes w, images and the
discriminator's logits. We open the file and compute the same. The programs are not part of this repository: get each
into a folder of its repository's name (`ORIGINALS` in the settings). A program that is not there is left out.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from benchmarks.original_cases import TENSORFLOW_CASES, TORCH_CASES, OriginalCase
from lineament.checkpoints.foreign import discriminator_of
from lineament.checkpoints.opening import open_generator
from lineament.engine.console import console
from lineament.errors import LineamentError
from lineament.store.foreign.checkpoints import open_checkpoint

WANTED = 1e-4
"""Largest difference of images, w and logits that single precision explains."""

NUM_LATENTS, NUM_JUDGED = 4, 8


@dataclass(frozen=True)
class OriginalsConfig:
    """Compare our networks with those of the original programs.

    Example: ``python -m benchmarks.originals --originals ../originals``
    """

    originals: Path
    """Folder with the programs, each in a folder of its repository's name, such as stylegan2-ada-pytorch."""
    torch_python: Path = Path(sys.executable)
    """Python interpreter for the PyTorch programs. Some need packages that Lineament does not."""
    tensorflow_python: Path | None = None
    """Python interpreter for the TensorFlow programs, with a TensorFlow of version 1 or one that acts like it.
    Without it, they are left out."""
    only: str = ""
    """Part of the names of the networks to compare; all by default."""
    markdown: Path | None = None
    """File to write the table to, for RESULTS.md."""


@dataclass(frozen=True)
class OriginalRow:
    """One quantity of one network.

    Attributes:
        case: the network.
        quantity: what is compared.
        difference: largest absolute difference; NaN if it could not be compared.
        largest: largest absolute value of the original.
        note: why it could not be compared, if so.
        refused: whether we refuse to read the file.
    """

    case: OriginalCase
    quantity: str
    difference: float
    largest: float
    note: str = ""
    refused: bool = False

    @property
    def equal(self) -> bool:
        """Whether the difference is as small as wanted."""
        return self.difference <= WANTED

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        case = self.case
        values = (f"{self.difference:.1e}", f"{self.largest:.3g}", "yes" if self.equal else "NO")
        size = (
            f"{case.resolution}" if case.aspect == 1 else f"{case.resolution} x {round(case.resolution * case.aspect)}"
        )
        told = (self.note, "", "refused" if self.refused else "NO") if self.note else values
        return (case.program, case.network, size, str(case.classes), self.quantity, *told)


HEADINGS = ("program", "network", "px", "classes", "quantity", "largest difference", "largest value", "equal")


@dataclass(frozen=True)
class OriginalsReport:
    """All rows, and the programs that were left out."""

    rows: tuple[OriginalRow, ...]
    notes: tuple[str, ...] = ()

    def renderables(self) -> list[Any]:
        """A table for the terminal, and the notes."""
        table = Table(title=f"wanted: at most {WANTED:g}")
        for heading in HEADINGS:
            table.add_column(heading)
        for row in self.rows:
            table.add_row(*row.cells())
        return [table, self.summary(), *self.notes]

    def summary(self) -> str:
        """How many rows are equal, and how many files are refused."""
        equal, refused = sum(row.equal for row in self.rows), sum(row.refused for row in self.rows)
        return f"{equal} of {len(self.rows) - refused} equal; {refused} refused"

    def markdown(self) -> str:
        """The same for a file."""
        lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in self.rows)]
        return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", self.summary(), *self.notes, ""])


def inputs_of(case: OriginalCase) -> dict[str, np.ndarray]:
    """Latents, classes and images for both programs."""
    rng = np.random.default_rng(0)
    shape = (NUM_JUDGED, 3, case.resolution, round(case.resolution * case.aspect))
    labels = (
        np.eye(case.classes, dtype=np.float32)[np.arange(NUM_JUDGED) % max(case.classes, 1)] if case.classes else None
    )
    labels = np.zeros((NUM_JUDGED, 0), np.float32) if labels is None else labels
    return {
        "z": rng.normal(size=(NUM_LATENTS, case.z_dim)).astype(np.float32),
        "label": labels[:NUM_LATENTS],
        "images": rng.uniform(-1, 1, shape).astype(np.float32),
        "labels": labels,
    }


def run_original(case: OriginalCase, config: OriginalsConfig, folder: Path) -> dict[str, np.ndarray]:
    """Let the original program write ``checkpoint`` into the folder; give what it computes.

    Raises:
        RuntimeError: it failed; the message has its last line.
    """
    script = "original_tensorflow.py" if case.runs == "tensorflow" else "original_torch.py"
    python = config.tensorflow_python if case.runs == "tensorflow" else config.torch_python
    program = (config.originals / case.program).absolute()
    (folder / "case.json").write_text(json.dumps(asdict(case) | {"program": str(program)}))
    np.savez(folder / "inputs.npz", **inputs_of(case))  # pyright: ignore[reportArgumentType]
    command = [str(python), str(Path(__file__).with_name(script)), str(folder)]
    done = subprocess.run(command, cwd=program, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the original failed: {last}")
    with np.load(folder / "outputs.npz") as stored:
        return {name: stored[name] for name in stored.files}


@torch.inference_mode()
def our_outputs(case: OriginalCase, checkpoint: Path) -> dict[str, Tensor]:
    """What our networks compute from the checkpoint, by the same names.

    Raises:
        LineamentError: we do not read it.
    """
    inputs = {name: torch.from_numpy(value) for name, value in inputs_of(case).items()}
    label = inputs["label"] if case.classes else None
    generator = open_generator(checkpoint)
    w, truncated = (generator.map(inputs["z"], psi, label) for psi in (1.0, 0.7))
    found = {
        "w": generator.broadcast(w),
        "image": generator.synthesize(generator.broadcast(w)),
        "truncated w": generator.broadcast(truncated),
        "truncated image": generator.synthesize(generator.broadcast(truncated)),
    }
    if case.cutoff:
        found[f"image, {case.cutoff} layers truncated"] = generator(inputs["z"], 0.7, label=label)
    if case.judge_module or case.runs == "rosinality":
        judge = discriminator_of(open_checkpoint(checkpoint))
        if judge is not None:
            found["score"] = judge.network(inputs["images"], inputs["labels"] if case.classes else None)
    return found


def compare(case: OriginalCase, theirs: dict[str, np.ndarray], ours: dict[str, Tensor]) -> Iterator[OriginalRow]:
    """One row for each quantity of the original."""
    for quantity, value in theirs.items():
        if not case.mean and quantity.startswith("truncated"):
            continue  # the file lacks the mean w, so each program takes its own
        largest, mine = float(np.abs(value).max()), ours.get(quantity)
        if mine is None or tuple(mine.shape) not in (value.shape, (len(value), 1, *value.shape[1:])):
            shape = "nothing" if mine is None else tuple(mine.shape)
            yield OriginalRow(case, quantity, np.nan, largest, f"we have {shape}, expected {value.shape}")
        else:
            yield OriginalRow(case, quantity, float(np.abs(mine.numpy().reshape(value.shape) - value).max()), largest)


def rows_of(case: OriginalCase, config: OriginalsConfig) -> list[OriginalRow]:
    """Rows of one network; a single one with a note if it cannot be compared."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LINEAMENT_CACHE"] = str(folder / "cache")
        try:
            theirs = run_original(case, config, folder)
            return list(compare(case, theirs, our_outputs(case, folder / "checkpoint")))
        except (LineamentError, RuntimeError) as error:
            refused = isinstance(error, LineamentError)
            return [OriginalRow(case, "", np.nan, np.nan, str(error).replace(f"{folder}/", ""), refused)]


def run(config: OriginalsConfig) -> OriginalsReport:
    """Compare all networks whose programs are there."""
    rows: list[OriginalRow] = []
    notes: list[str] = []
    for case in (*TORCH_CASES, *TENSORFLOW_CASES):
        if config.only not in case.name:
            continue
        if not (config.originals / case.program).is_dir():
            notes.append(f"Left out, as there is no {config.originals / case.program}: {case.name}")
        elif case.runs == "tensorflow" and config.tensorflow_python is None:
            notes.append(f"Left out, as --tensorflow-python is not given: {case.name}")
        else:
            found = rows_of(case, config)
            worst = max(found, key=lambda row: np.nan_to_num(row.difference, nan=np.inf))
            console.print(f"{case.name}: {' '.join(worst.cells()[4:])}", markup=False, highlight=False)
            rows += found
    report = OriginalsReport(tuple(rows), tuple(notes))
    if config.markdown is not None:
        config.markdown.write_text(report.markdown())
    return report


if __name__ == "__main__":
    from lineament.cli.main import run_module

    raise SystemExit(run_module("benchmarks.originals", "OriginalsConfig", "python -m benchmarks.originals"))
