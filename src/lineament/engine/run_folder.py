"""What every training shares: a run folder with its settings, logs and state, and a way to stop it gently."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

from filelock import FileLock
from lightning_fabric import Fabric
from torch import Tensor

from lineament.engine.console import console
from lineament.engine.devices import first_process
from lineament.engine.locks import LOCK_NAME, lock, unlock
from lineament.engine.origins import ORIGINS, changes, kept_origins, listed
from lineament.errors import ConfigError, FileFormatError
from lineament.records.bounds import MAX_COUNT
from lineament.store.atomic import atomic_write, make_folder, remove_stale_temporaries, storage_error
from lineament.store.json_text import read_json
from lineament.store.regular_files import check_regular
from lineament.store.tensors import load_tensors, read_header, save_tensors

STATE_VERSION = 1
STATE_NAME = "state"
CONFIG_NAME = "config.json"
LOG_NAME = "log.jsonl"


class RunFolder:
    """A folder in which a training lives: settings, log, state; run the same command again and it goes on.

    It is locked until `close`, or until the process ends in whatever way; use it as a context manager.

    Args:
        path: the folder; made if missing.
        config: a dataclass of settings. A folder that already holds other settings is refused.
        free: names of settings that may change between the runs of one training (its length, say), with a dot if they
            lie within others. The folder's own path, ``out``, always may: folders are moved, and named from other
            working directories.
        inputs: names of settings that are paths of what `check_origins` compares. Such files may be moved, too, once
            the saved state knows its origins.
        fabric: the processes of the training; only the first of them locks and writes.
        lead: whether this process locks and writes, without ``fabric``; otherwise it only compares the settings.

    Raises:
        BusyError: another process is writing the folder.
        ConfigError: it belongs to a training with other settings.
        StorageError: the folder cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        config: Any,
        *,
        free: tuple[str, ...] = (),
        inputs: tuple[str, ...] = (),
        fabric: Fabric | None = None,
        lead: bool = True,
    ) -> None:
        self.path = Path(path)
        self.lead = lead if fabric is None else fabric.is_global_zero
        self._writer: Any = None
        self._lock: FileLock | None = None
        self._origins: dict[str, str] = {}
        make_folder(self.path)
        try:
            if fabric is not None:
                first_process(fabric, self._acquire)
            elif lead:
                self._acquire()
            settings = json.loads(json.dumps(asdict(config), default=str))
            moved = inputs if self._known_origins() else ()
            self._check_settings(settings, {*free, *moved, "out"}, _flat(_defaults(config)))
            if self.lead:
                with atomic_write(self.path / CONFIG_NAME) as handle:
                    handle.write(json.dumps(settings, indent=2).encode())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _acquire(self) -> None:
        """Lock the folder, and clear away what killed runs left there and in the folders within."""
        self._lock = lock(self.path / LOCK_NAME, self.path)
        for folder in (self.path, *(entry for entry in self.path.iterdir() if entry.is_dir())):
            remove_stale_temporaries(folder)

    def _check_settings(self, settings: dict[str, Any], free: set[str], defaults: dict[str, Any]) -> None:
        known = self.path / CONFIG_NAME
        if not known.exists():
            return
        check_regular(known)
        previous = read_json(known, "delete it or choose another folder")
        if not isinstance(previous, dict):
            raise FileFormatError(f"{known} holds no settings; delete it or choose another folder")
        # A training that is older than a setting was done as its default has it.
        old, new = defaults | _flat(previous), _flat(settings)
        fixed = (n for n in {**old, **new} if n not in free and n.partition(".")[0] not in free)
        names = [n for n in fixed if old.get(n) != new.get(n)]
        if names:
            detail = ", ".join(f"{n} was {old.get(n)!r}, now {new.get(n)!r}" for n in names)
            raise ConfigError(f"{self.path} holds a training with other settings ({detail}); choose another --out")

    def state_path(self, name: str = STATE_NAME) -> Path:
        """File of a saved state."""
        return self.path / f"{name}.safetensors"

    def _known_origins(self) -> dict[str, Any]:
        """What the saved state was made of; empty if there is none, or it is from an older release."""
        path = self.state_path()
        known = read_header(path).header.get(ORIGINS) if path.exists() else None
        return known if isinstance(known, dict) else {}

    def check_origins(self, origins: Mapping[str, str | None]) -> None:
        """Compare what the training is made of with what its saved state was made of, and keep it in states to come.

        A state that does not know its origins was saved by an older release. It is taken as made of these, with a note,
        and from then on knows them.

        Args:
            origins: fingerprints of data and networks, by names such as "the images"; None for what cannot be read any
                more and is only needed at the start.

        Raises:
            ConfigError: the state was made of other data or networks.
        """
        path, before = self.state_path(), self._known_origins()
        if changed := changes(before, origins):
            raise ConfigError(
                f"{self.path} holds a training with other data or networks ({changed}); name those it began with, or "
                "choose another --out"
            )
        self._origins = kept_origins(origins, before)
        if (
            self.lead
            and path.exists()
            and (new := {name: value for name, value in self._origins.items() if name not in before})
        ):
            console.print(
                f"{path} is older than this check, and is taken as made of {listed(new)}", soft_wrap=True, markup=False
            )
            tensors, counters = load_tensors(path, kind="training-state", framework="pt")
            self.save_state(tensors, counters)

    def load_state(self, name: str = STATE_NAME) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and counters of the last state saved under a name, or None if there is none."""
        path = self.state_path(name)
        if not path.exists():
            return None
        return load_tensors(path, kind="training-state", framework="pt")

    def resume(self, restore: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> bool:
        """Give the last saved state to a training; False if there is none.

        Raises:
            FileFormatError: the state is damaged or of another training.
        """
        saved = self.load_state()
        if saved is None:
            return False
        try:
            step = saved[1]["step"]
            if type(step) is not int or not 0 <= step <= MAX_COUNT:
                raise ValueError(f"step is {step!r:.40}")
            restore(*saved)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise FileFormatError(
                f"{self.state_path()} is no state of this training ({reason:.200}); choose another --out"
            ) from error
        return True

    def save_state(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any], *, name: str = STATE_NAME) -> None:
        """Replace the state saved under a name, atomically."""
        save_tensors(
            self.state_path(name),
            dict(tensors),
            kind="training-state",
            schema_version=STATE_VERSION,
            header=dict(counters) | ({ORIGINS: self._origins} if self._origins else {}),
        )

    def rename_state(self, name: str, new_name: str, *, before: int) -> None:
        """Put a saved state, if there is one of a step before ``before``, in the place of another.

        A later state was saved by a run that was killed before it saved its last one; its steps are taken again.
        """
        path = self.state_path(name)
        if not path.exists():
            return
        step = read_header(path).header.get("step")
        if type(step) is not int:
            raise FileFormatError(f"{path} does not say at which step it was saved; delete it")
        if step < before:
            path.replace(self.state_path(new_name))

    def open_log(self, step: int) -> None:
        """Open the logs to go on after ``step``; lines of later steps, written before a kill, are dropped."""
        path = self.path / LOG_NAME
        if path.exists():
            kept = [line for line, row in log_rows(path) if isinstance(row.get("step"), int) and row["step"] <= step]
            with atomic_write(path) as handle:
                handle.write("".join(f"{line}\n" for line in kept).encode())
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            console.print(f"no TensorBoard log (extra 'train' is not installed); {path} has the same numbers")
            return
        self._writer = SummaryWriter(str(self.path / "tensorboard"), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line of JSON and the same numbers for TensorBoard."""
        row = {"step": step, "time": round(time.time(), 1), **{k: float(f"{v:.6g}") for k, v in values.items()}}
        try:
            with (self.path / LOG_NAME).open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
        except OSError as error:
            raise storage_error(self.path / LOG_NAME, error) from error
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the logs, and unlock the folder."""
        if self._writer is not None:
            with suppress(OSError):  # TensorBoard's copy of the log; on a full disk it must not hide the first error
                self._writer.close()
            self._writer = None
        unlock(self._lock)
        self._lock = None


def log_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a log and their values; damaged ones are left out, such as the last line of a killed run."""
    for raw in path.read_bytes().splitlines():
        try:
            line = raw.decode()
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield line, row


def _defaults(config: Any) -> dict[str, Any]:
    """What the settings of a dataclass are by default, as JSON has them; those without a default are left out."""
    values = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            values[entry.name] = _defaults(value)
        elif entry.default is not MISSING:
            values[entry.name] = json.loads(json.dumps(entry.default, default=str))
    return values


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings of settings under names with dots, as the command line has them."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


class GentleStop:
    """Turns Ctrl-C and SIGTERM into a request that the loop reads between two steps; a second one stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __enter__(self) -> "GentleStop":
        for signum in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[signum] = signal.signal(signum, self._on_signal)
            except ValueError:  # not in the main thread: leave the signals to whoever runs us
                break
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)


class Stopped(KeyboardInterrupt):
    """The user asked to stop, and the work has stopped between two steps; its message says what is kept."""


def end_stopped(fabric: Fabric, message: str) -> NoReturn:
    """End a run that was asked to stop. All its processes must call this, after the first has saved the state.

    Raises:
        Stopped: on the first process. The others exit with 0: their launcher kills the first if one of them fails.
    """
    fabric.barrier()
    if not fabric.is_global_zero:
        sys.exit(0)
    raise Stopped(message)
