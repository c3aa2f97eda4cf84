"""Measure the parts of an atlas in the regions of named parts: how much more do they change there than elsewhere?

Every part edits new faces by plus and minus two standard deviations; `recipes.evaluate.part_response` measures the
changes in the regions of the named parts (`recipes.evaluate.named_regions`). Random steps of the same length are
measured for comparison, because eyes and mouth change more than cheeks under any step, and the best of many regions is
above 1 by chance.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.table import Table

from lineament.checkpoints.pairs import load_for_judging
from lineament.directions.parts import factors_of, layers_of
from lineament.directions.steps import at_layers, linear_step, step_length
from lineament.engine.console import progress_bar
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.engine.run_folder import CONFIG_NAME, STATE_NAME
from lineament.errors import ConfigError, FileFormatError, MismatchError
from lineament.estimators.folds import merged
from lineament.estimators.local_components import find_components
from lineament.estimators.part_analysis import SINGULAR
from lineament.faces.samples import Discovery
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents, philox
from lineament.recipes.evaluate.named_regions import NAMED_PARTS, Regions, find_regions
from lineament.recipes.evaluate.part_response import (
    SIZE_SD,
    Drift,
    PartObserver,
    PartResponse,
    random_steps,
    ratio_of_changes,
)
from lineament.records.atlas import Atlas
from lineament.records.part_settings import PartsConfig
from lineament.records.parts import Localization
from lineament.settings.evaluate_parts import EvaluatePartsConfig
from lineament.store.atomic import write_text_atomic
from lineament.store.json_text import read_json
from lineament.store.regular_files import check_regular
from lineament.store.tensors import load_tensors
from lineament.store.truth import open_truth

_STREAM_BOOTSTRAP = 10

NUM_RANDOM = 16
"""Number of random steps that are measured for comparison."""

NUM_BOOTSTRAP = 1000

WANTED_RATIO, WANTED_POSE_DEG, WANTED_LIGHT = 5.0, 1.0, 0.05
"""Goals for a part: smallest ratio in its region, largest change of pose (degrees) and of light (share of range)."""

NOT_LOCAL = ("whole face", "several parts")


@dataclass(frozen=True)
class RegionScore:
    """The part that acts most on a named region.

    Attributes:
        name: name of the region.
        pixels: size of the region.
        part: the part that changes the images most there.
        stable: whether that part comes back in half of the samples.
        ratio: change of the images in the region over that in the rest of the face.
        low, high: ends of the 95 % interval of the ratio, over faces.
        maps_ratio: the same ratio for the decomposer's canonical maps and the same part.
        random_ratio: the ratio of the images for random steps, median over the steps.
    """

    name: str
    pixels: int
    part: str
    stable: bool
    ratio: float
    low: float
    high: float
    maps_ratio: float
    random_ratio: float


@dataclass(frozen=True)
class PartScore:
    """Effects of one part.

    Attributes:
        name, place, stable: from the atlas.
        region: the region whose images it changes most.
        ratio, maps_ratio: ratios in that region.
        fits: whether the part's place in the template fits that region; None if it is not local.
        special: the region on which it acts most relative to random steps, because hair changes under every step.
        special_fits: the same as ``fits`` for that region.
        drift: change of pose and light under its edits.
        ratios: ratios of the images in all regions.
    """

    name: str
    place: str
    stable: bool
    region: str
    ratio: float
    maps_ratio: float
    fits: bool | None
    special: str
    special_fits: bool | None
    drift: Drift
    ratios: dict[str, float]


@dataclass(frozen=True)
class PartsReport:
    """All results of the measurement.

    ``drifts`` holds the median and the largest drift over the parts, by the kind of edit. ``dropped`` lists named parts
    without a measurable region, and why.
    """

    regions: tuple[RegionScore, ...]
    parts: tuple[PartScore, ...]
    summary: dict[str, float]
    drifts: dict[str, tuple[Drift, Drift]]
    dropped: dict[str, str]
    faces: int
    truth_faces: int

    def renderables(self) -> list[Any]:
        """Tables for the terminal."""
        regions = Table(title="Named regions: change of the image within over that in the rest of the face")
        for heading in ("region", "pixels", "part", "ratio", "95 %", "maps", "random"):
            regions.add_column(heading, justify="left" if heading in ("region", "part") else "right")
        for r in self.regions:
            part = r.part if r.stable else f"{r.part} (does not come back)"
            cells = (f"{r.ratio:.1f}", f"{r.low:.1f}–{r.high:.1f}", f"{r.maps_ratio:.1f}", f"{r.random_ratio:.1f}")
            regions.add_row(r.name, str(r.pixels), part, *cells)
        parts = Table(title=f"Parts: edits of ±{SIZE_SD:g} standard deviations")
        for heading in ("part", "comes back", "acts most on", "ratio", "maps", "special to", "pose °", "light"):
            parts.add_column(heading, justify="right" if heading in ("ratio", "maps", "pose °", "light") else "left")
        for p in self.parts:
            numbers = (f"{p.ratio:.1f}", f"{p.maps_ratio:.1f}")
            drift = (f"{p.drift.pose_deg:.2f}", f"{p.drift.light:.3f}")
            special = p.special + {None: "", True: " (as named)", False: " (not as named)"}[p.special_fits]
            parts.add_row(p.name, "yes" if p.stable else "no", p.region, *numbers, special, *drift)
        drifts = Table(title="Pose (°) and light (share of its range) under edits of all parts")
        for heading in ("edits", "pose, median", "pose, max", "light, median", "light, max"):
            drifts.add_column(heading, justify="left" if heading == "edits" else "right")
        for kind, (middle, most) in self.drifts.items():
            pose = (f"{middle.pose_deg:.2f}", f"{most.pose_deg:.2f}")
            drifts.add_row(kind, *pose, f"{middle.light:.3f}", f"{most.light:.3f}")
        rest = Table(show_header=False)
        for name, value in self.summary.items():
            rest.add_row(name, f"{value:.3g}")
        missing = ", ".join(f"{name} ({why})" for name, why in self.dropped.items())
        line = f"{self.faces} generated faces; regions from {self.truth_faces} rendered ones"
        return [regions, parts, drifts, rest, line, *([f"no region: {missing}"] if missing else [])]


def steps_of_impure_parts(found: Path, atlas: Atlas, local: Localization) -> list[Float[np.ndarray, "l d"]]:
    """Steps of parts that are found in the same samples with pose and light left in the Jacobian.

    There are as many as in the atlas. Each has the median length of the atlas's steps of one standard deviation.

    Args:
        found: folder of the discovery that made the atlas.
        atlas: the atlas; the samples must be of its networks.
        local: the parts of the atlas.

    Raises:
        InputError, FileFormatError: the folder has no saved state, or a damaged one.
        MismatchError: the state belongs to other networks.
        ConfigError: the state has no samples of maps.
    """
    tensors, header = load_tensors(found / f"{STATE_NAME}.safetensors", kind="training-state", framework="pt")
    networks = {"generator": atlas.generator_fingerprint, "decomposer": atlas.decomposer_fingerprint}
    if any(header.get(name) != value for name, value in networks.items()):
        raise MismatchError(f"{found} holds samples of other networks than the atlas's; name the folder that made it")
    folds = Discovery.from_tensors(tensors, found).folds
    if not folds:
        raise ConfigError(f"{found} was made with --parts.no-find, so it holds no maps; discover again with parts")
    check_regular(found / CONFIG_NAME)
    try:
        settings = PartsConfig(**read_json(found / CONFIG_NAME, "discover again")["parts"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{found / CONFIG_NAME} has no settings of parts ({error}); discover again") from error
    groups = local.layer_groups
    impure = find_components(
        merged(folds),
        atlas.w_cov,
        np.zeros((len(groups), 0, atlas.w_dim)),
        np.tile(local.mask.ravel(), 4),
        factors_of(settings),
        evenness=settings.evenness,
        count=len(local.parts),
        max_alike=settings.max_alike,
    )
    units = [step_length(linear_step(atlas, {name: 1.0}, ()), atlas.w_cov) for name in local.names]
    moves = float(np.median(units)) * impure.gradients @ atlas.w_cov  # gradients of variance 1
    layers = [layers_of(groups, group) for group in impure.groups.tolist()]
    return [at_layers(atlas, move, own) for move, own in zip(moves, layers, strict=True)]


def intervals(
    best: Float[np.ndarray, "2 n r"], seed: int, level: float = 0.95
) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
    """Bootstrap intervals, over the faces, of the ratio of mean changes; one for every region."""
    n = best.shape[1]
    counts = philox(seed, _STREAM_BOOTSTRAP, 0).multinomial(n, np.full(n, 1 / n), NUM_BOOTSTRAP)
    ratios = ratio_of_changes(np.einsum("bn,snr->sbr", counts / n, best, optimize=True))
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def zone_of(place: str) -> str:
    """The template's zone of a place as named by `lineament.estimators.part_analysis.place_of`."""
    zone = place.partition(",")[0]
    side, _, single = zone.partition(" ")
    plural = {word: words for words, word in SINGULAR.items()}
    return plural.get(single, zone) if side in ("left", "right") else zone


def describe(
    atlas: Atlas,
    regions: Regions,
    responses: Sequence[PartResponse],
    drifts: Sequence[Drift],
    random: Float[np.ndarray, "s r"],
    seed: int,
) -> tuple[tuple[RegionScore, ...], tuple[PartScore, ...]]:
    """The part that acts most on every region, and the region on which every part acts most.

    Args:
        atlas: the atlas with the parts.
        regions: the regions, in the order of the responses' last axis.
        responses: one for every part.
        drifts: one for every part.
        random: ratios of random steps.
        seed: seed of the bootstrap.
    """
    local = atlas.local
    assert local is not None
    names = list(regions.maps)
    zones = {part.name: part.zones for part in NAMED_PARTS}
    images, maps = (np.array([response.ratios(kind) for response in responses]) for kind in ("images", "maps"))
    parts = []
    for part, drift, row, of_maps in zip(local.parts, drifts, images, maps, strict=True):
        at, special = int(row.argmax()), int(ratio_of_changes(np.stack([row, np.median(random, axis=0)])).argmax())
        fits, special_fits = (
            None if part.place in NOT_LOCAL else zone_of(part.place) in zones[names[i]] for i in (at, special)
        )
        ratios = {name: float(ratio) for name, ratio in zip(names, row, strict=True)}
        parts.append(
            PartScore(
                name=part.name,
                place=part.place,
                stable=part.stable,
                region=names[at],
                ratio=float(row[at]),
                maps_ratio=float(of_maps[at]),
                fits=fits,
                special=names[special],
                special_fits=special_fits,
                drift=drift,
                ratios=ratios,
            )
        )
    best = images.argmax(axis=0)
    low, high = intervals(np.stack([responses[i].images[:, :, r] for r, i in enumerate(best)], axis=2), seed)
    scores = [
        RegionScore(
            name=name,
            pixels=int(regions.maps[name].sum()),
            part=parts[i].name,
            stable=parts[i].stable,
            ratio=float(images[i, r]),
            low=float(low[r]),
            high=float(high[r]),
            maps_ratio=float(maps[i, r]),
            random_ratio=float(np.median(random[:, r])),
        )
        for r, (name, i) in enumerate(zip(names, best, strict=True))
    ]
    return tuple(sorted(scores, key=lambda score: -score.ratio)), tuple(parts)


def summarise(
    regions: Sequence[RegionScore], parts: Sequence[PartScore], random: Float[np.ndarray, "s r"]
) -> dict[str, float]:
    """Summary over all parts and regions; ``random`` are the ratios of random steps."""
    reached = [score for score in regions if score.ratio >= WANTED_RATIO]
    stable = [part for part in parts if part.stable]
    fits = [(bool(part.fits), bool(part.special_fits)) for part in stable if part.place not in NOT_LOCAL]
    numbers = {
        "named regions": len(regions),
        f"regions on which some part acts {WANTED_RATIO:g} times more": len(reached),
        "different parts that do so": len({score.part for score in reached}),
        "regions on which some random step does so": int((random.max(axis=0) >= WANTED_RATIO).sum()),
        "parts that come back": len(stable),
        "median of their best ratios": float(np.median([part.ratio for part in stable])) if stable else 0.0,
        "median of the best ratios of random steps": float(np.median(random.max(axis=1))),
        f"parts that change pose by less than {WANTED_POSE_DEG:g}°": sum(
            part.drift.pose_deg < WANTED_POSE_DEG for part in parts
        ),
        f"parts that change light by less than {WANTED_LIGHT:g} of its range": sum(
            part.drift.light < WANTED_LIGHT for part in parts
        ),
    }
    if fits:
        most, special = np.mean(fits, axis=0)
        numbers["local parts that come back: share named after where they act most"] = most
        numbers["and after what they are special to"] = special
    return {name: float(value) for name, value in numbers.items()}


def evaluate(
    config: EvaluatePartsConfig, atlas: Atlas, generator: Generator, decomposer: Decomposer, regions: Regions
) -> PartsReport:
    """Edit new faces by every part and measure the changes.

    Raises:
        ConfigError: the atlas has no parts; or as `steps_of_impure_parts` raises.
    """
    with torch.no_grad():
        z = latents(config.seed, range(config.faces), generator.config.z_dim).to(generator.mapping.w_avg.device)
        w = generator.map(z, atlas.truncation)
    judge = PartObserver(atlas, generator, decomposer, w, regions.maps, regions.face)
    local = atlas.local
    assert local is not None
    kinds = {"held: what the atlas can hold": [linear_step(atlas, {name: SIZE_SD}) for name in local.names]}
    if config.found is not None:
        impure = steps_of_impure_parts(config.found, atlas, local)
        kinds["nothing held"] = [linear_step(atlas, {name: SIZE_SD}, ()) for name in local.names]
        kinds["nothing held, pose and light left in the Jacobian"] = [SIZE_SD * step for step in impure]
    steps = [*next(iter(kinds.values())), *random_steps(atlas, NUM_RANDOM, config.seed)]
    responses, drifts = [], {kind: [] for kind in kinds}
    with progress_bar() as bar:
        task = bar.add_task("editing", total=len(steps) + sum(map(len, kinds.values())), note="")
        for step in steps:
            responses.append(judge.response(step))
            bar.advance(task)
        for kind, own in kinds.items():
            for step in own:
                drifts[kind].append(judge.drift(step))
                bar.advance(task)
    k = len(local.parts)
    random = np.array([response.ratios() for response in responses[k:]])
    scores, parts = describe(atlas, regions, responses[:k], next(iter(drifts.values())), random, config.seed)
    return PartsReport(
        regions=scores,
        parts=parts,
        summary=summarise(scores, parts, random) | {"pose left in faces from the front, °": judge.front_deg},
        drifts={kind: (Drift.middle(found), Drift.most(found)) for kind, found in drifts.items()},
        dropped=regions.dropped,
        faces=config.faces,
        truth_faces=regions.num_faces,
    )


@writes("out")
def run(config: EvaluatePartsConfig) -> PartsReport:
    """Measure the parts of an atlas.

    Raises:
        ImageError, FileFormatError: the truth, the atlas or a network cannot be used.
        MismatchError: the atlas belongs to another generator.
        ConfigError: the seed is the one that made the atlas, so the faces would not be unseen; or as `find_regions` and
            `evaluate` raise.
    """
    atlas, generator, decomposer = load_for_judging(
        config.atlas, config.seed, config.generator, config.decomposer, config.pair, make_fabric(config.devices).device
    )
    regions = find_regions(open_truth(config.truth), decomposer.config.resolution, config.truth_faces)
    report = evaluate(config, atlas, generator, decomposer, regions)
    if config.out is not None:
        write_text_atomic(config.out, json.dumps(asdict(report), indent=2) + "\n")
    return report
