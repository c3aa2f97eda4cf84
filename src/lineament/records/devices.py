"""Device settings; each command takes only those that it can use."""

from dataclasses import dataclass
from typing import Literal

from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds


@dataclass(frozen=True)
class Device:
    """One device."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on."""


@dataclass(frozen=True)
class Devices(Device):
    """Several devices, or processes, that share the work."""

    count: int | None = None
    """Number of devices of this machine; on the CPU, number of processes with one thread each. If not given, as many
    as torchrun has started processes, or else 1."""
    nodes: Advanced[int | None] = None
    """Number of machines. If not given, as many as torchrun was told, or else 1. Several machines need torchrun."""

    def __post_init__(self) -> None:
        check_bounds(self, "count", "nodes", least=1, most=1024, group="on.")


@dataclass(frozen=True)
class TrainingDevice(Device):
    """One device of a training that can use half precision."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic; bf16-mixed is faster on accelerators."""


@dataclass(frozen=True)
class TrainingDevices(Devices, TrainingDevice):
    """Several devices of a training that can use half precision."""
