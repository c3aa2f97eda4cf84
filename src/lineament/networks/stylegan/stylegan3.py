"""The StyleGAN3 generator, configurations T (translation) and R (rotation): alias-free synthesis.

Source:
    Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021. Deviations: none in the architecture;
    filters are computed from the settings, and the modulated convolution is one convolution for all samples. Styles are
    normalised for every sample by itself instead of over the batch, so that an image never depends on its batch;
    demodulation cancels either normalisation (up to its epsilon of 1e-8).
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.networks.stylegan.fast_path import Kept, are_constant, are_plain
from lineament.networks.stylegan.generator import NUM_HALF_RESOLUTIONS, Generator, NoiseMode
from lineament.networks.stylegan.layers import LRELU_GAIN, LRELU_SLOPE, Dense, clamped
from lineament.networks.stylegan.mapping import MappingNetwork, normalize_second_moment
from lineament.networks.stylegan.stylegan3_plan import LayerPlan, StyleGAN3Config
from lineament.ops.alias_free import filtered_leaky_relu
from lineament.ops.modulation import demodulation
from lineament.ops.winograd import winograd_conv2d, winograd_filters


class FourierInput(nn.Module):
    """Sines of random frequencies, rotated and shifted as w determines, then mixed (section 3.1).

    Attributes:
        transform: a rotation and translation by the user, as the 3 x 3 matrix that takes points of the image (the
            unit square about the origin, x right, y down) to where they are looked up: a shift to the right has a
            negative translation. The identity unless set; kept in files.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, config: StyleGAN3Config, plan: LayerPlan) -> None:
        super().__init__()
        channels = plan.in_channels
        self.affine = Dense(config.w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.weight_gain = 1 / math.sqrt(channels)
        # Random frequencies, nearly uniform in the disc up to the cutoff frequency.
        direction = torch.randn(channels, 2)
        radius = direction.norm(dim=1, keepdim=True)
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", plan.in_cutoff * direction / (radius * (radius.square() / 4).exp()))
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.size, self.rate, self.cutoff = plan.in_size, plan.in_rate, plan.in_cutoff

    def forward(self, w: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Feature maps, one set of sines per sample."""
        t = self.affine(w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        cos, sin, dx, dy = t.unbind(dim=1)
        # Rotation about the middle after the translation, then the user's transform.
        rotation = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
        shift = -(rotation @ torch.stack([dx, dy], dim=1)[..., None])
        linear = rotation @ self.transform[:2, :2]
        shift = shift + rotation @ self.transform[:2, 2:]
        phases = self.phases + (self.freqs @ shift)[..., 0]
        freqs = self.freqs @ linear
        # A user's transform may push frequencies beyond the limit of the grid; these are faded out.
        excess = (freqs.norm(dim=2) - self.cutoff) / (self.rate / 2 - self.cutoff)
        grid = (torch.arange(self.size, device=w.device) + 0.5 - self.size / 2) / self.rate
        cycles = grid[:, None] * freqs[:, None, None, :, 0] + (
            grid[:, None, None] * freqs[:, None, None, :, 1] + phases[:, None, None]
        )
        waves = torch.sin(2 * math.pi * cycles) * (1 - excess).clamp(0, 1)[:, None, None]
        return (waves @ (self.weight * self.weight_gain).T).permute(0, 3, 1, 2)


class ModulatedLayer(nn.Module):
    """Base of layers and ToRGB: affine map, weights, bias and the running mean of the squared input."""

    magnitude_ema: Tensor

    def __init__(self, config: StyleGAN3Config, plan: LayerPlan) -> None:
        super().__init__()
        self.affine = Dense(config.w_dim, plan.in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(plan.out_channels, plan.in_channels, plan.kernel, plan.kernel))
        self.bias = nn.Parameter(torch.zeros(plan.out_channels))
        self.clamp = config.conv_clamp
        self.register_buffer("magnitude_ema", torch.ones(()))


class SynthesisLayer(ModulatedLayer):
    """Modulated convolution, bias, filtered leaky rectifier."""

    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, config: StyleGAN3Config, plan: LayerPlan) -> None:
        super().__init__(config, plan)
        self.plan = plan
        self._kept: dict[bool, Kept[tuple[Tensor, Tensor]]] = {False: Kept(), True: Kept()}
        self.register_buffer("up_filter", torch.from_numpy(plan.up_filter()).float(), persistent=False)
        self.register_buffer("down_filter", torch.from_numpy(plan.down_filter()).float(), persistent=False)

    def forward(self, x: Float[Tensor, "n i h w"], w: Float[Tensor, "n d"]) -> Float[Tensor, "n o h2 w2"]:
        """One step of synthesis."""
        style = normalize_second_moment(self.affine(w))
        gain = style * torch.rsqrt(self.magnitude_ema)
        padding = self.plan.kernel - 1
        plain = are_plain(x, style, self.weight)
        fast = plain and self.plan.kernel == 3 and len(x) == 1
        if plain:  # cached, as they cost a tenth of an image's time
            weight, norms = self._kept[fast](self.weight, _fast_filters if fast else _plain_filters)
        else:
            weight = norms = normalized(self.weight)
        if fast:
            x = winograd_conv2d(x, gain, weight, padding)
        else:
            x = F.conv2d(x * gain[:, :, None, None].to(x.dtype), weight.to(x.dtype), padding=padding)
        scale = demodulation(norms, style)[:, :, None, None]
        x = torch.addcmul(self.bias[:, None, None].to(x.dtype), x, scale.to(x.dtype))
        return filtered_leaky_relu(
            x,
            self.up_filter,
            self.down_filter,
            up=self.plan.up,
            down=self.plan.down,
            padding=self.plan.padding,
            gain=LRELU_GAIN,
            slope=LRELU_SLOPE,
            clamp=self.clamp,
        )


def normalized(weight: Float[Tensor, "o c k k"]) -> Float[Tensor, "o c k k"]:
    """A weight with a norm of 1 for every output channel, which keeps its products within half precision's range."""
    return weight * torch.rsqrt(weight.square().sum(dim=(1, 2, 3), keepdim=True))


def _plain_filters(weight: Float[Tensor, "o c k k"]) -> tuple[Tensor, Float[Tensor, "o c 1 1"]]:
    """The normalised weight, and the norms of its kernels."""
    weight = normalized(weight)
    return weight, torch.linalg.vector_norm(weight, dim=(2, 3), keepdim=True)


def _fast_filters(weight: Float[Tensor, "o c 3 3"]) -> tuple[Tensor, Float[Tensor, "o c 1 1"]]:
    """As `_plain_filters`, with the weight in the form of `winograd_conv2d`."""
    weight, norms = _plain_filters(weight)
    return winograd_filters(weight), norms


class ToRGB(ModulatedLayer):
    """Modulated 1 x 1 convolution to the image, not demodulated, clamped."""

    def forward(self, x: Float[Tensor, "n i h w"], w: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """The image before its scale."""
        gain = torch.rsqrt(self.magnitude_ema * x.shape[1])
        scale = (self.affine(w) * gain)[:, :, None, None].to(x.dtype)
        rgb = F.conv2d(x * scale, self.weight.to(x.dtype), self.bias.to(x.dtype))
        return clamped(rgb, self.clamp).to(w.dtype)


class StyleGAN3(Generator):
    """z -> w -> ws -> image, alias-free.

    Convention:
        As every `Generator`; ``ws[:, 0]`` places the Fourier features, the last one belongs to ToRGB. The family has
        no noise inputs: ``noise_mode`` and ``rng`` have no effect.
    """

    family: ClassVar[str] = "stylegan3"
    config: StyleGAN3Config
    mapping: MappingNetwork

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(
            config.z_dim,
            config.w_dim,
            num_layers=config.num_mapping_layers,
            c_dim=config.c_dim,
            lr_multiplier=config.mapping_lr_multiplier,
        )
        *plans, last = config.plans()
        self.input = FourierInput(config, plans[0])
        self.layers = nn.ModuleList(SynthesisLayer(config, plan) for plan in plans)
        self.to_rgb = ToRGB(config, last)

    def synthesis_layers(self) -> list[SynthesisLayer]:
        """All layers but ToRGB, in the order in which they act."""
        return list(self.layers)  # pyright: ignore[reportReturnType]

    def synthesize(
        self, ws: Float[Tensor, "n l d"], noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Images of the latents ``ws``; always deterministic, ``noise_mode`` and ``rng`` have no effect.

        With `half_precision`, feature maps of the finest rates are in half precision, as in the official training.
        """
        if ws.device.type == "cpu" and len(ws) > 1:
            # One image at a time stays in the cache, and below the size of costly allocations (see ops.alias_free).
            return torch.cat([self.synthesize(w) for w in ws.split(1)])
        half = self.half_precision and not self.training and are_constant(ws, *self.parameters())
        x = self.input(ws[:, 0])
        for i, layer in enumerate(self.synthesis_layers(), start=1):
            if half and int(layer.plan.out_rate) << NUM_HALF_RESOLUTIONS > self.config.resolution:
                x = x.half()
            x = layer(x, ws[:, i])
        return self.to_rgb(x, ws[:, -1]) * self.config.output_scale
