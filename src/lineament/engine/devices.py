"""Device, precision and processes of a recipe, through Lightning Fabric."""

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from lineament.records.devices import Device, Devices, TrainingDevice


def make_fabric(devices: Device) -> Fabric:
    """Launch the processes; a plain `Device` means one process in full precision."""
    count = devices.count if isinstance(devices, Devices) else 1
    fabric = Fabric(
        accelerator=devices.accelerator,
        devices=count,
        precision=devices.precision if isinstance(devices, TrainingDevice) else "32-true",
        strategy="ddp" if count > 1 else "auto",
    )
    fabric.launch()
    return fabric


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
