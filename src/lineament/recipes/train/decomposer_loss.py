"""What a decomposer is trained to do: put each image together again; and the numbers that say whether it is healthy.

Source:
    Wu et al., "Unsupervised Learning of Probably Symmetric Deformable 3D Objects from Images in the Wild", CVPR 2020,
    Equations 3 to 6. Deviations, all switchable: the gradients at contours are bounded; where the canonical maps are
    symmetric by construction, the reconstruction from mirrored maps is cheaper (symmetric depth: one rasterisation for
    both) or left out (both symmetric: it would be the same image).
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
from lineament.ops.warp import warp_image
from lineament.records.decomposition import Decomposition
from lineament.settings.train_decomposer import LossConfig

VIEW_SPREAD = (math.radians(10), math.radians(20), math.radians(5), 0.004, 0.004, 0.0)
"""Standard deviations of pitch, yaw and roll, and of the translation (2 % of the image's width), of rendered views."""

LIGHT_RANGE = ((0.2, 0.7), (0.2, 0.8), (-0.9, 0.9), (-0.9, 0.9))
"""Ends of ambient, diffuse and light direction of rendered lights."""

CYCLE_STRIDE = 2
"""Of a batch, every so many faces are rendered anew for the cycle: view and light learn as much from half of them."""

SATURATED = 0.95
"""An output of tanh beyond this has next to no gradient left."""


LATENT_SHARES = (1.0, 0.15)
"""Weights of albedo and depth in `latent_loss`. The depth needs little: more makes it worse on known shapes."""

LATENT_LEAST = (0.02, 1e-4)
"""Added to the differences of faces in albedo and depth: while all are alike, agreeing is worth little."""


@dataclass(frozen=True)
class Reconstruction:
    """Images put together again: from the canonical maps, and from their mirror images unless these are the same."""

    parts: Decomposition
    straight: Float[Tensor, "n 3 h w"]
    mirrored: Float[Tensor, "n 3 h w"] | None
    mask: Bool[Tensor, "n h w"]


@dataclass(frozen=True)
class TrueParts:
    """What images really consist of, for training with the truth; ``mask`` is where the canonical maps are known."""

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
    """The published loss (Wu et al., Equations 3 to 6) and our terms; and what `health_values` says, as numbers.

    ``moved`` are the faces of the first images in another pose or light.
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
        # Where the surface is not seen the target's own pixels stand in, so that the holes carry no error.
        filled = [torch.where(made.mask[:, None], recon, images) for recon in recons]
        maps = features(torch.cat(filled)).split(len(images))
        small = downsample_mask(made.mask, target.shape[-1])
        likelihoods = [gaussian_loss(target, m, feature_sigma[:, i], small) for i, m in enumerate(maps)]
        terms["loss/features"] = likelihoods[0]
        loss = loss + config.perceptual_weight * sum(w * x for w, x in zip(weights, likelihoods, strict=False))
    if config.cycle_weight:
        terms["loss/cycle"] = cycle_loss(decomposer, made.parts, rng)
        loss = loss + config.cycle_weight * terms["loss/cycle"]
    if moved is not None and config.latent_weight:
        terms["loss/latent"] = latent_loss(decomposer, made.parts, moved)
        loss = loss + config.latent_weight * terms["loss/latent"]
    terms["loss/total"] = loss
    terms |= health_values(decomposer, made, images)
    # One transfer for all numbers: on an accelerator each costs a wait.
    return loss, dict(zip(terms, torch.stack([t.detach().float() for t in terms.values()]).tolist(), strict=True))


def random_views_and_lights(
    n: int, rng: torch.Generator, decomposer: Decomposer
) -> tuple[Float[Tensor, "n 6"], Float[Tensor, "n 4"]]:
    """Views and lights such as portraits have, and wider."""
    view = torch.randn(n, 6, generator=rng) * torch.tensor(VIEW_SPREAD)
    limit = 0.9 * math.radians(decomposer.config.max_rotation_deg)  # tanh does not reach its ends
    view[:, :3] = view[:, :3].clamp(-limit, limit)
    low, high = torch.tensor(LIGHT_RANGE).unbind(1)
    light = low + (high - low) * torch.rand(n, 4, generator=rng)
    return view.to(decomposer.tilt.device), light.to(decomposer.tilt.device)


def cycle_loss(decomposer: Decomposer, parts: Decomposition, rng: torch.Generator) -> Float[Tensor, ""]:
    """How wrong view and light are about images whose view and light are known, because we rendered them.

    The reconstruction alone learns to turn too little: while the canonical face is blurred or wrong, half a turn costs
    less than a whole one, and then the depth grows to make up for it (the bas-relief ambiguity). Here the answer is
    known, so nothing is gained by hedging. The canonical maps are taken as they are; only the view and light networks
    learn from this.
    """
    maps = (parts.canon_depth.detach()[::CYCLE_STRIDE], parts.canon_albedo.detach()[::CYCLE_STRIDE])
    view, light = random_views_and_lights(len(maps[0]), rng, decomposer)
    with torch.no_grad():
        seen = render(Decomposition(*maps, view, light), decomposer.camera)
        # Where no surface is seen the warp fetches a second, displaced face.
        mean = seen.recon_image.mean(dim=(2, 3), keepdim=True)
        image = torch.where(seen.recon_mask[:, None], seen.recon_image, mean).clamp(-1, 1)
    unit = view.new_tensor(VIEW_SPREAD[:5])
    turned = ((decomposer.view(image) - view)[:, :5] / unit).abs().mean()
    return turned + (decomposer.light(image) - light).abs().mean()


def latent_loss(decomposer: Decomposer, parts: Decomposition, moved: Float[Tensor, "k 3 h w"]) -> Float[Tensor, ""]:
    """How much albedo and canonical depth change when a generator turns or relights a face: they should not.

    Mean absolute changes, as shares of the difference between two faces: asked for small changes alone, albedo and
    shape become alike for all faces. 0 for a single face, which has no other to differ from.
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
    """The same networks trained with the truth: an upper bound to measure against, not a way to train.

    Each part's mean absolute error in a unit of about its spread: one percent of depth, 0.1 of albedo and light, ten
    degrees of view.
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
    """Numbers that tell a healthy decomposition from a collapsed one; the loss alone does not.

    Returns:
        Scalars: mean absolute error of the compared pixels and their share, spread of the depth within a face, share
        of faces whose nose is nearer than their cheeks, mean and spread of the angles in degrees over the batch, share
        of view and light outputs that are `SATURATED`.
    """
    parts, config = made.parts, decomposer.config
    view = torch.rad2deg(parts.view[:, :3])
    spread = view.std(dim=0, correction=min(len(view) - 1, 1))  # the deviation of a single face is 0, not NaN
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
