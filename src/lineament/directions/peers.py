"""Directions by other methods, behind one interface."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lineament.checkpoints.ours import network_fingerprint
from lineament.errors import ConfigError
from lineament.estimators.ganspace import GANSpaceActivations, GANSpaceW
from lineament.estimators.interfacegan import InterFaceGAN
from lineament.estimators.random_directions import RandomDirections
from lineament.estimators.sefa import SeFa
from lineament.estimators.supervised_directions import SupervisedDirections
from lineament.faces.labelled import MAPPED_AT_A_TIME, LabelledSamples, sample_w
from lineament.faces.subjects import parse_seeds
from lineament.networks.stylegan.generator import Generator
from lineament.networks.stylegan.style_weights import first_activations, style_weights
from lineament.records.found_directions import FoundDirections
from lineament.records.peer_settings import Method, PeerSettings


@dataclass(frozen=True)
class PeerAnswer:
    """Result of a method, before it is put into the common form.

    Attributes:
        steps: of w, one row for each direction.
        names: of the attributes; None for components.
        units: of the attributes.
        samples: number of samples used.
        labels: number of labels used.
        seconds: time spent on labelled samples before.
        layers: indices of the layers that the steps move; None for all.
        facts: further entries of the provenance.
    """

    steps: Float[np.ndarray, "k d"]
    names: tuple[str, ...] | None = None
    units: tuple[str, ...] = ()
    samples: int = 0
    labels: int = 0
    seconds: float = 0.0
    layers: tuple[int, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def ganspace_w(generator: Generator, settings: PeerSettings, _: None) -> PeerAnswer:
    """Principal components of w."""
    w = sample_w(generator, settings.seed, settings.samples, settings.truncation)
    fit = GANSpaceW(settings.components).fit(w)
    return PeerAnswer(fit.steps_, samples=len(w), facts={"var_ratio": fit.var_ratio_.tolist()})


def ganspace_activations(generator: Generator, settings: PeerSettings, _: None) -> PeerAnswer:
    """Principal components of the first layer's activations, carried back to w."""
    w = sample_w(generator, settings.seed, settings.samples, settings.truncation)
    like = generator.mapping.w_avg
    parts = [torch.from_numpy(some).to(like) for some in np.split(w, range(MAPPED_AT_A_TIME, len(w), MAPPED_AT_A_TIME))]
    activations = np.concatenate([first_activations(generator, part).float().cpu().numpy() for part in parts])
    fit = GANSpaceActivations(settings.components).fit(activations, w)
    return PeerAnswer(fit.steps_, samples=len(w), facts={"var_ratio": fit.var_ratio_.tolist()})


def sefa(generator: Generator, settings: PeerSettings, _: None) -> PeerAnswer:
    """Eigenvectors of the style weights."""
    weights = [layer.double().cpu().numpy() for layer in style_weights(generator)]
    layers = None if settings.layers is None else tuple(sorted(set(parse_seeds(settings.layers, what="layers"))))
    if layers is not None and layers[-1] >= len(weights):
        raise ConfigError(
            f"layer {layers[-1]} was asked for, expected some of 0-{len(weights) - 1}, those of the generator"
        )
    fit = SeFa(settings.components).fit(weights if layers is None else [weights[layer] for layer in layers])
    return PeerAnswer(fit.steps_, layers=layers, facts={"eigenvalues": fit.eigenvalues_.tolist()})


def interfacegan(_: Generator, settings: PeerSettings, labelled: LabelledSamples) -> PeerAnswer:
    """Normals of hyperplanes between labelled samples."""
    estimator = InterFaceGAN(settings.share, conditional=settings.conditional, seed=settings.seed)
    fit = estimator.fit(labelled.w, labelled.labels, labelled.names)
    facts = {"share": settings.share, "conditional": settings.conditional, "accuracy": fit.accuracy_.tolist()}
    return _of_labelled(fit.steps_, labelled, ("",) * len(labelled.names), facts)


def supervised(_: Generator, settings: PeerSettings, labelled: LabelledSamples) -> PeerAnswer:
    """Regression of the labels on w."""
    fit = SupervisedDirections(hold=settings.hold).fit(labelled.w, labelled.labels, labelled.names)
    facts = {"hold": settings.hold, "r2": fit.model_.r2_.tolist()}
    return _of_labelled(fit.steps_, labelled, labelled.units, facts)


def _of_labelled(
    steps: Float[np.ndarray, "m d"], labelled: LabelledSamples, units: tuple[str, ...], facts: dict[str, Any]
) -> PeerAnswer:
    return PeerAnswer(
        steps,
        names=labelled.names,
        units=units,
        samples=len(labelled.w),
        labels=labelled.labels.size,
        seconds=labelled.seconds,
        facts={**facts, "labels": labelled.origin},
    )


def random_directions(generator: Generator, settings: PeerSettings, _: None) -> PeerAnswer:
    """Directions drawn at random."""
    w = sample_w(generator, settings.seed, settings.samples, settings.truncation)
    return PeerAnswer(RandomDirections(settings.components, seed=settings.seed).fit(w).steps_, samples=len(w))


@dataclass(frozen=True)
class Peer:
    """One method.

    Attributes:
        title: its name in tables.
        needs_labels: whether its function needs labelled samples.
        find: the function.
    """

    title: str
    needs_labels: bool
    find: Callable[[Generator, PeerSettings, Any], PeerAnswer]


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
        method: name of the method.
        generator: where to find directions.
        settings: of all methods; each method uses those that apply to it.
        labelled: samples with labels, for the methods that need them.

    Raises:
        ConfigError: no labels, settings out of range, too few samples, labels of one class, or a generator without
            the weights or activations that the method uses.
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
