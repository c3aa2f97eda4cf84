"""Turn checkpoints of other programs into our networks: find out family and layout, and choose among several."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lineament.checkpoints.ours import load_weights
from lineament.networks.layouts import stylegan1 as stylegan1_layout
from lineament.networks.layouts import stylegan2 as stylegan2_layouts
from lineament.networks.layouts import stylegan3 as stylegan3_layout
from lineament.networks.layouts.discriminator import (
    discriminator_from_genforce,
    discriminator_from_nvidia,
    discriminator_from_rosinality,
    discriminator_from_tensorflow,
)
from lineament.networks.stylegan.discriminator import Discriminator
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.progressive_discriminator import ProgressiveDiscriminator
from lineament.networks.stylegan.stylegan1 import StyleGAN1
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.networks.stylegan.stylegan3 import StyleGAN3
from lineament.ops.seeding import latents
from lineament.records.checkpoint import ForeignCheckpoint, ForeignNetwork

Built: TypeAlias = tuple[Any, dict[str, Tensor]]
Reader: TypeAlias = Callable[[ForeignNetwork, ForeignCheckpoint], Built]

GENERATOR_ROLES = ("G_ema", "Gs", "g_ema", "generator_smooth", "generator_ema", "G", "g", "generator", "")
DISCRIMINATOR_ROLES = ("D", "d", "discriminator", "")
"""Names of the networks in files, in order of preference: the averaged generator first."""

MEAN_SAMPLES = 4096
"""Number of latents averaged to compute the mean w if a file lacks it."""


@dataclass(frozen=True)
class Layout:
    """One way in which a program stores one kind of network.

    Attributes:
        name: of the layout.
        sign: name of a tensor that no other layout has.
        build: makes our network from its settings.
        read: gives settings and tensors under our names.
    """

    name: str
    sign: str
    build: Callable[[Any], nn.Module]
    read: Reader


def _latent_avg(network: ForeignNetwork, checkpoint: ForeignCheckpoint) -> Tensor | None:
    found = checkpoint.extras.get("latent_avg")
    return found if isinstance(found, Tensor) else None


GENERATORS = (
    Layout(
        "StyleGAN3, official",
        "synthesis.input.freqs",
        StyleGAN3,
        lambda n, c: stylegan3_layout.from_nvidia(n.tensors, n.settings, n.module_settings),
    ),
    Layout(
        "StyleGAN2, official PyTorch",
        "synthesis.b4.const",
        StyleGAN2,
        lambda n, c: stylegan2_layouts.generator_from_nvidia(n.tensors, n.settings, n.module_settings),
    ),
    Layout(
        "StyleGAN2, official TensorFlow",
        "synthesis/4x4/Conv/mod_weight",
        StyleGAN2,
        lambda n, c: stylegan2_layouts.generator_from_tensorflow(n.tensors, tensorflow_settings(n)),
    ),
    Layout(
        "StyleGAN, official TensorFlow",
        "synthesis/4x4/Const/StyleMod/weight",
        StyleGAN1,
        lambda n, c: stylegan1_layout.generator_from_tensorflow(n.tensors, tensorflow_settings(n)),
    ),
    Layout(
        "StyleGAN2, rosinality",
        "convs.0.conv.modulation.weight",
        StyleGAN2,
        lambda n, c: stylegan2_layouts.generator_from_rosinality(n.tensors, _latent_avg(n, c)),
    ),
    Layout(
        "StyleGAN, genforce",
        "synthesis.layer0.const",
        StyleGAN1,
        lambda n, c: stylegan1_layout.generator_from_genforce(n.tensors),
    ),
    Layout(
        "StyleGAN2, genforce",
        "synthesis.layer0.style.weight",
        StyleGAN2,
        lambda n, c: stylegan2_layouts.generator_from_genforce(n.tensors),
    ),
)
DISCRIMINATORS = (
    Layout(
        "StyleGAN2, official PyTorch",
        "b4.fc.weight",
        Discriminator,
        lambda n, c: discriminator_from_nvidia(n.tensors, n.settings, n.module_settings),
    ),
    Layout(
        "StyleGAN2, official TensorFlow",
        "Output/weight",
        Discriminator,
        lambda n, c: discriminator_from_tensorflow(n.tensors, tensorflow_settings(n)),
    ),
    Layout(
        "StyleGAN, official TensorFlow",
        "4x4/Dense1/weight",
        ProgressiveDiscriminator,
        lambda n, c: stylegan1_layout.discriminator_from_tensorflow(n.tensors, tensorflow_settings(n)),
    ),
    Layout(
        "StyleGAN, genforce",
        "layer1.blur.kernel",
        ProgressiveDiscriminator,
        lambda n, c: stylegan1_layout.discriminator_from_genforce(n.tensors),
    ),
    Layout(
        "StyleGAN2, genforce",
        "layer1.filter.kernel",
        Discriminator,
        lambda n, c: discriminator_from_genforce(n.tensors),
    ),
    Layout(
        "StyleGAN2, rosinality",
        "final_linear.1.weight",
        Discriminator,
        lambda n, c: discriminator_from_rosinality(n.tensors),
    ),
)


def tensorflow_settings(network: ForeignNetwork) -> dict[str, Any]:
    """Settings of a TensorFlow network and of its components, in one dict."""
    settings: dict[str, Any] = {}
    for values in (*network.module_settings.values(), network.settings):
        settings |= values
    return settings


@dataclass(frozen=True)
class ForeignModel:
    """A network of a checkpoint.

    Attributes:
        network: ours, with its weights, on the CPU.
        layout: program and family.
        role: its name in the file.
        notes: what the file lacks, and what is used instead.
    """

    network: nn.Module
    layout: str
    role: str
    notes: tuple[str, ...] = ()


def without_scope(network: ForeignNetwork) -> ForeignNetwork:
    """The network with tensor names without the prefix "G_" that some programs put before them."""
    return replace(network, tensors={name.removeprefix("G_"): tensor for name, tensor in network.tensors.items()})


def find(checkpoint: ForeignCheckpoint, layouts: tuple[Layout, ...], roles: tuple[str, ...]) -> ForeignModel | None:
    """The first network, in the order of ``roles``, that has one of the layouts.

    Raises:
        FileFormatError: a network of a known layout has missing or extra tensors.
    """
    order = [role for role in roles if role in checkpoint.networks]
    order += [role for role in checkpoint.networks if role not in roles]
    for role in order:
        network = without_scope(checkpoint.networks[role])
        for layout in layouts:
            if layout.sign in network.tensors:
                config, state = layout.read(network, checkpoint)
                built = layout.build(config)
                load_weights(checkpoint.path, built, state)
                return ForeignModel(built.eval().requires_grad_(False), layout.name, role)
    return None


@torch.no_grad()
def fill_mean_w(generator: Generator) -> None:
    """Set the mean w to the average over `MEAN_SAMPLES` latents, for files that lack it."""
    ws = [generator.mapping(latents(0, range(i, i + 512), generator.config.z_dim)) for i in range(0, MEAN_SAMPLES, 512)]
    generator.mapping.w_avg.copy_(torch.cat(ws).mean(dim=0))


def generator_of(checkpoint: ForeignCheckpoint) -> ForeignModel | None:
    """The averaged generator of a checkpoint, else any other; None if there is none of a known layout.

    Raises:
        FileFormatError: it has missing or extra tensors.
    """
    found = find(checkpoint, GENERATORS, GENERATOR_ROLES)
    if found is None or not isinstance(found.network, Generator):
        return None
    if bool(found.network.mapping.w_avg.any()) or found.network.config.c_dim:
        return found
    fill_mean_w(found.network)
    return replace(found, notes=(f"the file has no mean w; that of {MEAN_SAMPLES} latents was taken",))


def discriminator_of(checkpoint: ForeignCheckpoint) -> ForeignModel | None:
    """The discriminator of a checkpoint; None if there is none of a known layout.

    Raises:
        FileFormatError: it has missing or extra tensors.
    """
    return find(checkpoint, DISCRIMINATORS, DISCRIMINATOR_ROLES)


DIFFUSION = ("diffusion_model.", "unet.", "down_blocks.", "input_blocks.", "transformer_blocks.")


def what_it_holds(checkpoint: ForeignCheckpoint) -> str:
    """A short description of a checkpoint that we cannot use, for messages."""
    if not checkpoint.networks:
        return "no tensors"
    names = [name for network in checkpoint.networks.values() for name in network.tensors]
    if any(part in name for name in names for part in DIFFUSION):
        return "a diffusion model"
    shown = ", ".join(repr(name) for name in names[:2])
    return f"{len(names)} tensors of another network (such as {shown})"
