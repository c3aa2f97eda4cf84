"""The methods that `evaluate directions` compares; each is a function that finds directions.

To add one, add an entry to `METHODS`. Directions that were found elsewhere need no code: put them into an atlas and
name it by ``--directions``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from lineament.directions.exchange import found_of_atlas
from lineament.directions.peers import PEERS, find_directions
from lineament.directions.solve import uncalibrated_atlas
from lineament.directions.steps import HOLDABLE, calibrated_step
from lineament.errors import ConfigError
from lineament.faces.batch_size import images_at_a_time
from lineament.faces.labelled import LabelledSamples, Labeller, label_samples, only
from lineament.faces.samples import FIT, HELD_OUT, Discovery, batches, sample_and_measure
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.recipes.evaluate.direction_bench import by_layers
from lineament.records.atlas import Atlas
from lineament.records.found_directions import FoundDirections
from lineament.records.peer_settings import Method, PeerSettings

OURS, OURS_CARRIED, OURS_AGAIN = "ours", "ours, carried", "ours, 512 samples"
FEW_SAMPLES, HELD_OUT_SAMPLES = 512, 32
"""Samples for the fit and held out when our own method is run again to measure its cost. No direction depends on the
held-out ones."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Everything that a method may use.

    Attributes:
        generator: the generator whose directions are sought.
        decomposer: trained without labels; only our method uses it.
        atlas: directions that our method found before.
        labeller: gives labels to the methods that need them.
        samples: number of samples for each method that uses samples, and of labelled ones.
        components: number of components of the methods without names.
        seed: seed of the samples.
        labelled: labelled samples by seed, filled by the first method that needs labels and shared with the others.
    """

    generator: Generator
    decomposer: Decomposer
    atlas: Atlas
    labeller: Labeller
    samples: int
    components: int
    seed: int
    labelled: dict[int, LabelledSamples]

    @property
    def layer_groups(self) -> tuple[tuple[int, ...], ...]:
        """The groups of consecutive layers that our parts move."""
        return self.atlas.local.layer_groups if self.atlas.local is not None else ()

    def labels(self) -> LabelledSamples:
        """Labelled samples of this seed; the time to label them counts for every method that uses them."""
        if self.seed not in self.labelled:
            self.labelled[self.seed] = label_samples(
                self.generator, self.labeller, self.seed, self.samples, self.atlas.truncation, "the judge"
            )
        return self.labelled[self.seed]

    def peer(self, method: Method, **changed: object) -> FoundDirections:
        """Directions by another, published method."""
        settings = PeerSettings(
            samples=self.samples,
            truncation=self.atlas.truncation,
            seed=self.seed,
            components=min(self.components, self.generator.config.w_dim),
        )
        labelled = self.labels() if PEERS[method].needs_labels else None
        return find_directions(method, self.generator, replace(settings, **changed), labelled)

    def labels_of(self, names: tuple[str, ...]) -> "Setting":
        """The same setting with only these labels."""
        return replace(self, labelled={self.seed: only(self.labels(), names)})


@dataclass(frozen=True)
class Compared:
    """One row of the tables.

    Attributes:
        find: finds the directions.
        supervised: whether the method uses labels.
        by_chance: whether another seed gives other directions.
        peer: whether it is an unsupervised method of others; our goal is to be better than these.
        carried: whether edits of pose and light are carried (`lineament.faces.carrying`); the directions are those of
            the method of the same name without it.
    """

    find: Callable[[Setting], FoundDirections]
    supervised: bool = False
    by_chance: bool = True
    peer: bool = False
    carried: bool = False


def ours(setting: Setting) -> FoundDirections:
    """Pose, light and parts of the atlas, as `lineament edit` moves along them."""
    return found_of_atlas(setting.atlas)


def ours_again(setting: Setting) -> FoundDirections:
    """Pose and light, found again with the same decomposer from a few samples; no step is calibrated."""
    began = time.monotonic()
    count = min(FEW_SAMPLES, setting.samples)
    found = found_of_atlas(quick_atlas(setting, count))
    return replace(found, seconds=time.monotonic() - began, samples_used=count + HELD_OUT_SAMPLES)


def quick_atlas(setting: Setting, count: int) -> Atlas:
    """Pose and light as `lineament discover` finds them in so many samples, without parts and calibration."""
    generator, decomposer, truncation = setting.generator, setting.decomposer, setting.atlas.truncation
    found, size = Discovery.empty(), images_at_a_time(generator)
    for start, total, add in ((FIT, count, found.add), (HELD_OUT, HELD_OUT_SAMPLES, found.held_out.update)):
        for numbers in batches(start, 0, total, size):
            w, y = sample_and_measure(generator, decomposer, setting.seed, numbers, truncation)
            add(w.double().cpu().numpy(), y)
    return uncalibrated_atlas(found, generator, decomposer, seed=setting.seed, truncation=truncation)


def ours_alike(setting: Setting) -> FoundDirections:
    """Pose and light of the atlas, by the most probable step of one w for all layers, with the others held."""
    names = [name for name in HOLDABLE if name in setting.atlas.names]
    return found_of_atlas(setting.atlas.layers_alike(), names)


def supervised_like_ours(setting: Setting) -> FoundDirections:
    """Supervised bound: our regression and steps on the judge's labels of the atlas's semantics, others held."""
    names = tuple(name for name in setting.labeller.names if name in setting.atlas.names)
    if not names:
        raise ConfigError("the judge reads nothing that the atlas has; train it on renders with pose and light")
    return setting.labels_of(names).peer("supervised")


METHODS: dict[str, Compared] = {
    OURS: Compared(ours, by_chance=False),
    OURS_CARRIED: Compared(ours, by_chance=False, carried=True),
    OURS_AGAIN: Compared(ours_again),
    "ours, layers alike": Compared(ours_alike, by_chance=False),
    "supervised, pose and light": Compared(supervised_like_ours, supervised=True),
    "supervised, nothing held": Compared(lambda s: s.peer("supervised", hold=False), supervised=True),
    "supervised, all held": Compared(lambda s: s.peer("supervised"), supervised=True),
    "InterFaceGAN": Compared(lambda s: s.peer("interfacegan"), supervised=True),
    "InterFaceGAN, conditional": Compared(lambda s: s.peer("interfacegan", conditional=True), supervised=True),
    "GANSpace (w)": Compared(lambda s: s.peer("ganspace-w"), peer=True),
    "GANSpace (w), by layers": Compared(lambda s: by_layers(s.peer("ganspace-w"), s.layer_groups), peer=True),
    "GANSpace (activations)": Compared(lambda s: s.peer("ganspace-activations"), peer=True),
    "SeFa": Compared(lambda s: s.peer("sefa"), by_chance=False, peer=True),
    "SeFa, by layers": Compared(lambda s: by_layers(s.peer("sefa"), s.layer_groups), by_chance=False, peer=True),
    "random": Compared(lambda s: s.peer("random")),
    "InterFaceGAN, carried": Compared(lambda s: s.peer("interfacegan"), supervised=True, carried=True),
    "GANSpace (w), carried": Compared(lambda s: s.peer("ganspace-w"), carried=True),
    "SeFa, carried": Compared(lambda s: s.peer("sefa"), by_chance=False, carried=True),
}
"""Every method by its name in the tables. Those "by layers" also offer each direction in each group of layers alone;
the judge may choose among all of these."""


def asked_step(atlas: Atlas | None, found: FoundDirections, name: str, change: float) -> Float[np.ndarray, "l d"]:
    """The step of a method for a requested change in units; an atlas of ours applies its calibration."""
    if atlas is not None:
        return calibrated_step(atlas, {name: change})
    return change * found.steps[found.names.index(name)]
