"""Settings of a StyleGAN3 generator, and the sizes, rates and bands of its layers that follow from them.

Source:
    Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021, section 3.2.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from lineament.errors import ConfigError
from lineament.ops.alias_free import lowpass_filter, radial_lowpass_filter
from lineament.records.shapes import MAX_LAYERS

MOST_TAPS = 64
"""Largest side of the filters of a layer's own rate, which are computed before any tensor of a file is looked at."""

MIN_CUTOFF = 0.5
"""Lowest cutoff frequency in cycles per image, such that sampling rates are at least 1."""


@dataclass(frozen=True)
class LayerPlan:
    """Sizes, rates and bands of one layer of the synthesis network; frequencies in cycles per image."""

    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    in_rate: float
    out_rate: float
    in_cutoff: float
    out_cutoff: float
    in_half_width: float
    out_half_width: float
    kernel: int
    up: int
    down: int
    up_taps: int
    down_taps: int
    radial: bool

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the upsampled rows, which centre the result (appendix C.3)."""
        upsampled = (self.in_size + self.kernel - 1) * self.up
        total = (self.out_size - 1) * self.down + 1 - upsampled + self.up_taps + self.down_taps - 2
        before = (total + self.up) // 2
        return before, total - before

    def up_filter(self) -> Float[np.ndarray, " tu"]:
        """Taps of the low-pass filter that upsampling needs."""
        return lowpass_filter(self.up_taps, self.in_cutoff, self.in_half_width, self.in_rate * self.up)

    def down_filter(self) -> Float[np.ndarray, " td"] | Float[np.ndarray, "td td"]:
        """Taps of the low-pass filter that downsampling needs."""
        design = radial_lowpass_filter if self.radial else lowpass_filter
        return design(self.down_taps, self.out_cutoff, self.out_half_width, self.in_rate * self.up)


@dataclass(frozen=True)
class StyleGAN3Config:
    """Shape of a StyleGAN3 generator; the published settings of configuration T unless given.

    Configuration R has ``conv_kernel`` 1, ``use_radial_filters`` and twice the channels.
    """

    resolution: int = 256
    """Side of the square images in pixels; a power of two from 16 to 4096."""
    image_channels: int = 3
    """Channels of the images: 3 for RGB."""
    z_dim: int = 512
    """Size of the latent z."""
    w_dim: int = 512
    """Size of the intermediate latent w."""
    c_dim: int = 0
    """Number of classes; 0 where there are none."""
    num_mapping_layers: int = 2
    """Fully connected layers from z to w."""
    mapping_lr_multiplier: float = 0.01
    """Learning rate of these layers relative to others; their weights are scaled by it."""
    channel_base: int = 32768
    """Channels of a layer with cutoff frequency f are channel_base / 2 f ..."""
    channel_max: int = 512
    """... but never more than this."""
    num_layers: int = 14
    """Layers between the Fourier features and ToRGB."""
    num_critical: int = 2
    """Number of last layers with critical sampling, which allows some aliasing for sharper images."""
    first_cutoff: float = 2.0
    """Cutoff frequency of the first layer."""
    first_stopband: float = 2**2.1
    """Where the stop band of the first layer begins."""
    last_stopband_rel: float = 2**0.3
    """Where the stop band of the last layer begins, relative to its cutoff frequency."""
    margin_size: int = 10
    """Pixels that feature maps extend beyond the image on each side."""
    output_scale: float = 0.25
    """Scale of the images."""
    conv_kernel: int = 3
    """Size of the convolutions: 3, or 1 for configuration R."""
    filter_size: int = 6
    """Taps of a low-pass filter per pixel at its lower rate."""
    lrelu_upsampling: int = 2
    """Sampling rate of the rectifier relative to its layer's."""
    use_radial_filters: bool = False
    """Radially symmetric downsampling filters outside the critically sampled layers, for configuration R."""
    conv_clamp: float = 256.0
    """Maximum magnitude of a layer's output; 0 for no limit."""

    def __post_init__(self) -> None:
        r = self.resolution
        if not 16 <= r <= 4096 or r & (r - 1):
            raise ConfigError(f"resolution is {r}, expected a power of two from 16 to 4096")
        least: dict[str, float] = dict.fromkeys(("c_dim", "margin_size", "conv_clamp"), 0)
        at_least_1 = "image_channels z_dim w_dim num_mapping_layers channel_base channel_max num_layers"
        least |= dict.fromkeys([*at_least_1.split(), "num_critical", "filter_size", "lrelu_upsampling"], 1)
        most = {"margin_size": 1024, "num_layers": 100, "num_mapping_layers": MAX_LAYERS}
        most |= {"filter_size": 64, "lrelu_upsampling": 16}
        for name, smallest in least.items():
            if not smallest <= getattr(self, name) <= most.get(name, 2**31):
                bound = f" and at most {most[name]}" if name in most else ""
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {smallest}{bound}")
        if self.filter_size * self.lrelu_upsampling > MOST_TAPS:
            raise ConfigError(
                f"filter_size {self.filter_size} and lrelu_upsampling {self.lrelu_upsampling} give filters of "
                f"more than {MOST_TAPS} taps a side; give smaller ones"
            )
        if self.conv_kernel not in (1, 3):
            raise ConfigError(f"conv_kernel is {self.conv_kernel}, expected 3 (configuration T) or 1 (R)")
        if self.num_critical >= self.num_layers:
            raise ConfigError(f"num_critical is {self.num_critical}, expected less than num_layers ({self.num_layers})")
        for name in ("output_scale", "mapping_lr_multiplier"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a positive number")
        if not MIN_CUTOFF <= self.first_cutoff < self.first_stopband <= r / 2:
            raise ConfigError(
                f"first_cutoff is {self.first_cutoff} and first_stopband {self.first_stopband}, "
                f"expected {MIN_CUTOFF} <= first_cutoff < first_stopband <= resolution / 2 ({r // 2})"
            )
        if not 1 < self.last_stopband_rel < math.inf:
            raise ConfigError(f"last_stopband_rel is {self.last_stopband_rel}, expected more than 1")

    @property
    def num_ws(self) -> int:
        """Number of w vectors: one for the Fourier features, each layer and ToRGB."""
        return self.num_layers + 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)

    def plans(self) -> list[LayerPlan]:
        """All layers, ToRGB last (section 3.2: bands grow geometrically, then stay)."""
        last_cutoff = self.resolution / 2
        growth = np.minimum(np.arange(self.num_layers + 1) / (self.num_layers - self.num_critical), 1)
        cutoffs = self.first_cutoff * (last_cutoff / self.first_cutoff) ** growth
        last_stopband = last_cutoff * self.last_stopband_rel
        stopbands = self.first_stopband * (last_stopband / self.first_stopband) ** growth
        rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stopbands, self.resolution))))
        half_widths = np.maximum(stopbands, rates / 2) - cutoffs
        sizes = rates.astype(int) + 2 * self.margin_size
        sizes[-2:] = self.resolution
        channels = np.maximum(np.rint(np.minimum(self.channel_base / 2 / cutoffs, self.channel_max)), 1).astype(int)
        channels[-1] = self.image_channels
        plans = []
        for i in range(self.num_layers + 1):
            before, is_rgb = max(i - 1, 0), i == self.num_layers
            inner = int(max(rates[before], rates[i])) * (1 if is_rgb else self.lrelu_upsampling)
            up, down = inner // int(rates[before]), inner // int(rates[i])
            plans.append(
                LayerPlan(
                    in_channels=int(channels[before]),
                    out_channels=int(channels[i]),
                    in_size=int(sizes[before]),
                    out_size=int(sizes[i]),
                    in_rate=float(rates[before]),
                    out_rate=float(rates[i]),
                    in_cutoff=float(cutoffs[before]),
                    out_cutoff=float(cutoffs[i]),
                    in_half_width=float(half_widths[before]),
                    out_half_width=float(half_widths[i]),
                    kernel=1 if is_rgb else self.conv_kernel,
                    up=up,
                    down=down,
                    up_taps=self.filter_size * up if up > 1 else 1,
                    down_taps=self.filter_size * down if down > 1 else 1,
                    radial=self.use_radial_filters and i < self.num_layers - self.num_critical and down > 1,
                )
            )
        return plans
