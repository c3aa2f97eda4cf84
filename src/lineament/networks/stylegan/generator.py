"""The interface of all generators: z (and a class) -> w -> ws -> image.

Each family has its own module (`stylegan1`, `stylegan2`, `stylegan3`); recipes use only this interface.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError

NoiseMode = Literal["const", "random", "none"]

NUM_HALF_RESOLUTIONS = 4
"""Number of the finest resolutions that the originals compute in half precision (their ``num_fp16_res``)."""


class GeneratorSettings(Protocol):
    """Settings that every family has."""

    @property
    def resolution(self) -> int:
        """Side of the square images in pixels."""
        ...

    @property
    def image_channels(self) -> int:
        """Channels of the images: 3 for RGB."""
        ...

    @property
    def z_dim(self) -> int:
        """Size of the latent z."""
        ...

    @property
    def w_dim(self) -> int:
        """Size of the intermediate latent w."""
        ...

    @property
    def c_dim(self) -> int:
        """Number of classes; 0 where there are none."""
        ...

    @property
    def num_ws(self) -> int:
        """Number of w vectors that the synthesis network takes, from coarse to fine."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        ...


class Mapping(nn.Module):
    """z to w.

    Attributes:
        w_avg: the mean w, which truncation pulls towards; of shape (d,).
    """

    w_avg: Tensor

    @abstractmethod
    def forward(self, z: Float[Tensor, "n d_z"], label: Float[Tensor, "n d_c"] | None = None) -> Float[Tensor, "n d"]:
        """Map latents, and one-hot classes where the generator has classes."""


class Generator(nn.Module):
    """z -> w -> ws -> image.

    Convention:
        Images are in [-1, 1] up to the network's overshoot. ``ws`` holds one w per layer, ``num_ws`` of them, from
        coarse to fine.

    Attributes:
        family: name of the family in files.
        config: settings of the family.
        mapping: z to w.
        chosen_class: the class used if none is given; with None a class must be given.
        half_precision: whether the finest resolutions are computed in half precision if no derivative is wanted; for
            networks that were trained this way (`trained_in_half`), on devices that are faster in half precision.
        file: our file that the weights were read from, or the converted copy of a foreign one; None if there is none.
        truncation_cutoff: number of layers, from the coarsest, that truncation acts on when an image is drawn from z
            (`draw_ws`); None for all. The first StyleGAN's default is 8.
    """

    family: ClassVar[str]
    config: GeneratorSettings
    mapping: Mapping
    chosen_class: int | None = None
    half_precision: bool = False
    file: Path | None = None
    truncation_cutoff: int | None = None

    @property
    def trained_in_half(self) -> bool:
        """Whether the network's values stay within the range of half precision, as it was trained with clamping."""
        return getattr(self.config, "conv_clamp", 0.0) > 0

    @property
    def num_ws(self) -> int:
        """Number of w vectors per image."""
        return self.config.num_ws

    def map(
        self, z: Float[Tensor, "n d_z"], truncation: float = 1.0, label: Float[Tensor, "n d_c"] | None = None
    ) -> Float[Tensor, "n d"]:
        """z to w, pulled towards the mean w: ``w_avg + truncation (w - w_avg)`` (the truncation trick).

        Args:
            z: latents; only their direction counts.
            truncation: 1 leaves w unchanged, 0 gives the mean.
            label: one-hot classes, for generators with classes only; `chosen_class` if not given.

        Raises:
            ConfigError: a label is missing or is not one for this generator.
        """
        classes = self.config.c_dim
        if label is None and classes and self.chosen_class is not None:
            label = torch.eye(classes, device=z.device)[[self.chosen_class]].expand(len(z), -1)
        if (0 if label is None else label.shape[1]) != classes:
            asked = "no label" if label is None else f"a label of {label.shape[1]} classes"
            raise ConfigError(f"the generator has {classes or 'no'} classes, but got {asked}")
        w = self.mapping(z, label)
        return w if truncation == 1.0 else self.mapping.w_avg.lerp(w, truncation)

    def choose_class(self, number: int | None) -> None:
        """Use this class if none is given.

        Raises:
            ConfigError: the generator has no such class.
        """
        classes = self.config.c_dim
        if number is not None and not 0 <= number < classes:
            raise ConfigError(f"class {number} was asked for, but the generator has {classes or 'no'} classes")
        self.chosen_class = number

    def broadcast(self, w: Float[Tensor, "n d"]) -> Float[Tensor, "n l d"]:
        """The same w for every layer."""
        return w[:, None].expand(-1, self.num_ws, -1)

    def draw_ws(
        self, z: Float[Tensor, "n d_z"], truncation: float = 1.0, label: Float[Tensor, "n d_c"] | None = None
    ) -> Float[Tensor, "n l d"]:
        """z to the ws of the original's own images: truncated as in `map`, up to the layer `truncation_cutoff`."""
        ws = self.broadcast(self.map(z, truncation, label))
        if self.truncation_cutoff is None or truncation == 1.0:
            return ws
        return torch.cat(
            [ws[:, : self.truncation_cutoff], self.broadcast(self.map(z, 1.0, label))[:, self.truncation_cutoff :]], 1
        )

    @abstractmethod
    def synthesize(
        self, ws: Float[Tensor, "n l d"], noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Images of the latents ``ws``; deterministic unless ``noise_mode`` is 'random', which draws from ``rng``."""

    def forward(
        self,
        z: Float[Tensor, "n d_z"],
        truncation: float = 1.0,
        noise_mode: NoiseMode = "const",
        label: Float[Tensor, "n d_c"] | None = None,
    ) -> Float[Tensor, "n c h w"]:
        """Images of the latents ``z``."""
        return self.synthesize(self.draw_ws(z, truncation, label), noise_mode)
