"""Turn checkpoints of other programs into our networks: find out family and layout, and choose among several."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lineament.checkpoints.building import build_checked
from lineament.errors import FileFormatError
from lineament.networks.layouts import stylegan1 as stylegan1_layout
from lineament.networks.layouts import stylegan2 as stylegan2_layouts
from lineament.networks.layouts import stylegan3 as stylegan3_layout
from lineament.networks.layouts.cousins import LOOKALIKES, STRANGERS, cousin_of, rectangle
from lineament.networks.layouts.discriminator import (
    discriminator_from_genforce,
    discriminator_from_nvidia,
    discriminator_from_rosinality,
    discriminator_from_tensorflow,
)
from lineament.networks.layouts.renamed import (
    nvidia_from_hammer,
    rosinality_from_basicsr,
    rosinality_from_mmgeneration,
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

_FEW = 4
_NONSENSE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What readers of layouts raise when a file does not hold what its names promise."""
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
        lacks: name of a tensor that a similar layout has and this one does not.
    """

    name: str
    sign: str
    build: Callable[[Any], nn.Module]
    read: Reader
    lacks: str = ""


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
        "StyleGAN2, BasicSR",
        "style_convs.0.modulated_conv.modulation.weight",
        StyleGAN2,
        lambda n, c: stylegan2_layouts.generator_from_rosinality(rosinality_from_basicsr(n.tensors), _latent_avg(n, c)),
    ),
    Layout(
        "StyleGAN2, MMGeneration",
        "convs.0.conv.style_modulation.linear.weight_orig",
        StyleGAN2,
        lambda n, c: stylegan2_layouts.generator_from_rosinality(
            rosinality_from_mmgeneration(n.tensors), _latent_avg(n, c)
        ),
    ),
    Layout(
        "StyleGAN2, Hammer",
        "synthesis.early_layer.const",
        StyleGAN2,
        lambda n, c: stylegan2_layouts.generator_from_nvidia(nvidia_from_hammer(n.tensors), {}, {}),
        lacks="truncation.w_avg",
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
    """Settings of a TensorFlow network and of its components, and the function that built it, in one dict."""
    settings: dict[str, Any] = {"build_func_name": network.class_name}
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


@dataclass(frozen=True)
class _Candidate:
    """Tensors of a checkpoint that have the names of a layout."""

    whole: ForeignNetwork
    prefix: str
    layout: Layout

    @property
    def is_averaged(self) -> bool:
        """Whether its name says that its weights are averages over the training."""
        return any(_AVERAGED.search(part) for part in _role_under(self.whole, self.prefix).split("."))


_AVERAGED = re.compile(r"(^|_)ema($|_)|^Gs$|^GE$|smooth|average", re.IGNORECASE)
_WITHIN = re.compile(r"(^|[./])(G_)?(synthesis|mapping)[./]$")
"""Prefixes of the parts of a generator, some of whose layers are called like a discriminator's."""
_WRAPPERS = frozenset({"module", "_orig_mod"})
"""Parts of names that DataParallel and torch.compile put before the names within."""


def _candidates(network: ForeignNetwork, layouts: tuple[Layout, ...]) -> list[_Candidate]:
    """All networks of known layouts among the tensors of a network, under any prefix ("decoder.", "G_ema.module.")."""
    network = _without_wrappers(network)
    names = dict.fromkeys((*network.tensors, *network.unread))
    found: list[_Candidate] = []
    for layout in layouts:
        ends = [name.removesuffix(layout.sign) for name in names if name.endswith(layout.sign)]
        prefixes = [end for end in ends if not end or (end[-1] in "./" and not _WITHIN.search(end))]
        found += [
            _Candidate(network, prefix, layout)
            for prefix in prefixes
            if not (layout.lacks and f"{prefix}{layout.lacks}" in names)
        ]
    return found


def _without_wrappers(network: ForeignNetwork) -> ForeignNetwork:
    """The network within DataParallel, torch.compile and the like."""
    modules = _unwrapped(network.module_settings)
    own = modules.get("", {}).get("_init_kwargs")
    return replace(
        network,
        tensors=_unwrapped(network.tensors),
        unread=_unwrapped(network.unread),
        module_settings=modules,
        settings=own if isinstance(own, dict) else network.settings,
    )


def _unwrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under their names without wrappers, and without the "G_" that some programs put before them."""
    named = {".".join(p for p in name.split(".") if p not in _WRAPPERS): value for name, value in values.items()}
    return {re.sub(r"^G_(?=[^.]*/|mapping\.|synthesis\.)", "", name): value for name, value in named.items()}


def _under(network: ForeignNetwork, prefix: str) -> ForeignNetwork:
    """The part of a network whose names begin with a prefix."""
    if not prefix:
        return network
    size, path = len(prefix), prefix.rstrip("./")
    return replace(
        network,
        role=_role_under(network, prefix),
        tensors={name[size:]: value for name, value in network.tensors.items() if name.startswith(prefix)},
        unread={name[size:]: value for name, value in network.unread.items() if name.startswith(prefix)},
        module_settings={
            name[size:]: value for name, value in network.module_settings.items() if f"{name}.".startswith(prefix)
        },
        settings=network.module_settings.get(path, {}).get("_init_kwargs") or {},
    )


def _role_under(network: ForeignNetwork, prefix: str) -> str:
    return ".".join(part for part in (network.role, prefix.rstrip("./")) if part)


def _find(checkpoint: ForeignCheckpoint, layouts: tuple[Layout, ...]) -> ForeignModel | None:
    """The first network that has one of the layouts, averaged ones first.

    Raises:
        FileFormatError: it has missing, extra or unread tensors, or settings that are not supported.
    """
    found = [candidate for network in checkpoint.networks.values() for candidate in _candidates(network, layouts)]
    if not found:
        return None
    chosen = max(found, key=lambda candidate: candidate.is_averaged)
    network, layout = _under(chosen.whole, chosen.prefix), chosen.layout
    for name, why in network.unread.items():
        shown = f"{network.role}: {name}" if network.role else name
        raise FileFormatError(f"{checkpoint.path}: the tensor {shown!r:.200} is not read: {why}")
    try:
        config, state = layout.read(network, checkpoint)
    except _NONSENSE as error:
        raise FileFormatError(
            f"{checkpoint.path}: the names, shapes or settings of its {layout.name} network make no sense "
            f"({error!s:.200}); the file is damaged, get it again"
        ) from error
    built = build_checked(checkpoint.path, layout.build, config, state)
    return ForeignModel(built.eval().requires_grad_(False), layout.name, network.role)


@torch.no_grad()
def fill_mean_w(generator: Generator) -> None:
    """Set the mean w to the average over `MEAN_SAMPLES` latents, for files that lack it."""
    ws = [generator.mapping(latents(0, range(i, i + 512), generator.config.z_dim)) for i in range(0, MEAN_SAMPLES, 512)]
    generator.mapping.w_avg.copy_(torch.cat(ws).mean(dim=0))


def generator_of(checkpoint: ForeignCheckpoint) -> ForeignModel | None:
    """The averaged generator of a checkpoint, else any other; None if there is none of a known layout.

    Raises:
        FileFormatError: it has missing, extra or unread tensors, or it is of a program that is not read.
    """
    _refuse_lookalikes(checkpoint)
    found = _find(checkpoint, GENERATORS)
    if found is None or not isinstance(found.network, Generator):
        return None
    notes: list[str] = []
    if not bool(found.network.mapping.w_avg.any()) and not found.network.config.c_dim:
        fill_mean_w(found.network)
        notes.append(f"the file has no mean w; that of {MEAN_SAMPLES} latents was taken")
    noises = [value for name, value in found.network.state_dict().items() if name.endswith("noise_const")]
    if noises and not any(bool(noise.any()) for noise in noises):
        notes.append("the file has no noise maps; images are drawn without noise")
    return replace(found, notes=tuple(notes))


def _refuse_lookalikes(checkpoint: ForeignCheckpoint) -> None:
    """Raise FileFormatError for networks that only look like a StyleGAN, and for rectangular ones."""
    for network in checkpoint.networks.values():
        cousin = cousin_of([*_unwrapped(network.tensors), *_unwrapped(network.unread)], LOOKALIKES)
        if cousin is not None:
            raise FileFormatError(f"{checkpoint.path} holds {cousin.name}, which is not read: {cousin.advice}")
        # StyleGAN-Human's StyleGAN3 has no constant that would show it, but it says so.
        sides = (2, 1) if network.settings.get("square") is False else rectangle(network.tensors)
        if sides is not None:
            ratio = f"{sides[0] // math.gcd(*sides)}:{sides[1] // math.gcd(*sides)}"  # height to width
            raise FileFormatError(
                f"{checkpoint.path} draws rectangles {ratio}, which are not read: name a StyleGAN with square images"
            )


def discriminator_of(checkpoint: ForeignCheckpoint) -> ForeignModel | None:
    """The discriminator of a checkpoint; None if there is none of a known layout.

    Raises:
        FileFormatError: it has missing, extra or unread tensors.
    """
    return _find(checkpoint, DISCRIMINATORS)


def what_it_holds(checkpoint: ForeignCheckpoint) -> str:
    """A short description of a checkpoint that we cannot use, for messages."""
    names = [name for network in checkpoint.networks.values() for name in (*network.tensors, *network.unread)]
    if not names:
        return "no tensors"
    if (cousin := cousin_of(_unwrapped(dict.fromkeys(names)), STRANGERS)) is not None:
        return f"{cousin.name}, which is not read: {cousin.advice}"
    shapes = {tuple(tensor.shape) for network in checkpoint.networks.values() for tensor in network.tensors.values()}
    if len(names) <= _FEW and all(len(shape) in (2, 3) and min(shape) for shape in shapes):
        shown = ", ".join(f"{name!r:.40}" for name in names[:2])
        return f"tensors such as {shown} alone, perhaps latents; name the generator they belong to"
    shown = ", ".join(f"{name!r:.80}" for name in names[:2])
    return f"{len(names)} tensors of another network (such as {shown}), not those of a StyleGAN of a known layout"
