"""Device, precision and processes of a recipe, through Lightning Fabric."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lineament.errors import ConfigError, LineamentError
from lineament.records.devices import Device, Devices, TrainingDevice

_LAUNCHERS = {"torchrun": ("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES")}
"""Variables by which programs that start processes tell them how many there are: in all, and then on each machine
(torchrun) or on how many machines (srun)."""


@dataclass(frozen=True)
class Launch:
    """The processes that another program has started: its name, processes on each machine, machines."""

    by: str
    count: int
    nodes: int


def launch_found() -> Launch | None:
    """How torchrun or srun has started this process; None if neither has.

    Raises:
        ConfigError: the machines have different numbers of processes.
    """
    for by, names in _LAUNCHERS.items():
        values = [os.environ.get(name, "") for name in names]
        if not all(value.isdecimal() and int(value) for value in values):
            continue
        world, part = map(int, values)
        if world % part:
            raise ConfigError(f"{by} has started {world} processes, not as many on each machine; start equal numbers")
        return Launch(by, part, world // part) if by == "torchrun" else Launch(by, world // part, part)
    return None


def check_alone() -> None:
    """Refuse to be one of several processes, for commands that work in one.

    Raises:
        ConfigError: torchrun or srun has started several.
    """
    found = launch_found()
    if found is not None and found.count * found.nodes > 1:
        raise ConfigError(
            f"{found.by} has started {found.count * found.nodes} processes, but this command works in one; "
            f"start it without {found.by}"
        )


def processes_of(devices: Devices) -> tuple[int, int]:
    """Number of processes on each machine, and of machines: those that were started, or those of the settings.

    Raises:
        ConfigError: the settings contradict the processes that were started, or nothing starts those on other machines.
    """
    found = launch_found()
    if found is None:
        if (devices.nodes or 1) > 1 and not {"MASTER_ADDR", "NODE_RANK"} <= os.environ.keys():
            raise ConfigError(
                f"--on.nodes is {devices.nodes}, but no program has started processes on other machines; "
                f"use torchrun --nnodes {devices.nodes}, or leave --on.nodes out"
            )
        return devices.count or 1, devices.nodes or 1
    for name, own in (("count", found.count), ("nodes", found.nodes)):
        told = getattr(devices, name)
        if told is not None and told != own:
            where = "on each machine" if name == "count" else "as the number of machines"
            raise ConfigError(
                f"--on.{name} is {told}, but {found.by} has {own} {where}; leave --on.{name} out, or make them agree"
            )
    return found.count, found.nodes


def make_fabric(devices: Device) -> Fabric:
    """Launch the processes, or join those that torchrun has started.

    A plain `Device` means one process, and no `TrainingDevice` means full precision.

    Raises:
        ConfigError: there is no such device, or the settings contradict the processes that were started.
    """
    if not isinstance(devices, Devices):
        check_alone()
    count, nodes = processes_of(devices) if isinstance(devices, Devices) else (1, 1)
    fabric = _fabric(devices, count, nodes)
    fabric.launch()
    return fabric


def place_of(device: Device) -> torch.device:
    """One device, for use from Python, where every process of a user's own program may open networks."""
    return _fabric(device, 1, 1).device


def _fabric(devices: Device, count: int, nodes: int) -> Fabric:
    try:
        return Fabric(
            accelerator=devices.accelerator,
            devices=count,
            num_nodes=nodes,
            precision=devices.precision if isinstance(devices, TrainingDevice) else "32-true",
            strategy="ddp" if count * nodes > 1 else "auto",
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cannot compute on {count} x {devices.accelerator} ({reason}); choose another --on.accelerator"
            + (" or --on.count" if isinstance(devices, Devices) else "")
        ) from error


def is_first_process() -> bool:
    """Whether this is the first process of a command, or the only one; only that one prints the result."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_rank())


def first_process(fabric: Fabric, action: Callable[[], None]) -> None:
    """Run an action on the first process; if it fails there, all processes raise its error.

    Otherwise the first process would end, and the others would wait for it. All processes must call this.
    """
    failed: LineamentError | None = None
    if fabric.is_global_zero:
        try:
            action()
        except LineamentError as error:
            failed = error
    if (failed := fabric.broadcast(failed)) is not None:
        raise failed


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Whether the flag is set on any process; all processes must call this.

    They decide together, because a process that stops alone leaves the others waiting.
    """
    if fabric.world_size == 1:
        return flag
    votes = fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum")
    return bool(torch.as_tensor(votes) > 0)


def average_gradients(fabric: Fabric, parameters: Sequence[Tensor]) -> None:
    """Average the gradients over all processes in place, in one message.

    Done by hand instead of by DistributedDataParallel, whose hooks do not survive the second derivatives of R1 and
    path length regularisation.
    """
    if fabric.world_size == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    reduced = fabric.all_reduce(flat, reduce_op="mean")
    if not isinstance(reduced, torch.Tensor):
        raise TypeError("all_reduce of a tensor gave something else")
    for gradient, part in zip(gradients, reduced.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
