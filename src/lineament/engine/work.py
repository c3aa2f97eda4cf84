"""Work in numbered pieces that processes share. A killed run can continue without losing finished pieces."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from lightning_fabric import Fabric

from lineament.engine.console import console, progress_bar
from lineament.engine.devices import any_process
from lineament.engine.origins import changes, is_fingerprint
from lineament.engine.run_folder import GentleStop, end_stopped
from lineament.errors import ConfigError, FileFormatError, LineamentError
from lineament.store.atomic import make_folder, remove_stale_temporaries, write_bytes_atomic, write_text_atomic
from lineament.store.json_text import parse_json
from lineament.store.tensors import load_tensors, save_tensors

KIND = "shared-work"
SCHEMA_VERSION = 1
STOP_NAME = "stop"
INPUTS_NAME = "inputs.json"

Piece: TypeAlias = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Arrays and JSON values."""


class Work:
    """Pieces of work. A piece depends on its name and number alone, is computed once, and is kept until the end.

    Each piece is a file that is written completely or not at all. After a kill, only the missing pieces are computed.
    Of n processes, each computes every n-th piece, so the result does not depend on n. The processes communicate only
    before and after a stage, not during it.

    Args:
        folder: where pieces are kept; None keeps them in memory, and every process computes them all.
        fabric: the processes.
        stop: asked between two pieces.
    """

    def __init__(self, folder: Path | None, fabric: Fabric, stop: GentleStop) -> None:
        self.folder, self.fabric, self.stop = folder, fabric, stop
        self._memory: dict[str, Piece] = {}
        if folder is not None and fabric.is_global_zero:
            make_folder(folder)
            remove_stale_temporaries(folder)
            with suppress(OSError):
                (folder / STOP_NAME).unlink(missing_ok=True)
        fabric.barrier()

    def check_inputs(self, facts: Mapping[str, Any], advice: str) -> None:
        """Refuse to continue if the inputs have changed since the work began.

        A folder of an older release may know fewer inputs; it is taken as begun with these, with a note.

        Args:
            facts: fingerprints or settings by name, such as "the generator".
            advice: what to do, for the message.

        Raises:
            ConfigError: an input has changed.
        """
        if self.folder is None:
            return
        path = self.folder / INPUTS_NAME
        with self.fabric.rank_zero_first():
            before: dict[str, Any] = {}
            with suppress(OSError, ValueError):
                before = parse_json(path.read_bytes())
            before = before if isinstance(before, dict) else {}
            if new := facts.keys() - before.keys():
                if before and self.fabric.is_global_zero:
                    names = " and ".join(sorted(new))
                    console.print(f"{self.folder} is older than the check of {names}; taken as they are now")
                before = dict(facts) | before
                if self.fabric.is_global_zero:
                    write_text_atomic(path, json.dumps(before))
            changed = [name for name in facts if before.get(name) != facts[name]]
        if changed:
            detail = changes(before, {name: facts[name] for name in changed if is_fingerprint(facts[name])})
            raise ConfigError(
                f"{' and '.join(changed)} changed since this run began; {advice}" + (f" ({detail})" if detail else "")
            )

    def do(
        self, stage: str, count: int, compute: Callable[[int], Piece], *, label: str = "", images: int = 0
    ) -> Iterator[Piece]:
        """Compute the missing pieces of a stage on all processes together, and return all pieces in order.

        Args:
            stage: name of the stage.
            count: number of pieces.
            compute: function from the number of a piece to the piece.
            label: of the progress bar; no bar is shown without a label.
            images: number of images in all pieces together, for the progress bar.

        Raises:
            Stopped: the user asked to stop; finished pieces are kept.
        """
        rank, world = (0, 1) if self.folder is None else (self.fabric.global_rank, self.fabric.world_size)
        own = range(rank, count, world)
        per_piece = max(images, count) / max(count, 1)
        with progress_bar(disable=not label or not self.fabric.is_global_zero or not count) as bar:
            task = bar.add_task(label, total=max(images, count), note="")
            for index in own:
                if self._is_stopping():
                    break
                if not self._has(stage, index):
                    self._keep(stage, index, compute(index))
                bar.advance(task, per_piece * min(world, count - index + rank))
        if any_process(self.fabric, self._is_stopping()):
            kept = (
                "" if self.folder is None else f"; what is done is kept in {self.folder}, and the same command goes on"
            )
            end_stopped(self.fabric, f"stopped{kept}")
        self.fabric.barrier()
        return (self.piece(stage, index) for index in range(count))

    def one(self, stage: str, compute: Callable[[], Piece]) -> Piece:
        """A stage of one piece."""
        return next(self.do(stage, 1, lambda _: compute()))

    def remove(self) -> None:
        """Delete all pieces; the first process does it."""
        if self.folder is not None and self.fabric.is_global_zero:
            remove_work(self.folder)

    def _is_stopping(self) -> bool:
        """Whether this process, or another one, was asked to stop."""
        if self.folder is None:
            return self.stop.requested
        path = self.folder / STOP_NAME
        if self.stop.requested and not path.exists():
            write_bytes_atomic(path, b"")
        return path.exists()

    def _path(self, stage: str, index: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{stage}-{index:06d}.safetensors"

    def _has(self, stage: str, index: int) -> bool:
        if self.folder is None:
            return f"{stage}-{index}" in self._memory
        return self._path(stage, index).exists()

    def _keep(self, stage: str, index: int, piece: Piece) -> None:
        if self.folder is None:
            self._memory[f"{stage}-{index}"] = piece
        else:
            save_tensors(self._path(stage, index), piece[0], KIND, SCHEMA_VERSION, {"facts": piece[1]})

    def piece(self, stage: str, index: int) -> Piece:
        """A finished piece.

        Raises:
            ConfigError: its file is damaged. The file is removed, so that the next run makes it again.
        """
        if self.folder is None:
            return self._memory[f"{stage}-{index}"]
        path = self._path(stage, index)
        try:
            arrays, header = load_tensors(path, KIND)
            if not isinstance(header.get("facts"), dict):
                raise FileFormatError(f"{path} has no facts")
        except LineamentError as error:
            with suppress(OSError):
                path.unlink()
            console.print(f"{path.name} was damaged and is removed", soft_wrap=True)
            raise ConfigError(f"{path} is damaged; run the same command again to make it again") from error
        return arrays, header["facts"]


def remove_work(folder: Path) -> None:
    """Delete a folder of pieces, if it is there.

    The note on what they were made of goes last: a kill must not leave pieces that could be taken for those of others.
    """
    for path in folder.glob("*.safetensors"):
        with suppress(OSError):
            path.unlink()
    shutil.rmtree(folder, ignore_errors=True)
