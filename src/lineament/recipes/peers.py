"""Find a generator's directions by the methods of others: an atlas for `lineament edit`, and the common form.

A new method is an estimator, a function that hands it what it asks of the generator, and one entry of `PEERS`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float
from rich.console import RenderableType

from lineament.errors import ConfigError, InputError
from lineament.estimators.ganspace import GANSpaceActivations, GANSpaceW
from lineament.estimators.interfacegan import InterFaceGAN
from lineament.estimators.random_directions import RandomDirections
from lineament.estimators.sefa import SeFa
from lineament.estimators.supervised_directions import SupervisedDirections
from lineament.networks.generator import Generator
from lineament.networks.style_weights import first_activations, style_weights
from lineament.recipes.devices import Devices, make_fabric
from lineament.recipes.direction_bench import chosen_columns
from lineament.recipes.found_atlas import atlas_of_found
from lineament.recipes.inspect_file import facts_table
from lineament.recipes.labelled_samples import (
    MAPPED_AT_A_TIME,
    LabelledSamples,
    judge_labeller,
    label_samples,
    labels_from_table,
    only,
    sample_w,
)
from lineament.recipes.models import load_judge, network_fingerprint
from lineament.recipes.open_checkpoint import open_generator
from lineament.recipes.shipped import PAIR, Pair, shipped_path
from lineament.recipes.subjects import parse_seeds
from lineament.records.found_directions import FoundDirections
from lineament.store.atlas import save_atlas

Method = Literal["ganspace-w", "ganspace-activations", "sefa", "interfacegan", "supervised", "random"]


@dataclass(frozen=True)
class PeerSettings:
    """What the methods can be told; each takes what concerns it."""

    samples: int = 10000
    """Samples of w for those that look at samples; those with labels take all that are labelled."""
    truncation: float = 0.5
    """Truncation at which w is sampled; 1 is none."""
    seed: int = 0
    """Of the samples, and of what is drawn."""
    components: int = 32
    """Directions of those that are not told what to look for."""
    layers: str | None = None
    """Layers whose style weights SeFa takes, and that its directions move, such as 0-3; all if not given."""
    share: float = 0.02
    """Of the labelled samples that InterFaceGAN takes as positive, and as many as negative ones."""
    conditional: bool = False
    """Free every direction of InterFaceGAN of all its others."""
    hold: bool = True
    """Keep all other labels fixed in the supervised directions."""

    def __post_init__(self) -> None:
        if self.samples < 2 or self.components < 1:
            raise ConfigError(
                f"samples are {self.samples} and components {self.components}, expected at least 2 and at least 1"
            )
        if not 0 < self.truncation <= 1:
            raise ConfigError(f"truncation is {self.truncation}, expected above 0 and at most 1")


@dataclass(frozen=True)
class Found:
    """What a method gives, before it is put into the common form.

    Attributes:
        steps: of w, one row for each direction.
        names: of the attributes; None for components.
        units: of the names.
        samples: that were looked at.
        labels: that were used.
        seconds: spent before, on labelled samples.
        layers: that the steps are for; None for all.
        facts: for the provenance.
    """

    steps: Float[np.ndarray, "k d"]
    names: tuple[str, ...] | None = None
    units: tuple[str, ...] = ()
    samples: int = 0
    labels: int = 0
    seconds: float = 0.0
    layers: tuple[int, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def ganspace_w(generator: Generator, settings: PeerSettings, _: None) -> Found:
    """Principal components of w."""
    w = sample_w(generator, settings.seed, settings.samples, settings.truncation)
    fit = GANSpaceW(settings.components).fit(w)
    return Found(fit.steps_, samples=len(w), facts={"var_ratio": fit.var_ratio_.tolist()})


def ganspace_activations(generator: Generator, settings: PeerSettings, _: None) -> Found:
    """Principal components of the first layer's activations, carried back to w."""
    w = sample_w(generator, settings.seed, settings.samples, settings.truncation)
    like = generator.mapping.w_avg
    parts = [torch.from_numpy(some).to(like) for some in np.split(w, range(MAPPED_AT_A_TIME, len(w), MAPPED_AT_A_TIME))]
    activations = np.concatenate([first_activations(generator, part).float().cpu().numpy() for part in parts])
    fit = GANSpaceActivations(settings.components).fit(activations, w)
    return Found(fit.steps_, samples=len(w), facts={"var_ratio": fit.var_ratio_.tolist()})


def sefa(generator: Generator, settings: PeerSettings, _: None) -> Found:
    """Eigenvectors of the style weights."""
    weights = [layer.double().cpu().numpy() for layer in style_weights(generator)]
    layers = None if settings.layers is None else tuple(sorted(set(parse_seeds(settings.layers, what="layers"))))
    if layers is not None and layers[-1] >= len(weights):
        raise ConfigError(
            f"layer {layers[-1]} was asked for, expected some of 0-{len(weights) - 1}, those of the generator"
        )
    fit = SeFa(settings.components).fit(weights if layers is None else [weights[layer] for layer in layers])
    return Found(fit.steps_, layers=layers, facts={"eigenvalues": fit.eigenvalues_.tolist()})


def interfacegan(_: Generator, settings: PeerSettings, labelled: LabelledSamples) -> Found:
    """Normals of hyperplanes between labelled samples."""
    estimator = InterFaceGAN(settings.share, conditional=settings.conditional, seed=settings.seed)
    fit = estimator.fit(labelled.w, labelled.labels, labelled.names)
    facts = {"share": settings.share, "conditional": settings.conditional, "accuracy": fit.accuracy_.tolist()}
    return _of_labelled(fit.steps_, labelled, ("",) * len(labelled.names), facts)


def supervised(_: Generator, settings: PeerSettings, labelled: LabelledSamples) -> Found:
    """Regression of the labels on w."""
    fit = SupervisedDirections(hold=settings.hold).fit(labelled.w, labelled.labels, labelled.names)
    facts = {"hold": settings.hold, "r2": fit.model_.r2_.tolist()}
    return _of_labelled(fit.steps_, labelled, labelled.units, facts)


def _of_labelled(
    steps: Float[np.ndarray, "m d"], labelled: LabelledSamples, units: tuple[str, ...], facts: dict[str, Any]
) -> Found:
    return Found(
        steps,
        names=labelled.names,
        units=units,
        samples=len(labelled.w),
        labels=labelled.labels.size,
        seconds=labelled.seconds,
        facts={**facts, "labels": labelled.origin},
    )


def random_directions(generator: Generator, settings: PeerSettings, _: None) -> Found:
    """Directions drawn at random."""
    w = sample_w(generator, settings.seed, settings.samples, settings.truncation)
    return Found(RandomDirections(settings.components, seed=settings.seed).fit(w).steps_, samples=len(w))


@dataclass(frozen=True)
class Peer:
    """One method.

    Attributes:
        title: what tables call it.
        needs_labels: whether its function asks for labelled samples.
        find: the function.
    """

    title: str
    needs_labels: bool
    find: Callable[[Generator, PeerSettings, Any], Found]


PEERS: dict[Method, Peer] = {
    "ganspace-w": Peer("GANSpace (w)", False, ganspace_w),
    "ganspace-activations": Peer("GANSpace (activations)", False, ganspace_activations),
    "sefa": Peer("SeFa", False, sefa),
    "interfacegan": Peer("InterFaceGAN", True, interfacegan),
    "supervised": Peer("supervised", True, supervised),
    "random": Peer("random", False, random_directions),
}
"""Every method by its name on the command line."""


def find_directions(
    method: Method, generator: Generator, settings: PeerSettings, labelled: LabelledSamples | None = None
) -> FoundDirections:
    """A generator's directions by one method.

    Args:
        method: which.
        generator: whose directions.
        settings: of the method.
        labelled: samples with labels, for the methods that need them.

    Raises:
        ConfigError: no labels, settings out of range, too few samples, labels of one class, or a generator that lacks
            what the method looks at.
    """
    peer = PEERS[method]
    if peer.needs_labels and labelled is None:
        raise ConfigError(f"{peer.title} learns from labels, but none were given; add --labels or --judge")
    if labelled is not None and labelled.w.shape[1] != generator.config.w_dim:
        raise ConfigError(f"labelled w of width {labelled.w.shape[1]}, expected {generator.config.w_dim}")
    began = time.monotonic()
    found = peer.find(generator, settings, labelled if peer.needs_labels else None)
    seconds = found.seconds + time.monotonic() - began
    count, layers = len(found.steps), list(range(generator.num_ws)) if found.layers is None else list(found.layers)
    steps = np.zeros((count, generator.num_ws, generator.config.w_dim))
    steps[:, layers] = found.steps[:, None]
    return FoundDirections(
        method=peer.title,
        names=found.names or tuple(f"component {i}" for i in range(count)),
        steps=steps,
        units=found.units or ("",) * count,
        labels_used=found.labels,
        samples_used=found.samples,
        seconds=seconds,
        generator_fingerprint=network_fingerprint(generator),
        provenance={"seed": settings.seed, "truncation": settings.truncation, **found.facts},
    )


@dataclass(frozen=True)
class PeersConfig:
    """Find a generator's directions by the methods of others, for comparison.

    The atlas holds the methods' own steps, which ``lineament edit`` takes as they are, holding nothing: "component
    0=+3" moves w by three of them.

    Example: ``lineament peers --method sefa --generator faces.safetensors --out sefa.safetensors``
    """

    method: Method
    """Whose: GANSpace's components of w or of the first layer's activations, SeFa, InterFaceGAN, least squares of true
    labels, or random ones."""
    out: Path
    """Atlas to write."""
    generator: Path | None = None
    """Generator; the shipped one if not given."""
    pair: Pair = PAIR
    """Shipped networks that stand in for a generator not given."""
    labels: Path | None = None
    """CSV of labels: each row the number of an image of the seed, then a number for each attribute."""
    judge: Path | None = None
    """Judge that labels --samples images, instead of a table of labels."""
    attributes: tuple[str, ...] = ()
    """Labels to learn from, such as yaw smile; all of the table, or all that the judge reads well, if not given."""
    settings: Annotated[PeerSettings, tyro.conf.arg(name="")] = field(default_factory=PeerSettings)
    """Of the method."""
    class_number: int | None = None
    """Class whose faces are sampled, of a generator with classes."""
    devices: Annotated[Devices, tyro.conf.arg(name="on")] = field(default_factory=Devices)
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ConfigError(f"--out is {self.out}, expected a name in .safetensors")
        if self.labels is not None and self.judge is not None:
            raise ConfigError("--labels and --judge both say what is in the images; give one of them")
        if not self.out.absolute().parent.is_dir():
            raise InputError(f"the folder {self.out.parent} does not exist; create it or choose another --out")


@dataclass(frozen=True, eq=False)
class PeersResult:
    """What was found, and where it lies."""

    found: FoundDirections
    path: Path

    def renderables(self) -> list[RenderableType]:
        """For standard output."""
        names = self.found.names
        shown = ", ".join(names[:8]) + (f" ... {names[-1]}" if len(names) > 8 else "")
        facts = {
            "directions": f"{len(names)}: {shown}",
            "samples": f"{self.found.samples_used:,}",
            "labels": f"{self.found.labels_used:,}",
            "seconds": f"{self.found.seconds:.1f}",
        }
        return [facts_table(self.found.method, facts), str(self.path)]


def labels_of(config: PeersConfig, generator: Generator) -> LabelledSamples | None:
    """Labelled samples from the table or from the judge; None without either.

    Raises:
        InputError, FileFormatError, DataError: the file cannot be read.
        ConfigError: an attribute that is named is not among the labels.
    """
    settings = config.settings
    if config.labels is not None:
        labelled = labels_from_table(generator, config.labels, settings.seed, settings.truncation)
    elif config.judge is not None:
        judge = load_judge(config.judge, generator.mapping.w_avg.device)
        labeller = judge_labeller(judge, range(len(judge.names)))
        sampled = (settings.seed, settings.samples, settings.truncation)
        labelled = label_samples(generator, labeller, *sampled, origin=config.judge.name)
        if not config.attributes:
            spread = labelled.labels.std(axis=0) / judge.std.double().cpu().numpy()
            return only(labelled, [judge.names[i] for i in chosen_columns(judge, spread)])
    else:
        return None
    return only(labelled, config.attributes) if config.attributes else labelled


def run(config: PeersConfig) -> PeersResult:
    """Find directions and write them as an atlas.

    Raises:
        ConfigError: as `find_directions`.
        InputError, FileFormatError, DataError: the generator or the labels cannot be read.
        StorageError: the disk refused.
    """
    settings = config.settings
    device = make_fabric(config.devices).device
    generator = open_generator(config.generator or shipped_path("generator.safetensors", config.pair), device)
    generator.choose_class(config.class_number)
    labelled = labels_of(config, generator) if PEERS[config.method].needs_labels else None
    found = find_directions(config.method, generator, settings, labelled)
    atlas = atlas_of_found(
        found, generator, seed=settings.seed, samples=settings.samples, truncation=settings.truncation
    )
    save_atlas(config.out, atlas)
    return PeersResult(found, config.out)
