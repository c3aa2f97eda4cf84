"""Tensors of another program's network, each taken once; missing and left-over ones are named."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lineament.errors import FileFormatError
from lineament.ops.resample import FIR_TAPS

FILTER_TOLERANCE = 1e-5


class ForeignTensors:
    """The tensors of one network, by the names of the program that wrote them.

    Args:
        tensors: by name.
        what: the network, for messages, such as "StyleGAN2 generator of rosinality's layout".
    """

    def __init__(self, tensors: Mapping[str, Tensor], what: str) -> None:
        self._left = dict(tensors)
        self._what = what

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> Tensor:
        """Take a tensor, as 32-bit floats.

        Raises:
            FileFormatError: there is none of that name.
        """
        if name not in self._left:
            raise FileFormatError(f"not a {self._what}, or one of another version: tensor {name!r} is missing")
        return self._left.pop(name).detach().float()

    def take_or(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Take a tensor; zeros if there is none, for optional tensors (noise)."""
        return self.take(name) if name in self else torch.zeros(shape)

    def numbers(self, pattern: str) -> list[int]:
        """The numbers that the one group of ``pattern`` captures in matching names, sorted."""
        return sorted({int(m[1]) for name in self._left if (m := re.fullmatch(pattern, name))})

    def drop(self, pattern: str) -> None:
        """Leave out tensors that inference does not need; ``pattern`` must match the whole name."""
        for name in [name for name in self._left if re.fullmatch(pattern, name)]:
            del self._left[name]

    def drop_filters(self, pattern: str) -> None:
        """Leave out the low-pass filters after checking that they are the published ones.

        Raises:
            FileFormatError: a filter differs, so that our images would differ from the original's.
        """
        taps = torch.tensor(FIR_TAPS)
        expected = torch.outer(taps, taps) / taps.sum() ** 2
        for name in [name for name in self._left if re.fullmatch(pattern, name)]:
            found = self._left.pop(name).float()
            if found.dim() == 1:
                found = torch.outer(found, found)
            same = found.shape[-2:] == expected.shape and float(found.sum()) > 0
            if not same or float((found / found.sum() - expected).abs().max()) > FILTER_TOLERANCE:
                raise FileFormatError(
                    f"the filter {name!r} of this {self._what} is not [1, 3, 3, 1], the only one read"
                )

    def drop_growth(self, pattern: str) -> None:
        """Leave out the level of detail of progressive growing, whose name ``pattern`` matches.

        Raises:
            FileFormatError: it is not 0: the network was saved before it had grown to its full resolution.
        """
        for name in [name for name in self._left if re.fullmatch(pattern, name)]:
            level = max(self._left.pop(name).flatten().abs().tolist(), default=0.0)
            if level:
                raise FileFormatError(
                    f"the network was saved while it grew (level of detail {level:g}, expected 0): its last layers are "
                    "not trained; take a later snapshot"
                )

    def finish(self) -> None:
        """Check that all tensors have been taken.

        Raises:
            FileFormatError: tensors are left over; the message names some.
        """
        if self._left:
            names = ", ".join(repr(name) for name in sorted(self._left)[:3])
            raise FileFormatError(
                f"{len(self._left)} tensors are left over that no {self._what} has, such as {names}: "
                "the file holds another network, or one of a newer version"
            )
