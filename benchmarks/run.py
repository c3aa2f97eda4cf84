"""Figures of merit, each a ratio measured in one run, so that they are comparable even on a busy machine.

The two sides of a throughput ratio are timed in turns, and the median is taken. Actions that take many seconds are
timed once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table

from benchmarks.factors import BenchFactorsConfig, bench_all_factors
from benchmarks.jacobian import BenchJacobianConfig, bench_jacobian
from benchmarks.rows import BenchRow, in_turns
from benchmarks.synthesis import BenchSynthesisConfig, bench_against_products, bench_grouped
from experiments.training_recipes.variants import VARIANTS
from lineament.engine.devices import make_fabric
from lineament.networks.decomposer import Decomposer
from lineament.ops.rasterizer import rasterize_depth
from lineament.ops.shapes import ellipsoid_depth
from lineament.recipes.train.decomposer_loss import decomposition_loss, reconstruct
from lineament.recipes.train.decomposer_trainer import DecomposerTrainer
from lineament.recipes.train.face_stream import Batch
from lineament.records.bounds import check_bounds
from lineament.records.decomposition import Decomposition
from lineament.records.devices import Devices
from lineament.records.shapes import DecomposerConfig, GeneratorConfig
from lineament.settings.train_decomposer import LossConfig, TrainDecomposerConfig

WITHOUT_SCIKIT_LEARN = "No comparison with scikit-learn, which is not installed; for that: pip install scikit-learn"


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed and memory of the package, each as a ratio to a reference.

    Example: ``python -m benchmarks --repeats 9``
    """

    network: Annotated[GeneratorConfig, tyro.conf.arg(name="generator")] = field(
        default_factory=lambda: GeneratorConfig(resolution=128, channel_base=16384, channel_max=512, w_dim=512)
    )
    """Generator whose synthesis is compared with grouped convolutions. The default has the published widths (config-e)
    at 128 px."""
    batch_size: int = 4
    """Number of images per synthesis in the comparison with grouped convolutions."""
    decomposer_batch_size: int = 24
    """Number of images per step of the decomposer's training."""
    repeats: int = 7
    """Number of repetitions. The median counts."""
    synthesis: BenchSynthesisConfig = field(default_factory=BenchSynthesisConfig)
    """Synthesis to compare with matrix products."""
    factors: BenchFactorsConfig = field(default_factory=BenchFactorsConfig)
    """Matrix to factorise."""
    jacobian: BenchJacobianConfig = field(default_factory=BenchJacobianConfig)
    """Sample sizes of the two methods for the Jacobian of the shipped networks."""

    def __post_init__(self) -> None:
        check_bounds(self, "batch_size", "decomposer_batch_size", "repeats", least=1)


@dataclass(frozen=True)
class BenchReport:
    """All ratios, and notes on what could not be measured."""

    rows: tuple[BenchRow, ...]
    notes: tuple[str, ...] = ()

    def renderables(self) -> list[Any]:
        """A table for the terminal, and the notes."""
        table = Table(title=f"{torch.get_num_threads()} threads")
        for heading in ("what", "seconds", "against", "seconds", "ratio", "wanted"):
            table.add_column(heading, justify="right" if heading in ("seconds", "ratio") else "left")
        for r in self.rows:
            other = "" if r.against_seconds is None else f"{r.against_seconds:.3f}"
            table.add_row(r.name, f"{r.seconds:.3f}", r.against, other, f"{r.ratio:.3g}", r.wanted)
        return [table, *self.notes]


def bench_rasterizer(config: BenchConfig) -> list[BenchRow]:
    """The rasteriser's share, forward and backward, of a decomposer's training step without the perceptual term."""
    rows = []
    for resolution in (64, 128):
        torch.manual_seed(0)
        decomposer = Decomposer(DecomposerConfig(resolution=resolution))
        decomposer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        n = config.decomposer_batch_size
        images = random_images(n, resolution)
        bumps = torch.randn(n, resolution, resolution) * 1e-3
        depth = (ellipsoid_depth(resolution, near=0.91, far=1.02) + bumps).requires_grad_()
        view = (torch.randn(n, 6) * torch.tensor([0.1, 0.3, 0.1, 0.01, 0.01, 0.0])).requires_grad_()

        def step(decomposer: Decomposer = decomposer, images: torch.Tensor = images) -> None:
            decomposition_loss(decomposer, images, None, LossConfig(), torch.Generator())[0].backward()

        def raster(depth: torch.Tensor = depth, view: torch.Tensor = view, camera=decomposer.camera) -> None:
            rasterize_depth(depth, view, camera)[0].sum().backward()

        seconds = in_turns({"step": step, "raster": raster}, config.repeats)
        ratio = seconds["raster"] / seconds["step"]
        name = f"rasteriser, {n} meshes at {resolution} px"
        rows.append(BenchRow(name, seconds["raster"], f"training step of {n}", seconds["step"], ratio, "below 0.25"))
    return rows


def random_images(n: int, resolution: int) -> torch.Tensor:
    """Images in [-1, 1], channels_last in memory."""
    images = torch.rand(n, 3, resolution, resolution).mul(2).sub(1)
    return images.contiguous(memory_format=torch.channels_last)


def training_actions(
    variant: str, n: int, memory_format: torch.memory_format, resolution: int = 64
) -> dict[str, Callable[[], object]]:
    """A whole training step of a decomposer, with the pixel loss only, and its two large parts.

    The parts are timed forward and backward: all five networks, and the rendering of their outputs.
    """
    plain = TrainDecomposerConfig(
        out=Path(),
        images=(Path(),),
        batch_size=n,
        network=DecomposerConfig(resolution=resolution),
        loss=LossConfig(perceptual_weight=0.0),
    )
    trainer = DecomposerTrainer(VARIANTS[variant].change(plain), make_fabric(Devices(accelerator="cpu")))
    decomposer, loss = trainer.decomposer, trainer.config.loss
    decomposer.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    images = random_images(n, decomposer.config.resolution).contiguous(memory_format=memory_format)
    with torch.no_grad():
        said = decomposer(images)
    leaves = [part.clone().requires_grad_() for part in (said.canon_depth, said.canon_albedo, said.view, said.light)]

    def networks() -> None:
        parts = decomposer(images)
        outputs = (parts.canon_depth, parts.canon_albedo, parts.view, parts.light, *decomposer.sigmas(images))
        torch.stack([output.mean() for output in outputs]).sum().backward()

    def rendering() -> None:
        made = reconstruct(decomposer, Decomposition(*leaves), loss)
        images = [made.straight] if made.mirrored is None else [made.straight, made.mirrored]
        torch.stack([image.mean() for image in images]).sum().backward()

    return {
        "training step": lambda: trainer.train_step(Batch(images)),
        "networks": networks,
        "rendering": rendering,
    }


def bench_training(config: BenchConfig) -> list[BenchRow]:
    """Compare our recipe with the published one on networks of the same size, both with our rasteriser.

    The published recipe renders twice, compares all pixels, and keeps images in the default memory format, not
    channels_last.
    """
    n = config.decomposer_batch_size
    ours = training_actions("full", n, torch.channels_last)
    theirs = training_actions("published", n, torch.contiguous_format)
    actions = {f"ours {k}": v for k, v in ours.items()} | {f"theirs {k}": v for k, v in theirs.items()}
    seconds = in_turns(actions, config.repeats)
    wanted = {"training step": "at least 1.3"}
    rows = []
    for name in ours:
        mine, other = seconds[f"ours {name}"], seconds[f"theirs {name}"]
        label = f"{name} of {n} at 64 px, ours"
        rows.append(BenchRow(label, mine, "published recipe", other, other / mine, wanted.get(name, "")))
    large = training_actions("full", n, torch.channels_last, resolution=128)["training step"]
    cost = in_turns({"small": ours["training step"], "large": large}, config.repeats)
    label = f"training step of {n} at 128 px, ours"
    rows.append(BenchRow(label, cost["large"], "at 64 px", cost["small"], cost["large"] / cost["small"], ""))
    return rows


def run(config: BenchConfig) -> BenchReport:
    """Measure everything; see `BenchRow`."""
    rows = bench_grouped(config.network, config.batch_size, config.repeats)
    rows += bench_against_products(config.synthesis, config.repeats)
    rows += [*bench_rasterizer(config), *bench_training(config)]
    compare = find_spec("sklearn") is not None
    rows += bench_all_factors(config.factors, compare=compare)
    rows += bench_jacobian(config.jacobian)
    return BenchReport(tuple(rows), () if compare else (WITHOUT_SCIKIT_LEARN,))
