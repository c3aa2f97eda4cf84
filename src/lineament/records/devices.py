"""Device settings; each command takes only those that it can use."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Device:
    """One device."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to compute on."""


@dataclass(frozen=True)
class Devices(Device):
    """Several devices, or processes, that share the work."""

    count: int = 1
    """Number of devices; on the CPU, number of processes with one thread each."""


@dataclass(frozen=True)
class TrainingDevice(Device):
    """One device of a training that can use half precision."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic; bf16-mixed is faster on accelerators."""


@dataclass(frozen=True)
class TrainingDevices(Devices, TrainingDevice):
    """Several devices of a training that can use half precision."""
