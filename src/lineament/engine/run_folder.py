"""What every training shares: a run folder with its settings, logs and state, and a way to stop it gently."""

import errno
import json
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from lineament.engine.console import console
from lineament.errors import BusyError, ConfigError, FileFormatError
from lineament.store.atomic import atomic_write, remove_stale_temporaries, storage_error
from lineament.store.tensors import load_tensors, save_tensors

STATE_VERSION = 1
STATE_NAME = "state"
CONFIG_NAME = "config.json"
LOG_NAME = "log.jsonl"
LOCK_NAME = ".lock"


class RunFolder:
    """A folder in which a training lives: settings, log, state; run the same command again and it goes on.

    It is locked until `close`, or until the process ends in whatever way; use it as a context manager.

    Args:
        path: the folder; made if missing.
        config: a dataclass of settings. A folder that already holds other settings is refused.
        free: names of settings that may change between the runs of one training (its length, say), with a dot if they
            lie within others. The folder's own path, ``out``, always may: folders are moved, and named from other
            working directories.
        lead: whether this process locks and writes; of several processes of one training only the first does.

    Raises:
        BusyError: another process is at work in the folder.
        ConfigError: it belongs to a training with other settings.
        StorageError: the folder cannot be made.
    """

    def __init__(self, path: str | Path, config: Any, *, free: tuple[str, ...] = (), lead: bool = True) -> None:
        self.path = Path(path)
        self._writer: Any = None
        self._lock: FileLock | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self.path, error, verb="make the folder") from error
        try:
            if lead:
                self._acquire()
                remove_stale_temporaries(self.path)
            settings = json.loads(json.dumps(asdict(config), default=str))
            self._check_settings(settings, {*free, "out"}, _flat(_defaults(config)))
            if lead:
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
        """Lock the folder; the system lets go of the lock when the process ends, even by kill -9."""
        lock = FileLock(self.path / LOCK_NAME, blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"another process is at work in {self.path}; wait for its end, stop it, or choose another --out"
            ) from error
        except NotImplementedError:
            return  # a file system without locks, such as some network disks
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                return
            raise storage_error(self.path / LOCK_NAME, error) from error
        self._lock = lock

    def _check_settings(self, settings: dict[str, Any], free: set[str], defaults: dict[str, Any]) -> None:
        known = self.path / CONFIG_NAME
        if not known.exists():
            return
        try:
            previous = json.loads(known.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FileFormatError(f"{known} is not readable JSON; delete it or choose another folder") from error
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

    def load_state(self, name: str = STATE_NAME) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and counters of the last state saved under a name, or None if there is none."""
        path = self.state_path(name)
        if not path.exists():
            return None
        return load_tensors(path, kind="training-state", framework="pt")

    def save_state(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any], *, name: str = STATE_NAME) -> None:
        """Replace the state saved under a name, atomically."""
        save_tensors(
            self.state_path(name),
            dict(tensors),
            kind="training-state",
            schema_version=STATE_VERSION,
            header=dict(counters),
        )

    def rename_state(self, name: str, new_name: str) -> None:
        """Put a saved state, if there is one, in the place of another."""
        if self.state_path(name).exists():
            self.state_path(name).replace(self.state_path(new_name))

    def open_log(self, step: int) -> None:
        """Open the logs to go on after ``step``; lines of later steps, written before a kill, are dropped."""
        path = self.path / LOG_NAME
        if path.exists():
            kept = []
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    continue  # the last line of a killed run may be half written
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
        if self._lock is not None:
            self._lock.release()
            self._lock = None


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
