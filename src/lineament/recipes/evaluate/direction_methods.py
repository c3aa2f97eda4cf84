"""The methods that `evaluate directions` compares: each a function from the bench to directions.

Adding one is an entry of `METHODS`; and directions that were found elsewhere need no code at all: as an atlas, named by
``--directions``, they are compared as they are.
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

OURS, OURS_AGAIN = "ours", "ours, 512 samples"
FEW_SAMPLES, HELD_OUT_SAMPLES = 512, 32
"""Of our own method where it is run again, to see what it costs; no direction depends on those held out."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a method may look at.

    Attributes:
        generator: whose directions are sought.
        decomposer: label-free; ours alone asks it.
        atlas: that our method found before.
        labeller: gives labels to the methods that need them.
        samples: for each method that looks at samples, and as many labelled ones.
        components: of the methods without names.
        seed: of the samples.
        labelled: is filled by the first method that needs labels, for the others.
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
        """The runs of layers that our parts move."""
        return self.atlas.local.layer_groups if self.atlas.local is not None else ()

    def labels(self) -> LabelledSamples:
        """Labelled samples of this seed; their seconds count for every method that uses them."""
        if self.seed not in self.labelled:
            self.labelled[self.seed] = label_samples(
                self.generator, self.labeller, self.seed, self.samples, self.atlas.truncation, "the judge"
            )
        return self.labelled[self.seed]

    def peer(self, method: Method, **changed: object) -> FoundDirections:
        """Directions by a method of others."""
        settings = PeerSettings(
            samples=self.samples,
            truncation=self.atlas.truncation,
            seed=self.seed,
            components=min(self.components, self.generator.config.w_dim),
        )
        labelled = self.labels() if PEERS[method].needs_labels else None
        return find_directions(method, self.generator, replace(settings, **changed), labelled)

    def labels_of(self, names: tuple[str, ...]) -> "Setting":
        """The same with these labels alone."""
        return replace(self, labelled={self.seed: only(self.labels(), names)})


@dataclass(frozen=True)
class Compared:
    """One row of the tables.

    Attributes:
        find: gives the directions.
        supervised: whether it was told what to look for.
        by_chance: whether another seed gives other directions.
        peer: whether it is one of the unsupervised methods of others, which ours is to be better than.
    """

    find: Callable[[Setting], FoundDirections]
    supervised: bool = False
    by_chance: bool = True
    peer: bool = False


def ours(setting: Setting) -> FoundDirections:
    """Pose, light and parts of the atlas, as `lineament edit` moves along them."""
    return found_of_atlas(setting.atlas)


def ours_again(setting: Setting) -> FoundDirections:
    """Pose and light, found again from a few samples by the decomposer as it is; no step is calibrated."""
    began = time.monotonic()
    count = min(FEW_SAMPLES, setting.samples)
    found = found_of_atlas(quick_atlas(setting, count))
    return replace(found, seconds=time.monotonic() - began, samples_used=count + HELD_OUT_SAMPLES)


def quick_atlas(setting: Setting, count: int) -> Atlas:
    """What `lineament discover` finds of pose and light in so many samples, without parts, before the calibration."""
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
    """The bound: our regression and our steps on the judge's own labels of what our method finds, others held."""
    names = tuple(name for name in setting.labeller.names if name in setting.atlas.names)
    if not names:
        raise ConfigError("the judge reads nothing that the atlas has; train it on renders with pose and light")
    return setting.labels_of(names).peer("supervised")


METHODS: dict[str, Compared] = {
    OURS: Compared(ours, by_chance=False),
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
}
"""Every method by its name in the tables. Those by layers are asked for each direction in each group of layers alone,
too, and the judge may choose among all of these."""


def asked_step(atlas: Atlas | None, found: FoundDirections, name: str, change: float) -> Float[np.ndarray, "l d"]:
    """The move by which a method answers a request in units; an atlas of ours corrects it by its calibration."""
    if atlas is not None:
        return calibrated_step(atlas, {name: change})
    return change * found.steps[found.names.index(name)]
