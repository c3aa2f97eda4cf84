"""Checkpoints of other programs, as plain data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor

CheckpointLayout: TypeAlias = Literal["nvidia-torch", "nvidia-tensorflow", "torch", "safetensors"]


@dataclass(frozen=True, eq=False)
class ForeignNetwork:
    """One network of a checkpoint: its tensors, and its settings as far as the file gives them.

    Attributes:
        role: its name in the file: "G", "D", "G_ema", "g_ema", "generator_smooth", ...; "" if the file holds one
            network without a name.
        class_name: name of the original class or build function; "" if the file does not say.
        settings: the keyword arguments the network was built with; empty if the file does not say. All values are
            plain: None, numbers, strings, lists and dicts; anything else becomes a string in angle brackets.
        module_settings: for PyTorch, the plain attributes of each module by dotted path ("" is the network itself),
            including its arguments as ``_init_args`` and ``_init_kwargs``. For TensorFlow, the keyword arguments of
            each component by the component's name.
        tensors: parameters and buffers by name as in the file ("synthesis.b4.const", "G_mapping/Dense0/weight"). They
            are views of the mapped file and may be unaligned: copy them before computing, and never write to them.
        source: program text embedded in the file, which was never run; "" if there is none.
        unread: tensors that cannot be used, by name, and why: of an unsupported kind, damaged, or with NaN. They are
            not among ``tensors``.
    """

    role: str
    class_name: str
    settings: dict[str, Any]
    module_settings: dict[str, dict[str, Any]]
    tensors: dict[str, Tensor]
    source: str
    unread: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ForeignCheckpoint:
    """A checkpoint of another program.

    Attributes:
        path: the file, or the folder of an unpacked archive.
        layout: the family of files it belongs to.
        networks: by role, in the order of the file.
        extras: the other plain values of the file by name, including lone tensors such as ``latent_avg``.
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
