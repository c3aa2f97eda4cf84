"""Losses of a decomposer, which learns to reconstruct each image, and numbers that show whether training is healthy.

Source:
    Wu et al., "Unsupervised Learning of Probably Symmetric Deformable 3D Objects from Images in the Wild", CVPR 2020,
    Equations 3 to 6. Deviations, all switchable: the gradients at contours are bounded. If the depth is symmetric by
    construction, one rasterisation serves both reconstructions; if the albedo is too, the mirrored one is left out, as
    it would be the same image.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lineament.networks.decomposer import Decomposer
from lineament.networks.perceptual import downsample_mask
from lineament.ops.photometric import gaussian_loss, laplace_loss, masked_mean
from lineament.ops.render import render
from lineament.ops.shading import shade
from lineament.ops.shape_metrics import is_convex
from lineament.ops.shapes import distance_in_oval
from lineament.ops.warp import warp_image
from lineament.recipes.train.jitter import Jitter
from lineament.records.decomposition import Decomposition
from lineament.settings.train_decomposer import LossConfig

VIEW_SPREAD = (math.radians(10), math.radians(20), math.radians(5), 0.004, 0.004, 0.0)
"""Standard deviations of the rendered views: pitch, yaw, roll, then translation (2 % of the image's width)."""

WIDE_SHARE, WIDE_YAW = 0.5, math.radians(45)
"""Share of the rendered views whose yaw is uniform up to that angle: with few wide turns, they are read too small."""

LIGHT_RANGE = ((0.2, 0.7), (0.2, 0.8), (-0.9, 0.9), (-0.9, 0.9))
"""Ranges of the rendered lights: ambient, diffuse, and the two slopes of the direction."""

STRANGE_SHARE, STRANGE_FROM, STRANGE_EDGE = 0.5, (0.7, 1.3), 0.1
"""Share of the rendered faces around which another image is seen, the range of the ovals (1 is the face's own; see
`distance_in_oval`) within which they are still seen themselves, and the width of the edge. Hair and background do not
turn as the canonical image does, so that pose and light must be read off the face."""

CYCLE_STRIDE = 2
"""Every so many faces of a batch are rendered anew for the cycle; view and light learn as much from half of them."""

SATURATED = 0.95
"""An output of tanh beyond this value has almost no gradient left."""


LATENT_SHARES = (1.0, 0.15)
"""Weights of albedo and depth in `latent_loss`. More weight on the depth makes it worse on known shapes."""

LATENT_LEAST = (0.02, 1e-4)
"""Added to the differences between faces in albedo and depth, the denominators of `latent_loss`. While all faces are
alike, agreement then counts little."""


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructed images: from the canonical maps, and from the mirrored maps unless these are the same."""

    parts: Decomposition
    straight: Float[Tensor, "n 3 h w"]
    mirrored: Float[Tensor, "n 3 h w"] | None
    mask: Bool[Tensor, "n h w"]


@dataclass(frozen=True)
class TrueParts:
    """The true parts of images, for supervised training; ``mask`` is where the canonical maps are known."""

    parts: Decomposition
    mask: Bool[Tensor, "n h w"]


def reconstruct(decomposer: Decomposer, parts: Decomposition, config: LossConfig) -> Reconstruction:
    """Render the parts in their own view and light, also with the canonical maps mirrored (Wu et al., section 3.1)."""
    camera, network, n = decomposer.camera, decomposer.config, len(parts.view)
    max_slope = config.contour_slope or None
    if network.symmetric_depth:
        seen = render(parts, camera, max_slope=max_slope)
        mirrored = None
        if not network.symmetric_albedo:
            mirrored = warp_image(shade(parts.canon_albedo.flip(3), seen.canon_shading), seen.grid)
        return Reconstruction(parts, seen.recon_image, mirrored, seen.recon_mask)
    twin = parts.mirrored()
    both = Decomposition(
        canon_depth=torch.cat([parts.canon_depth, twin.canon_depth]),
        canon_albedo=torch.cat([parts.canon_albedo, twin.canon_albedo]),
        view=parts.view.repeat(2, 1),
        light=parts.light.repeat(2, 1),
    )
    seen = render(both, camera, max_slope=max_slope)
    mask = torch.logical_and(seen.recon_mask[:n], seen.recon_mask[n:])
    return Reconstruction(parts, seen.recon_image[:n], seen.recon_image[n:], mask)


def decomposition_loss(
    decomposer: Decomposer,
    images: Float[Tensor, "n 3 h w"],
    features: nn.Module | None,
    config: LossConfig,
    rng: torch.Generator,
    moved: Float[Tensor, "k 3 h w"] | None = None,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The published loss (Wu et al., Equations 3 to 6) with our terms; and its terms and `health_values` as numbers.

    ``moved`` shows the faces of the first images in another pose or light.
    """
    made = reconstruct(decomposer, decomposer(images), config)
    recons = [made.straight] if made.mirrored is None else [made.straight, made.mirrored]
    weights = (1.0, config.flip_weight)
    sigma, feature_sigma = decomposer.sigmas(images)
    terms: dict[str, Tensor] = {}
    loss = images.new_zeros(())
    for i, (recon, name) in enumerate(zip(recons, ("loss/pixels", "loss/pixels_mirrored"), strict=False)):
        terms[name] = laplace_loss(images, recon, sigma[:, i], made.mask)
        loss = loss + weights[i] * terms[name]
    if features is not None and config.perceptual_weight > 0:
        with torch.no_grad():
            target = features(images)
        # Fill pixels without a surface from the target, so that these holes carry no error.
        filled = [torch.where(made.mask[:, None], recon, images) for recon in recons]
        maps = features(torch.cat(filled)).split(len(images))
        small = downsample_mask(made.mask, target.shape[-1])
        likelihoods = [gaussian_loss(target, m, feature_sigma[:, i], small) for i, m in enumerate(maps)]
        terms["loss/features"] = likelihoods[0]
        loss = loss + config.perceptual_weight * sum(w * x for w, x in zip(weights, likelihoods, strict=False))
    if config.cycle_weight:
        terms["loss/cycle"] = cycle_loss(decomposer, made.parts, images, rng)
        loss = loss + config.cycle_weight * terms["loss/cycle"]
    if moved is not None and config.latent_weight:
        terms["loss/latent"] = latent_loss(decomposer, made.parts, moved)
        loss = loss + config.latent_weight * terms["loss/latent"]
    terms["loss/total"] = loss
    terms |= health_values(decomposer, made, images)
    # One transfer for all numbers: on an accelerator each transfer has to wait.
    return loss, dict(zip(terms, torch.stack([t.detach().float() for t in terms.values()]).tolist(), strict=True))


def random_views_and_lights(
    n: int, rng: torch.Generator, decomposer: Decomposer
) -> tuple[Float[Tensor, "n 6"], Float[Tensor, "n 4"]]:
    """Random views and lights like those of portraits, and somewhat wider."""
    view = torch.randn(n, 6, generator=rng) * torch.tensor(VIEW_SPREAD)
    wide = torch.rand(n, generator=rng) < WIDE_SHARE
    view[:, 1] = torch.where(wide, (torch.rand(n, generator=rng) * 2 - 1) * WIDE_YAW, view[:, 1])
    limit = 0.9 * math.radians(decomposer.config.max_rotation_deg)  # tanh does not reach its ends
    view[:, :3] = view[:, :3].clamp(-limit, limit)
    low, high = torch.tensor(LIGHT_RANGE).unbind(1)
    light = low + (high - low) * torch.rand(n, 4, generator=rng)
    return view.to(decomposer.tilt.device), light.to(decomposer.tilt.device)


def cycle_loss(
    decomposer: Decomposer, parts: Decomposition, images: Float[Tensor, "n 3 h w"], rng: torch.Generator
) -> Float[Tensor, ""]:
    """Error of the predicted view and light on images that we rendered, so that the true view and light are known.

    The reconstruction loss alone learns rotations that are too small: while the canonical face is blurred or wrong,
    half a turn costs less than a full one, and the depth then grows to compensate (the bas-relief ambiguity). With a
    known answer, too small a turn gains nothing. The canonical maps are detached; only the view and light networks
    learn from this loss.
    """
    maps = (parts.canon_depth.detach()[::CYCLE_STRIDE], parts.canon_albedo.detach()[::CYCLE_STRIDE])
    view, light = random_views_and_lights(len(maps[0]), rng, decomposer)
    with torch.no_grad():
        seen = render(Decomposition(*maps, view, light), decomposer.camera)
        # Without a surface the warp would fetch a second, displaced face. What is there instead must not matter.
        jitter = Jitter.draw(len(view), 1.0, rng)
        own, plain = seen.recon_image.mean(dim=(2, 3), keepdim=True), jitter.colour.to(view)[:, :, None, None]
        filling = own + (plain - own) * jitter.reflected.to(view)[:, None, None, None]
        weight = seen.recon_mask[:, None].to(view)
        strange = (torch.rand(len(view), generator=rng) < STRANGE_SHARE).to(view.device)[:, None, None, None]
        low, high = STRANGE_FROM
        limit = (low + (high - low) * torch.rand(len(view), generator=rng)).to(view)[:, None, None]
        around = torch.sigmoid((distance_in_oval(seen.grid) - limit) / STRANGE_EDGE)[:, None]
        filling = torch.where(strange, images.roll(1, 0)[::CYCLE_STRIDE], filling)
        weight = torch.where(strange, weight * (1 - around), weight)
        image = jitter.on_strips(filling + (seen.recon_image - filling) * weight).clamp(-1, 1)
    unit = view.new_tensor(VIEW_SPREAD[:5])
    found = decomposer.view(image)
    turned = ((found - view)[:, :5] / unit).abs().mean()
    return turned + (decomposer.light(image, found) - light).abs().mean()


def latent_loss(decomposer: Decomposer, parts: Decomposition, moved: Float[Tensor, "k 3 h w"]) -> Float[Tensor, ""]:
    """Change of albedo and canonical depth when a generator turns or relights a face; ideally there is none.

    Mean absolute changes, divided by the difference between two faces. Without that division the loss would make
    albedo and shape the same for all faces. 0 for a single face, because there is no other face to divide by.
    """
    k, loss = len(moved), moved.new_zeros(())
    if k < 2:
        return loss
    again = decomposer(moved)
    pairs = ((parts.canon_albedo, again.canon_albedo), (parts.canon_depth, again.canon_depth))
    for (first, second), share, least in zip(pairs, LATENT_SHARES, LATENT_LEAST, strict=True):
        change = (first[:k] - second).abs().mean()
        strangers = (first[:k] - second.roll(1, 0)).abs().mean()
        loss = loss + share * change / (strangers + least)
    return loss


def supervised_loss(
    decomposer: Decomposer, images: Float[Tensor, "n 3 h w"], truth: TrueParts
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Loss of supervised training: an upper bound to compare with, not the usual way to train.

    The sum of each part's mean absolute error, in a unit close to its spread: 0.01 of depth, 0.1 of albedo and light,
    about ten degrees of view.
    """
    parts, true, mask = decomposer(images), truth.parts, truth.mask
    terms = {
        "loss/depth": masked_mean((parts.canon_depth - true.canon_depth).abs(), mask) * 100,
        "loss/albedo": masked_mean((parts.canon_albedo - true.canon_albedo).abs().mean(dim=1), mask) * 10,
        "loss/view": (parts.view - true.view)[:, :5].abs().mean() * 5,
        "loss/light": (parts.light - true.light).abs().mean() * 10,
    }
    terms["loss/total"] = torch.stack(list(terms.values())).sum()
    with torch.no_grad():
        made = reconstruct(decomposer, parts, LossConfig())
    terms |= health_values(decomposer, made, images)
    total = terms["loss/total"]
    return total, dict(zip(terms, torch.stack([t.detach().float() for t in terms.values()]).tolist(), strict=True))


@torch.no_grad()
def health_values(
    decomposer: Decomposer, made: Reconstruction, images: Float[Tensor, "n 3 h w"]
) -> dict[str, Float[Tensor, ""]]:
    """Numbers that distinguish a healthy decomposition from a collapsed one; the loss alone does not.

    Returns:
        Scalars: mean absolute error of the compared pixels and their share, spread of the depth within a face, share
        of faces whose nose is nearer than their cheeks, mean and spread of the angles in degrees over the batch, share
        of view and light outputs that are `SATURATED`.
    """
    parts, config = made.parts, decomposer.config
    view = torch.rad2deg(parts.view[:, :3])
    spread = view.std(dim=0, correction=min(len(view) - 1, 1))  # 0 for a single face, not NaN
    unit = torch.cat(
        [
            view / config.max_rotation_deg,
            parts.view[:, 3:5] / config.max_translation,
            parts.light[:, :2] * 2 - 1,
            parts.light[:, 2:],
        ],
        dim=1,
    )
    return {
        "health/pixel_error": masked_mean((images - made.straight).abs().mean(dim=1), made.mask),
        "health/seen": made.mask.float().mean(),
        "health/depth_std": parts.canon_depth.std(dim=(1, 2)).mean(),
        "health/convex_share": is_convex(parts.canon_depth).float().mean(),
        "health/pitch_mean_deg": view[:, 0].mean(),
        "health/pitch_std_deg": spread[0],
        "health/yaw_std_deg": spread[1],
        "health/roll_std_deg": spread[2],
        "health/saturated_share": (unit.abs() > SATURATED).float().mean(),
    }
