"""Shapes of the networks that we train, as plain numbers for files and command lines."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from lineament.errors import ConfigError
from lineament.records.advanced import Advanced
from lineament.records.bounds import check_bounds

MAX_WIDTH = 16_384
"""Largest number of channels or of features of a layer; published networks have up to 2048."""

MAX_RESOLUTION = 4096
"""Largest side of images in pixels."""

MAX_LAYERS = 1000
"""Largest number of layers of one kind in a network."""

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


def check_face_box(box: tuple[float, ...]) -> None:
    """Raise ConfigError unless these are left, top, right and bottom of a box within an image."""
    if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise ConfigError(
            f"the face box is {box}, expected left, top, right and bottom as shares of the image, such as 0.2 0.3 0.8 1"
        )


@dataclass(frozen=True)
class DecomposerConfig:
    """Shape of a decomposer."""

    resolution: int = 64
    """Side of the images in pixels, 64 or 128."""
    channels: Advanced[int] = 24
    """Number of channels of the depth and albedo networks at half resolution. It doubles at every further halving."""
    channel_max: Advanced[int] = 128
    """Maximum number of channels."""
    code_dim: Advanced[int] = 128
    """Size of the bottlenecks."""
    pose_channels: Advanced[int] = 16
    """Number of channels of the view, light and confidence networks at half resolution. It doubles at every further
    halving."""
    max_rotation_deg: Advanced[float] = 60.0
    """Maximum angle about each axis, in degrees."""
    max_translation: Advanced[float] = 0.1
    """Maximum shift, in world units. At the centre depth the image is 0.175 wide."""
    min_sigma: Advanced[float] = 0.1
    """Minimum standard deviation of the confidence maps."""
    mean_shape: Advanced[bool] = True
    """Whether the depth network predicts the difference from one learned mean shape. Without it, the network must be
    trained on a first shape, and thereby learns to give similar shapes for all images."""
    mean_albedo: Advanced[bool] = True
    """Whether the albedo network predicts the difference from one learned mean albedo. The mean is its own mirror
    image. It learns what all faces share, such as brows, within tens of steps; until the albedo has learned it, the
    shape is bent to imitate it."""
    equivariant: Advanced[bool] = True
    """Whether view and light follow mirroring exactly. Yaw, roll, horizontal shift and light_x change their sign."""
    symmetric_depth: Advanced[bool] = True
    """Whether the canonical depth is exactly its own mirror image. Otherwise training only favours that."""
    symmetric_albedo: Advanced[bool] = False
    """Whether the canonical albedo is exactly its own mirror image. It is off by default, because real faces have
    partings, moles and patches."""
    aligned: Advanced[bool] = True
    """Whether the depth and albedo networks see the face from the front. The image is first turned back, using the mean
    shape and the view found, and its mirror image is appended. Then the same pixels show the same part of every face.
    Needs `mean_shape`."""
    tied_shape: Advanced[bool] = True
    """Whether relief and lean of the mean shape are those of a mean head, and no face differs from it in these two.
    Otherwise a flat face that turns far explains small turns as well, and a shape that leans back explains pitch. Needs
    `mean_shape`."""
    mean_head: Advanced[bool] = True
    """Whether the mean shape is a mean head, laid over the mean of the images, instead of learned. Faces alone need no
    other; for anything else turn it off. Needs `mean_shape`."""
    shape_blur: Advanced[float] = 0.03
    """Blur of the differences of single shapes from the mean shape: standard deviation, as a share of the image's
    width. Without it, brows, eyes and lips are carved into the shape, and a light from above that is not there makes
    them dark."""
    face_light: Advanced[bool] = True
    """Whether the light network sees the face alone, from the front. Otherwise the light found depends on what lies
    outside the face. Needs `aligned`."""
    face_box: tuple[float, float, float, float] = WHOLE_IMAGE
    """Left, top, right and bottom of the face in generated images, as shares of their width and height. The box is cut
    out and shrunk. Photographs must be cut out already."""
    confidence: Advanced[bool] = True
    """Whether the network also predicts the error of its reconstruction. Only training needs that."""

    def __post_init__(self) -> None:
        check_face_box(self.face_box)
        if self.resolution not in (64, 128):
            raise ConfigError(f"resolution is {self.resolution}, expected 64 or 128")
        check_bounds(self, "channels", "channel_max", "code_dim", "pose_channels", least=1, most=MAX_WIDTH)
        check_bounds(self, "shape_blur", least=0, most=0.2)
        check_bounds(self, "max_rotation_deg", above=0, most=180)
        check_bounds(self, "max_translation", least=0, most=10)
        check_bounds(self, "min_sigma", least=0, most=1000)
        for width in {*self.widths(self.channels), *self.widths(self.pose_channels)}:
            if width % max(width // 4, 1):
                raise ConfigError(
                    f"channels {self.channels}, pose_channels {self.pose_channels} and channel_max {self.channel_max} "
                    f"give a layer of {width} channels, which are normalised in groups of four; give multiples of 4"
                )
        if (self.aligned or self.tied_shape or self.mean_head) and not self.mean_shape:
            raise ConfigError(
                "aligned networks look through the mean shape, it is what is tied, and a mean head is one; give "
                "--network.no-aligned, --network.no-tied-shape and --network.no-mean-head with --network.no-mean-shape"
            )
        if self.face_light and not self.aligned:
            raise ConfigError(
                "only aligned networks know where the face is; give --network.no-face-light with --network.no-aligned"
            )

    def widths(self, base: int) -> list[int]:
        """Channels at half, quarter ... of the resolution, down to 4 px."""
        return [min(base * 2**i, self.channel_max) for i in range(int(math.log2(self.resolution)) - 2)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of an encoder, and the generator whose latents it predicts."""

    resolution: int = 64
    """Side of the input images in pixels, a power of two from 16. Larger images are shrunk."""
    w_dim: int = 128
    """Size of the generator's w."""
    num_ws: int = 10
    """Number of layers of the generator that take a w each."""
    channels: int = 24
    """Number of feature maps at half of the resolution. It doubles at every further halving, up to `channel_max`."""
    channel_max: int = 128
    """Maximum number of feature maps."""
    offsets: bool = True
    """Whether every layer gets its own w, near a common one. Otherwise all layers get the common w."""
    offset_dim: int = 64
    """Width of the features from which the offsets are computed."""
    generator: str = ""
    """Fingerprint of the generator."""

    def __post_init__(self) -> None:
        check_side(self.resolution)
        check_bounds(self, "num_ws", least=1, most=MAX_LAYERS)
        check_bounds(self, "w_dim", "channels", "channel_max", "offset_dim", least=1, most=MAX_WIDTH)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


def check_side(resolution: int) -> None:
    """Raise ConfigError unless this is the side of images that an encoder or a judge can look at."""
    if not 16 <= resolution <= MAX_RESOLUTION or resolution & (resolution - 1):
        raise ConfigError(f"resolution is {resolution!s:.40}, expected a power of two from 16 to {MAX_RESOLUTION}")


MAX_ATTRIBUTES = 100_000
"""Largest number of characters of all attributes of a judge together."""


@dataclass(frozen=True)
class JudgeConfig:
    """Shape of a judge, and the attributes that it reads."""

    attributes: str = ""
    """Names of the attributes, separated by spaces. Training sets them from the truth."""
    resolution: int = 64
    """Side of the input images in pixels, a power of two from 16. Larger images are shrunk."""
    channels: int = 32
    """Number of feature maps at half of the resolution. It doubles at every further halving, up to `channel_max`."""
    channel_max: int = 96
    """Maximum number of feature maps."""
    hidden_dim: int = 160
    """Width of the features from which all attributes are read."""

    def __post_init__(self) -> None:
        check_side(self.resolution)
        check_bounds(self, "channels", "channel_max", "hidden_dim", least=1, most=MAX_WIDTH)
        if len(self.attributes) > MAX_ATTRIBUTES:
            raise ConfigError(
                f"attributes take {len(self.attributes):,} characters, expected at most {MAX_ATTRIBUTES:,}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes, in order."""
        return tuple(self.attributes.split())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


def channels_at(resolution: int, base: int, maximum: int, widths: Sequence[int] = (), minimum: int = 1) -> int:
    """Number of feature maps: ``base / resolution`` within limits; or as ``widths`` say for 4, 8, ... pixels."""
    return widths[int(math.log2(resolution)) - 2] if widths else max(min(base // resolution, maximum), minimum)


def check_widths(widths: Sequence[int], resolution: int) -> None:
    """Raise ConfigError unless these are channels for every size from 4 pixels to ``resolution``, or none at all."""
    expected = int(math.log2(resolution)) - 1
    if widths and (len(widths) != expected or not 1 <= min(widths) <= max(widths) <= MAX_WIDTH):
        raise ConfigError(
            f"widths are {widths!s:.80}, expected {expected} numbers of channels, one for each size from 4 to "
            f"{resolution} pixels, or none; each from 1 to {MAX_WIDTH}"
        )


@dataclass(frozen=True)
class GeneratorConfig:
    """Shape of a StyleGAN2 generator that we train. `StyleGAN2Config` adds settings that other programs vary."""

    c_dim: ClassVar[int] = 0
    image_channels: ClassVar[int] = 3
    architecture: ClassVar[str] = "skip"
    conv_clamp: ClassVar[float] = 0.0
    mapping_dim: ClassVar[int] = 0
    embedding_dim: ClassVar[int] = 0
    mapping_lr_multiplier: ClassVar[float] = 0.01
    joint_normalization: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = ()

    resolution: int = 64
    """Side of the square images in pixels; a power of two from 32 to 1024."""
    z_dim: Advanced[int] = 128
    """Size of the latent z."""
    w_dim: int = 128
    """Size of the intermediate latent w."""
    num_mapping_layers: Advanced[int] = 4
    """Number of fully connected layers from z to w."""
    channel_base: int = 1024
    """Number of channels times resolution: channel_base / r channels at resolution r. At most `channel_max` and at
    least `channel_min` are used."""
    channel_max: int = 96
    """Maximum number of channels."""
    channel_min: Advanced[int] = 1
    """Minimum number of channels."""

    def __post_init__(self) -> None:
        if self.resolution not in (32, 64, 128, 256, 512, 1024):
            raise ConfigError(f"resolution is {self.resolution}, expected a power of two from 32 to 1024")
        widths = ("z_dim", "w_dim", "channel_max", "channel_min")
        check_bounds(self, *widths, "num_mapping_layers", "channel_base", least=1)
        check_bounds(self, *widths, most=MAX_WIDTH)
        check_bounds(self, "num_mapping_layers", most=MAX_LAYERS)
        check_bounds(self, "channel_base", most=MAX_WIDTH * MAX_RESOLUTION)

    def channels(self, resolution: int) -> int:
        """Number of feature maps at ``resolution``."""
        return channels_at(resolution, self.channel_base, self.channel_max, self.widths, self.channel_min)

    @property
    def num_ws(self) -> int:
        """Number of w vectors that the synthesis network takes: one per convolution, one for the last ToRGB."""
        return 2 * int(math.log2(self.resolution)) - 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)


@dataclass(frozen=True)
class UpsamplerConfig:
    """Shape of an upsampler."""

    channels: int = 32
    """Number of feature maps, at the size of the input image."""
    num_blocks: int = 3
    """Number of residual blocks of two convolutions."""

    def __post_init__(self) -> None:
        check_bounds(self, "channels", least=1, most=MAX_WIDTH)
        check_bounds(self, "num_blocks", least=1, most=MAX_LAYERS)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the header of a file."""
        return asdict(self)
