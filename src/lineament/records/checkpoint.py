"""Checkpoints of other programs, as plain data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor

CheckpointLayout: TypeAlias = Literal["nvidia-torch", "nvidia-tensorflow", "torch"]


@dataclass(frozen=True, eq=False)
class ForeignNetwork:
    """One network of a checkpoint: its tensors and what the file says about its settings.

    Attributes:
        role: what the file calls it: "G", "D", "G_ema", "g_ema", "generator_smooth", ...; "" where a file holds one
            network and no name.
        class_name: of the original's class or build function; "" if the file does not say.
        settings: the keyword arguments the network was built with; empty if the file does not say. Everything is
            plain: None, numbers, strings, lists and dicts; what is not is a string in angle brackets.
        module_settings: the plain attributes of each module of a PyTorch network, by dotted path ("" is the network
            itself), its own arguments among them as ``_init_args`` and ``_init_kwargs``; of each component of a
            TensorFlow network, its keyword arguments, by the component's name.
        tensors: parameters and buffers by name as in the file ("synthesis.b4.const", "G_mapping/Dense0/weight"). They
            lie in the mapped file, at any of its bytes: copy them before computing, and never write to them.
        source: the program text that came embedded; it was never run. "" if there is none.
    """

    role: str
    class_name: str
    settings: dict[str, Any]
    module_settings: dict[str, dict[str, Any]]
    tensors: dict[str, Tensor]
    source: str


@dataclass(frozen=True, eq=False)
class ForeignCheckpoint:
    """A checkpoint of another program.

    Attributes:
        path: the file.
        layout: the family of files it belongs to.
        networks: by role, in the order of the file.
        extras: the other plain values at the top of the file by name, lone tensors such as ``latent_avg`` among them.
        carries_code: whether the original's loader would run program text embedded in the file.
        opaque_names: dotted names of foreign classes and functions that were left inert.
        num_bytes: size of the file.
        sha256: of the file, 64 hex digits.
    """

    path: Path
    layout: CheckpointLayout
    networks: dict[str, ForeignNetwork]
    extras: dict[str, Any]
    carries_code: bool
    opaque_names: tuple[str, ...]
    num_bytes: int
    sha256: str
