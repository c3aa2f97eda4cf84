"""Cost of two ways to the Jacobian, regression and exact derivatives, at the same accuracy.

Accuracy is the cosine with the true Jacobian in the metric of the covariance of w, within the mask. A relative error e
that is independent of the truth gives the cosine 1 / sqrt(1 + e^2). The cosine of two estimates with independent errors
is the product of their accuracies. So two regressions on disjoint samples show their own accuracy, and then that of the
derivatives.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.exact_jacobian import MOMENT_SAMPLES, exact_jacobian, regression_weights, sampled_jacobian
from benchmarks.rows import BenchRow, seconds_of
from lineament.checkpoints.ours import load_decomposer, load_generator
from lineament.checkpoints.shipped import shipped_path
from lineament.estimators.pixel_jacobian import PixelJacobian, agreement
from lineament.faces.maps import Albedo, map_mask
from lineament.networks.decomposer import Decomposer
from lineament.networks.stylegan.generator import Generator
from lineament.ops.seeding import latents
from lineament.records.bounds import check_bounds

COSINE = 0.98
MANY_SAMPLES = 100_000
TRUNCATION = 0.5
ALBEDOS: tuple[Albedo, ...] = ("network", "seen")
NAMES: dict[Albedo, str] = {"network": "the network's albedo", "seen": "albedo as seen"}
WANTED: dict[Albedo, str] = {"network": "at least 10", "seen": ""}
SAMPLED, EXACT, MOMENTS = range(3)  # seeds


@dataclass(frozen=True)
class BenchJacobianConfig:
    """Sample sizes of the two methods for the Jacobian of the shipped networks: regression and exact derivatives."""

    num_samples: int = 1000
    """Number of images of each of the two regressions."""
    num_w: int = 12
    """Number of w at which derivatives are taken."""

    def __post_init__(self) -> None:
        check_bounds(self, "num_samples", "num_w", least=1, group="jacobian.")


def squared_error(cosine: float) -> float:
    """Squared relative error of an estimate with this cosine to the truth."""
    return math.inf if cosine <= 0 else 1 / cosine**2 - 1


def bench_jacobian(config: BenchJacobianConfig) -> list[BenchRow]:
    """`bench_ways` of the shipped networks, for both kinds of albedo."""
    generator = load_generator(shipped_path("generator.safetensors"))
    decomposer = load_decomposer(shipped_path("decomposer.safetensors"))
    return [row for albedo in ALBEDOS for row in bench_ways(decomposer, generator, config, albedo)]


def bench_ways(
    decomposer: Decomposer, generator: Generator, config: BenchJacobianConfig, albedo: Albedo
) -> list[BenchRow]:
    """Seconds of both ways to a cosine of 0.98, extrapolated from few samples.

    The squared error of a regression is inversely proportional to the number of samples beyond the width of w; that of
    the derivatives roughly to the number of w, as measured between 16 and 192 w of the shipped networks.
    """
    n, (z_dim, d) = config.num_samples, (generator.config.z_dim, generator.config.w_dim)
    halves: list[PixelJacobian] = []
    derived: list[np.ndarray] = []

    def regress() -> None:
        numbers = range(n * len(halves), n * (len(halves) + 1))
        halves.append(
            sampled_jacobian(decomposer, generator, numbers, seed=SAMPLED, truncation=TRUNCATION, albedo=albedo).solve()
        )

    def derive() -> None:
        with torch.no_grad():
            w = generator.map(latents(EXACT, range(config.num_w), z_dim), TRUNCATION)
            others = generator.map(latents(MOMENTS, range(MOMENT_SAMPLES), z_dim), TRUNCATION)
        derived.append(
            exact_jacobian(decomposer, generator, w, regression_weights(w.numpy(), others.numpy()), albedo=albedo)
        )

    per_sample = (seconds_of(regress) + seconds_of(regress)) / (2 * n)
    per_w = seconds_of(derive) / config.num_w
    both = PixelJacobian().merge(halves[0]).merge(halves[1]).solve()

    def agreed(one: np.ndarray, other: np.ndarray) -> float:
        return agreement(one, other, map_mask(decomposer), both.w_cov_)["all"]

    # Both halves have the same error e, so their cosine is 1 / (1 + e^2), and that of each with the truth is its root.
    error = squared_error(math.sqrt(max(agreed(halves[0].coef_, halves[1].coef_), 0.0)))
    error_of_both = error * (n - d) / (2 * n - d)
    error_of_derived = squared_error(agreed(derived[0], both.coef_) * math.sqrt(1 + error_of_both))
    samples_needed = d + (n - d) * error / squared_error(COSINE)
    w_needed = config.num_w * error_of_derived / squared_error(COSINE)
    by_regression, by_derivatives, by_many = samples_needed * per_sample, w_needed * per_w, MANY_SAMPLES * per_sample
    aim = f"Jacobian ({NAMES[albedo]}) to a cosine of {COSINE:g} by "
    regression = f"regression on about {samples_needed:.0f} samples"
    derivatives = f"exact derivatives at about {w_needed:.0f} w"
    many = f"regression on {MANY_SAMPLES} samples"
    return [
        BenchRow(aim + regression, by_regression, derivatives, by_derivatives, by_derivatives / by_regression, ""),
        BenchRow(aim + derivatives, by_derivatives, many, by_many, by_many / by_derivatives, WANTED[albedo]),
    ]
