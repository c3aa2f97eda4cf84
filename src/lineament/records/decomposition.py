"""The output of a decomposer, and the images rendered from it."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Decomposition:
    """A batch of faces as depth, albedo, view and light.

    Convention:
        The canonical frame is the face seen from the front. ``view`` is (pitch, yaw, roll) in radians and (tx, ty,
        tz) in world units; ``light`` is (ambient, diffuse, dx, dy).
    """

    canon_depth: Float[Tensor, "n h w"]
    canon_albedo: Float[Tensor, "n 3 h w"]
    view: Float[Tensor, "n 6"]
    light: Float[Tensor, "n 4"]

    def mirrored(self) -> "Decomposition":
        """The canonical maps mirrored, view and light kept; a symmetric face equals its mirror image."""
        return Decomposition(self.canon_depth.flip(2), self.canon_albedo.flip(3), self.view, self.light)


@dataclass(frozen=True)
class Rendering:
    """A batch of faces rendered from a decomposition.

    ``recon_mask`` is where the face's surface is seen; images are in [-1, 1]; ``grid`` says where in the canonical
    image a pixel takes its colour (`lineament.ops.warp.warp_image`).
    """

    canon_normal: Float[Tensor, "n 3 h w"]
    canon_shading: Float[Tensor, "n h w"]
    canon_image: Float[Tensor, "n 3 h w"]
    recon_depth: Float[Tensor, "n h w"]
    recon_mask: Bool[Tensor, "n h w"]
    recon_image: Float[Tensor, "n 3 h w"]
    grid: Float[Tensor, "n h w 2"]
