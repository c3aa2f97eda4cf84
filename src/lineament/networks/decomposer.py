"""The decomposer: four small networks that split a face image into depth, albedo, view and light.

Source:
    Wu et al., "Unsupervised Learning of Probably Symmetric Deformable 3D Objects from Images in the Wild", CVPR 2020,
    section 3 and its supplement (Unsup3D). Deviations, each switchable (`DecomposerConfig`): fewer channels; the
    standard deviations of the confidence maps are bounded below; view and light of the mirror image are those of the
    image, mirrored, by construction; the canonical depth is its own mirror image and differs from a mean head, or from
    a learned mean shape whose relief and lean are a mean head's; the light network sees the face alone.
"""

import math
from copy import deepcopy
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.networks.decomposer_blocks import ConfidenceNet, EncoderDecoder, ScalarEncoder, TiedShape
from lineament.ops.camera import project, rotation_matrices, unproject, view_from_canon
from lineament.ops.resample import face_of, gaussian_blur
from lineament.ops.shading import lambert_shading, normals_from_depth
from lineament.ops.shapes import face_oval
from lineament.ops.warp import grid_of, warp_image
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition
from lineament.records.shapes import DecomposerConfig

VIEW_SIGNS = (1, -1, -1, -1, 1, 1)
"""Factors that mirroring the image applies to (pitch, yaw, roll, tx, ty, tz)."""

LIGHT_SIGNS = (1, 1, -1, 1)
"""Factors that mirroring the image applies to (ambient, diffuse, dx, dy)."""

NUM_BORDER_COLUMNS = 2
HEAD_GAIN = 0.1
MEAN_SHAPE_SPACING = 4
"""Pixels between the points of the mean shape. With one point per pixel, outlines that are not relief, such as those of
the eyes, would appear in the shape of every face."""

MEAN_GAIN = 5.0
"""Gain of the mean shape and albedo. Adam moves every parameter by about the learning rate. With this gain they move in
tens of steps instead of hundreds, as a network does through all its weights together."""
CONFIDENCE_CHANNEL_MAX = 64

MIN_SHADING, MAX_ALBEDO = 0.15, 2.0
"""Limits of `Decomposer.seen_albedo`: the smallest shading to divide by, and the brightest albedo, as times white."""


class Decomposer(nn.Module):
    """Image to canonical depth, canonical albedo, view and light.

    Convention:
        Images in [-1, 1]; frames, signs and units as in `lineament.records.camera` and
        `lineament.records.decomposition`.
    """

    mean_shape: Tensor | None
    border: Tensor
    oval: Tensor
    tilt: Tensor

    def __init__(self, config: DecomposerConfig, camera: Camera | None = None) -> None:
        super().__init__()
        self.config = config
        self.face_box: tuple[float, ...] = config.face_box
        self.camera = camera or Camera()
        wide, slim = config.widths(config.channels), config.widths(config.pose_channels)
        seen = 6 if config.aligned else 3
        self.depth_net = EncoderDecoder(seen, 1, wide, config.code_dim)
        size = config.resolution if config.mean_head else config.resolution // MEAN_SHAPE_SPACING
        shape = torch.zeros(size, size) if config.mean_shape else None
        if config.mean_head:
            self.register_buffer("mean_shape", shape)  # given, not learned
        else:
            self.register_parameter("mean_shape", None if shape is None else nn.Parameter(shape))
        if config.mean_shape:
            for parameter in self.depth_net.head.parameters():
                nn.init.zeros_(parameter)
        self.tie: TiedShape | None = None
        if config.tied_shape:
            half_range = (self.camera.max_depth - self.camera.min_depth) / 2
            self.tie = TiedShape(config.resolution, half_range=half_range, width=self.image_width)
        self.albedo_net = EncoderDecoder(seen, 3, wide, config.code_dim)
        self.mean_albedo: nn.Parameter | None = None
        if config.mean_albedo:
            self.mean_albedo = nn.Parameter(torch.zeros(3, config.resolution, config.resolution))
        self.view_net = ScalarEncoder(6, slim, config.code_dim)
        self.light_net = ScalarEncoder(4, slim, config.code_dim)
        self.confidence_net: ConfidenceNet | None = None
        if config.confidence:
            # The error of a reconstruction is a smooth, simple map: half the channels are enough.
            narrow = [min(width, CONFIDENCE_CHANNEL_MAX) for width in slim]
            self.confidence_net = ConfidenceNet(narrow, min(config.code_dim, CONFIDENCE_CHANNEL_MAX))
        border = torch.zeros(config.resolution, config.resolution, device="cpu")  # files do not hold it
        border[:, :NUM_BORDER_COLUMNS] = 1
        border[:, -NUM_BORDER_COLUMNS:] = 1
        self.register_buffer("border", border, persistent=False)
        self.register_buffer("oval", face_oval(config.resolution).float(), persistent=False)
        # Unless the shape is tied, nothing forces the canonical face to be upright: it may be tilted, and every view
        # then tilts it back. The mean pitch of the training views is stored, and `measure` gives angles and light
        # relative to it.
        self.register_buffer("tilt", torch.zeros(()))

    @property
    def image_width(self) -> float:
        """Width of the image at the centre depth, in world units."""
        return 2 * self.camera.center_depth * math.tan(math.radians(self.camera.fov_deg) / 2)

    def parts(self) -> tuple[list[nn.Parameter], ...]:
        """The parameters in groups that are trained separately: shape, albedo, view, light and confidence."""
        shape, albedo = list(self.depth_net.parameters()), list(self.albedo_net.parameters())
        shape += [self.mean_shape] if isinstance(self.mean_shape, nn.Parameter) else []
        albedo += [] if self.mean_albedo is None else [self.mean_albedo]
        others = (self.view_net, self.light_net, self.confidence_net)
        return shape, albedo, *(list(net.parameters()) for net in others if net is not None)

    def for_use(self) -> "Decomposer":
        """A copy without the confidence network, which only training needs."""
        copy = deepcopy(self)
        copy.config, copy.confidence_net = replace(self.config, confidence=False), None
        return copy

    def front(self, image: Float[Tensor, "n 3 h w"], view: Float[Tensor, "n 6"]) -> Float[Tensor, "n c h w"]:
        """Input of the depth and albedo networks: if `aligned`, the face from the front beside its mirror image.

        Every point of the mean shape takes the colour of the pixel on which it falls in the view. Hidden points take a
        wrong colour, but their mirror images are then visible. Differentiable in image and view. In training, no
        gradient passes here to the view or the mean shape, which have better training signals.
        """
        if not self.config.aligned:
            return image
        size, camera = self.config.resolution, self.camera
        shape = self._depth_of(self._mean_raw()[0].detach()[None])
        if self.config.face_light:  # seen through a lopsided shape, the mirror image would have another light
            shape = (shape + shape.flip(2)) / 2
        view = view.detach() if self.training else view
        points = view_from_canon(unproject(shape.expand(len(image), -1, -1), camera), view, camera)
        grid = points[..., :2] / points[..., 2:] * (2 * camera.focal_px(size) / (size - 1))
        # The mean with the mirror image seen through the mirrored grid: so that mirroring commutes without rounding.
        face = (warp_image(image, grid) + warp_image(image.flip(3), grid * grid.new_tensor([-1, 1]))) / 2
        return torch.cat([face, face.flip(3)], dim=1).contiguous(memory_format=torch.channels_last)

    def shown(self, images: Float[Tensor, "n c h0 w0"]) -> Float[Tensor, "n 3 h w"]:
        """Input of this network from images: the face alone, at its resolution; see `face_of`."""
        return face_of(images, self.config.resolution, self.face_box)

    def depth(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """Canonical depth of images."""
        return self._depth_from(self.front(image, self.view(image)))

    def seen_albedo(self, image: Float[Tensor, "n 3 h w"], parts: Decomposition) -> Float[Tensor, "n 3 h w"]:
        """Canonical albedo of images as their pixels show it: the image turned to the front, without its shading.

        The albedo of `forward` is predicted by a network and blurs small details such as irises. This one keeps every
        pixel; points hidden in the view take a wrong colour. Differentiable.

        Args:
            image: in [-1, 1].
            parts: result of `forward` for it.

        Returns:
            In [-1, 3]: brighter than white where the shading found is darker than the image.
        """
        size, camera = self.config.resolution, self.camera
        points = view_from_canon(unproject(parts.canon_depth, camera), parts.view, camera)
        face = warp_image(image, grid_of(project(points, camera, size, size), size))
        shading = lambert_shading(normals_from_depth(parts.canon_depth, camera), parts.light).clamp_min(MIN_SHADING)
        return ((face + 1) / shading[:, None]).clamp_max(2 * MAX_ALBEDO) - 1

    def _depth_from(self, front: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        raw = self._smooth(self._symmetric(self.depth_net(front).squeeze(1)))
        if self.mean_shape is not None:
            mean, relief = self._mean_raw()
            raw = mean + (raw if self.tie is None else self.tie.rest(raw, relief))
        return self._depth_of(raw)

    def _mean_raw(self) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
        """The mean shape before squashing; and its relief alone, if the shape is tied, else the same."""
        assert self.mean_shape is not None
        if self.config.mean_head:
            return self.mean_shape, self.mean_shape if self.tie is None else self.tie.relief_of(self.mean_shape)
        raw = self._symmetric(MEAN_GAIN * self._resized(self.mean_shape, self.config.resolution))
        return (raw, raw) if self.tie is None else self.tie.mean(raw)

    def _smooth(self, raw: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
        """Blurred as `shape_blur` says."""
        sigma = self.config.shape_blur * self.config.resolution
        return gaussian_blur(raw[:, None], sigma)[:, 0] if sigma else raw

    def _symmetric(self, raw: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
        return (raw + raw.flip(-1)) / 2 if self.config.symmetric_depth else raw

    def _depth_of(self, raw: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
        """Centred, squashed into the camera's interval, fixed at the left and right border."""
        camera = self.camera
        unit = torch.tanh(raw - raw.mean(dim=(1, 2), keepdim=True))
        depth = (1 + unit) / 2 * camera.max_depth + (1 - unit) / 2 * camera.min_depth
        return depth * (1 - self.border) + camera.border_depth * self.border

    @torch.no_grad()
    def init_he(self) -> None:
        """Random weights that keep the signal from the image to the outputs; biases 0.

        PyTorch's default shrinks the signal at every layer without a norm, until only biases are left. At the end of
        the depth network, images then differ by 1/25 of their difference at its bottleneck, and all faces get one
        shape.

        Source: He et al., "Delving Deep into Rectifiers", ICCV 2015; for transposed convolutions with the number of
        inputs that an output pixel really sees.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                taps = math.prod(module.kernel_size)
                if isinstance(module, nn.ConvTranspose2d):
                    taps = 1 if module.stride == (1, 1) else taps // math.prod(module.stride)
                nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * taps)))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Outputs start small, so that no tanh is saturated; the faces' differences from the mean shape start at zero.
        heads = [self.view_net.layers[-1], self.light_net.layers[-1], self.albedo_net.head]
        if self.confidence_net is not None:
            heads += [self.confidence_net.feature_head, self.confidence_net.pixel_head[-1]]
        for head in (*heads, self.depth_net.head):
            head.weight.mul_(HEAD_GAIN)  # pyright: ignore[reportCallIssue, reportArgumentType]
        if self.mean_shape is not None:
            nn.init.zeros_(self.depth_net.head.weight)

    @torch.no_grad()
    def start_from(self, depth: Float[Tensor, "h w"]) -> None:
        """Make this the mean shape, up to a common shift: the raw values are centred in `depth`.

        With `mean_head` it stays as it is given; else it is only begun with, and if the shape is tied, relief and lean
        become those of the mean head.

        Raises:
            ConfigError: the network has no mean shape.
        """
        if self.mean_shape is None:
            raise ConfigError("a start from a shape needs --network.mean-shape")
        camera = self.camera
        unit = (2 * depth - camera.max_depth - camera.min_depth) / (camera.max_depth - camera.min_depth)
        raw = torch.atanh(unit.clamp(-0.99, 0.99))
        gain = 1.0 if self.config.mean_head else MEAN_GAIN
        self.mean_shape.copy_(self._resized(raw, len(self.mean_shape)) / gain)

    @staticmethod
    def _resized(raw: Tensor, size: int) -> Tensor:
        """A square map, resized bicubically; its corners stay."""
        return F.interpolate(raw[None, None], (size, size), mode="bicubic", align_corners=True)[0, 0]

    def albedo(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Canonical albedo of images, in [-1, 1]."""
        return self._albedo_from(self.front(image, self.view(image)))

    def _albedo_from(self, front: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 h w"]:
        raw = self.albedo_net(front)
        if self.mean_albedo is not None:
            raw = raw + MEAN_GAIN * (self.mean_albedo + self.mean_albedo.flip(2)) / 2
        if self.config.symmetric_albedo:
            raw = (raw + raw.flip(3)) / 2
        return torch.tanh(raw)

    def view(self, image: Float[Tensor, "n 3 h w"], *, rough: bool = False) -> Float[Tensor, "n 6"]:
        """Rotation (pitch, yaw, roll) in radians and translation; no translation along the line of sight.

        With ``rough`` it takes half the time: it leaves out the mirror image, so equivariance is not exact.
        """
        unit = self.view_net(image, VIEW_SIGNS if self.config.equivariant and not rough else None)
        rotation = unit[:, :3] * math.radians(self.config.max_rotation_deg)
        shift = unit[:, 3:5] * self.config.max_translation
        return torch.cat([rotation, shift, torch.zeros_like(shift[:, :1])], dim=1)

    def light(self, image: Float[Tensor, "n 3 h w"], view: Float[Tensor, "n 6"] | None = None) -> Float[Tensor, "n 4"]:
        """Ambient and diffuse strength in [0, 1], light direction (dx, dy, 1).

        ``view`` is the view of the images, if it is known: a light network that sees the face alone needs it.
        """
        if not self.config.face_light:
            return self._light_from(image)
        return self._light_from(self.front(image, self.view(image) if view is None else view))

    def _light_from(self, image: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 4"]:
        if self.config.face_light:
            image = image[:, :3] * self.oval
        unit = self.light_net(image, LIGHT_SIGNS if self.config.equivariant else None)
        return torch.cat([unit[:, :2] / 2 + 0.5, unit[:, 2:]], dim=1)

    def sigmas(self, image: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n 2 h w"], Float[Tensor, "n 2 h4 w4"]]:
        """Standard deviations of the errors of pixels and of features; their inverse is the confidence.

        Raises:
            ConfigError: the network was made, or saved, without confidence.
        """
        if self.confidence_net is None:
            raise ConfigError("this decomposer was saved for use, without its confidence; train with one that has it")
        pixels, features = self.confidence_net(image)
        return pixels + self.config.min_sigma, features + self.config.min_sigma

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Decomposition:
        """Decompose images."""
        view = self.view(image)
        front = self.front(image, view)
        light = self._light_from(front if self.config.face_light else image)
        return Decomposition(self._depth_from(front), self._albedo_from(front), view, light)

    def measure(self, image: Float[Tensor, "n 3 h w"], parts: Decomposition | None = None) -> Float[Tensor, "n m"]:
        """The scalar semantics of images, in the order and units of `SCALAR_SEMANTICS`.

        If the network is not equivariant, they are averaged over the image and its mirror image, which removes the part
        of the error that breaks the mirror symmetry of the problem.

        Args:
            image: in [-1, 1].
            parts: of these images, if they are known: their view and light are then not computed again.
        """
        if self.config.equivariant and parts is not None:
            return self.in_units(*self.upright(parts.view, parts.light))
        both = image if self.config.equivariant else torch.cat([image, image.flip(3)])
        view = self.view(both)
        view, light = self.upright(view, self.light(both, view))
        if not self.config.equivariant:
            n = len(image)
            view = (view[:n] + view[n:] * view.new_tensor(VIEW_SIGNS)) / 2
            light = (light[:n] + light[n:] * light.new_tensor(LIGHT_SIGNS)) / 2
        return self.in_units(view, light)

    def in_units(self, view: Float[Tensor, "n 6"], light: Float[Tensor, "n 4"]) -> Float[Tensor, "n m"]:
        """Upright views and lights as `SCALAR_SEMANTICS`."""
        rotation = torch.rad2deg(view[:, [1, 0, 2]])
        shift = view[:, 3:5] * (100 / self.image_width)
        return torch.cat([rotation, shift, light], dim=1)

    def from_units(self, values: Float[Tensor, "n m"]) -> tuple[Float[Tensor, "n 6"], Float[Tensor, "n 4"]]:
        """Views and lights in the canonical frame, from `SCALAR_SEMANTICS`: the inverse of `measure`."""
        rotation = torch.deg2rad(values[:, [1, 0, 2]])
        shift = values[:, 3:5] * (self.image_width / 100)
        view = torch.cat([rotation, shift, torch.zeros_like(shift[:, :1])], dim=1)
        return self._leaned(view, torch.cat([values[:, 5:7].clamp(0, 1), values[:, 7:]], dim=1), inverse=True)

    def upright(
        self, view: Float[Tensor, "n 6"], light: Float[Tensor, "n 4"]
    ) -> tuple[Float[Tensor, "n 6"], Float[Tensor, "n 4"]]:
        """View and light relative to the upright face, which is the canonical face pitched by ``tilt``.

        A head that turns about its own upright axis then shows yaw alone; relative to a tilted face it would show roll
        as well.
        """
        return self._leaned(view, light, inverse=False)

    def _leaned(
        self, view: Float[Tensor, "n 6"], light: Float[Tensor, "n 4"], *, inverse: bool
    ) -> tuple[Float[Tensor, "n 6"], Float[Tensor, "n 4"]]:
        """View and light relative to the face pitched by ``tilt``, or back."""
        lean = torch.zeros_like(view[:1])
        lean[:, 0] = -self.tilt if inverse else self.tilt
        (tilted,) = rotation_matrices(lean)
        rotation = rotation_matrices(view) @ tilted.T
        pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
        yaw = torch.asin((-rotation[:, 2, 0]).clamp(-1, 1))
        roll = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
        # The same rotation moves the light. Nearly level light has no finite slope; it is held at a slope of 4.
        x, y, z = (torch.cat([light[:, 2:], torch.ones_like(light[:, :1])], dim=1) @ tilted.T).unbind(1)
        z = z.clamp_min(0.25)
        angles = torch.stack([pitch, yaw, roll], dim=1)
        return torch.cat([angles, view[:, 3:]], dim=1), torch.stack([light[:, 0], light[:, 1], x / z, y / z], dim=1)
