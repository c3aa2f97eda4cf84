"""The mapping network of StyleGAN2 and StyleGAN3.

Source:
    Karras et al., "A Style-Based Generator Architecture for GANs", CVPR 2019, section 2; for classes Karras et al.,
    "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020.
"""

from itertools import chain, pairwise, repeat

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lineament.networks.stylegan.generator import Mapping
from lineament.networks.stylegan.layers import Dense


def normalize_second_moment(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Scale each row so that its mean square is 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class MappingNetwork(Mapping):
    """z, and the class if there are any, to w: normalise, then fully connected layers with a smaller learning rate.

    Args:
        z_dim: size of z.
        w_dim: size of w.
        num_layers: fully connected layers; 0 only normalises, as in discriminators of the TensorFlow code.
        c_dim: number of classes; 0 for none.
        inner_dim: width of the inner layers; that of w if not given.
        embedding_dim: width of the class embedding; that of w if not given.
        lr_multiplier: learning rate relative to other layers; the weights are scaled by it.
        joint_normalization: whether z and the class embedding are normalised together, as before ADA; else each by
            itself.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        *,
        num_layers: int,
        c_dim: int = 0,
        inner_dim: int | None = None,
        embedding_dim: int | None = None,
        lr_multiplier: float = 0.01,
        joint_normalization: bool = False,
    ) -> None:
        super().__init__()
        self.joint = joint_normalization
        if c_dim:
            self.embed = Dense(c_dim, embedding_dim or w_dim)
            z_dim += embedding_dim or w_dim
        # Not a list: the number of layers may come from a file, and is compared with its tensors as layers are made.
        dims = chain([z_dim], repeat(inner_dim or w_dim, num_layers - 1), [w_dim] if num_layers else [])
        self.layers = nn.ModuleList(Dense(i, o, lr_multiplier=lr_multiplier, activate=True) for i, o in pairwise(dims))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Float[Tensor, "n d_z"], label: Float[Tensor, "n d_c"] | None = None) -> Float[Tensor, "n d"]:
        """Map latents of any length (only their direction counts)."""
        x = z if self.joint else normalize_second_moment(z)
        if label is not None:
            embedding = self.embed(label)
            x = torch.cat([x, embedding if self.joint else normalize_second_moment(embedding)], dim=1)
        if self.joint:
            x = normalize_second_moment(x)
        for layer in self.layers:
            x = layer(x)
        return x
