"""Compare StyleGAN2's synthesis with its grouped form, and with the machine's matrix products."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from benchmarks.rows import BenchRow, in_turns
from lineament.errors import ConfigError
from lineament.networks.stylegan import stylegan2
from lineament.networks.stylegan.stylegan2 import StyleGAN2, StyleGAN2Config
from lineament.ops.modulation import modulated_conv2d_grouped
from lineament.ops.seeding import latents
from lineament.records.shapes import GeneratorConfig


@dataclass(frozen=True)
class BenchSynthesisConfig:
    """Generator and matrix sizes for the comparison of synthesis with matrix products."""

    network: GeneratorConfig = field(
        default_factory=lambda: StyleGAN2Config(
            resolution=256,
            z_dim=512,
            w_dim=512,
            num_mapping_layers=8,
            channel_base=16384,
            channel_max=512,
            conv_clamp=256.0,
        )
    )
    """Generator whose synthesis is timed. The default has the published widths (config-e) at 256 px."""
    batch_sizes: tuple[int, ...] = (1, 4, 8, 16)
    """Numbers of images per synthesis."""
    matrix_sides: tuple[int, ...] = (1024, 2048, 4096)
    """Sides of the square matrices whose products are timed. The fastest per operation counts."""

    def __post_init__(self) -> None:
        for name in ("batch_sizes", "matrix_sides"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ConfigError(f"synthesis.{name} is {values}, expected numbers of at least 1")


@contextmanager
def grouped_convolutions() -> Iterator[None]:
    """Context in which generators compute their modulated convolutions in the paper's grouped form."""
    ours, are_plain = stylegan2.modulated_conv2d, stylegan2.are_plain
    stylegan2.modulated_conv2d = modulated_conv2d_grouped  # pyright: ignore[reportAttributeAccessIssue]
    stylegan2.are_plain = lambda *tensors: False
    try:
        yield
    finally:
        stylegan2.modulated_conv2d, stylegan2.are_plain = ours, are_plain


def random_generator(config: GeneratorConfig) -> StyleGAN2:
    """An untrained generator, ready for inference."""
    torch.manual_seed(0)
    generator = StyleGAN2(config).eval().requires_grad_(False)
    return generator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def bench_grouped(config: GeneratorConfig, batch_size: int, repeats: int) -> list[BenchRow]:
    """Compare our form with the grouped one, on the same weights and latents."""
    generator = random_generator(config)
    z = latents(0, range(batch_size), config.z_dim)

    def ours() -> torch.Tensor:
        with torch.inference_mode():
            return generator(z)

    def grouped() -> torch.Tensor:
        with grouped_convolutions():
            return ours()

    difference = float((ours() - grouped()).abs().max())
    if difference > 1e-3:
        raise AssertionError(f"the two forms differ by {difference}")
    seconds = in_turns({"ours": ours, "grouped": grouped}, repeats)
    ratio = seconds["grouped"] / seconds["ours"]
    name = f"synthesis of {batch_size} at {config.resolution} px"
    return [BenchRow(name, seconds["ours"], "grouped convolutions", seconds["grouped"], ratio, "at least 1.5")]


def num_operations(generator: StyleGAN2) -> int:
    """Multiplications and additions for one image, counted from the definition of its convolutions."""
    total = 0
    for block in generator.synthesis_blocks():
        size = block.conv1.resolution
        for layer in block.layers():
            total += 2 * layer.weight.numel() * (size // 2 if layer.upsample else size) ** 2
        if block.to_rgb is not None:
            total += 2 * block.to_rgb.weight.numel() * size**2
    return total


def bench_against_products(config: BenchSynthesisConfig, repeats: int) -> list[BenchRow]:
    """Compare our synthesis with matrix products of as many operations; the ratio exceeds 1 if operations are saved."""
    generator = random_generator(config.network)
    w = torch.randn(max(config.batch_sizes), config.network.w_dim)
    matrices = {side: torch.randn(side, side) for side in config.matrix_sides}

    def synthesis(n: int) -> Callable[[], object]:
        def synthesize() -> torch.Tensor:
            with torch.inference_mode():
                return generator.synthesize(generator.broadcast(w[:n]))

        return synthesize

    def product(side: int) -> Callable[[], object]:
        return lambda: torch.mm(matrices[side], matrices[side])

    actions = {f"synthesis {n}": synthesis(n) for n in config.batch_sizes}
    actions |= {f"product {side}": product(side) for side in config.matrix_sides}
    seconds = in_turns(actions, repeats)
    peak = max(2 * side**3 / seconds[f"product {side}"] for side in config.matrix_sides)
    rows = []
    for n in config.batch_sizes:
        mine, products = seconds[f"synthesis {n}"], n * num_operations(generator) / peak
        name = f"synthesis of {n} at {config.network.resolution} px"
        against = f"matrix products at {peak / 1e9:.0f} GFLOP/s"
        rows.append(BenchRow(name, mine, against, products, products / mine, "at least 0.85"))
    return rows
