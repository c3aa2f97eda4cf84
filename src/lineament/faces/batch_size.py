"""How many images to draw at a time, from the memory that is free."""

import weakref

import psutil
import torch
from torch import Tensor, nn

from lineament.networks.stylegan.generator import Generator

MOST_IMAGES = 64
"""Maximum batch size; larger batches are not faster."""

FREE_SHARE = 0.25
"""Share of the free memory that one batch may use. It is small because the estimate is rough and because other programs
need memory too."""

ALIVE = 4
"""Assumed number of tensors of the largest size that are in memory at the same time."""

_known: "weakref.WeakKeyDictionary[Generator, int]" = weakref.WeakKeyDictionary()


@torch.no_grad()
def bytes_per_image(generator: Generator) -> int:
    """Memory needed to draw one image: `ALIVE` times the largest input or output of any module; measured once."""
    if generator not in _known:
        largest = 0

        def look(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal largest
            outputs = output if isinstance(output, tuple) else (output,)
            sizes = [item.nbytes for item in (*inputs, *outputs) if isinstance(item, Tensor)]
            largest = max(largest, *sizes, 0)

        hooks = [module.register_forward_hook(look) for module in generator.modules()]
        try:
            generator.synthesize(generator.broadcast(generator.mapping.w_avg[None]))
        finally:
            for hook in hooks:
                hook.remove()
        _known[generator] = ALIVE * largest
    return _known[generator]


def free_bytes(device: torch.device) -> int:
    """Free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def images_at_a_time(generator: Generator) -> int:
    """Largest safe batch size, at least 1. A power of two, so that small changes of free memory do not change it."""
    room = FREE_SHARE * free_bytes(generator.mapping.w_avg.device) / max(bytes_per_image(generator), 1)
    return 1 << (max(min(int(room), MOST_IMAGES), 1).bit_length() - 1)
