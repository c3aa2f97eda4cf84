"""The benchmark: small sizes, so only that it measures what it says."""

import math
import re

import numpy as np
import pytest
import torch

from benchmarks import jacobian as bench_jacobian
from benchmarks import run as bench
from benchmarks import synthesis as bench_synthesis
from benchmarks.factors import BenchFactorsConfig, bench_large_factors
from benchmarks.jacobian import BenchJacobianConfig, bench_ways, squared_error
from benchmarks.rows import in_turns
from benchmarks.run import BenchConfig, run
from benchmarks.synthesis import (
    BenchSynthesisConfig,
    bench_against_products,
    bench_grouped,
    grouped_convolutions,
    num_operations,
    random_generator,
)
from lineament.errors import ConfigError
from lineament.estimators.pixel_jacobian import PixelJacobian
from lineament.networks.stylegan import stylegan2
from lineament.networks.stylegan.fast_path import are_plain
from lineament.networks.stylegan.stylegan2 import StyleGAN2
from lineament.ops.modulation import modulated_conv2d, modulated_conv2d_grouped
from lineament.records.shapes import GeneratorConfig
from tests import tiny

TINY = GeneratorConfig(resolution=32, channel_base=128, channel_max=8, z_dim=8, w_dim=8)


def test_actions_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []
    seconds = in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert set(seconds) == {"a", "b"}
    assert all(value >= 0 for value in seconds.values())


def test_grouped_convolutions_only_inside_the_block() -> None:
    generator, seen = random_generator(TINY), []

    def look(*args: object, **options: object) -> torch.Tensor:
        seen.append(args)
        return modulated_conv2d_grouped(*args, **options)  # pyright: ignore[reportArgumentType]

    ws = torch.zeros(2, generator.num_ws, TINY.w_dim)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_synthesis, "modulated_conv2d_grouped", look)
        with grouped_convolutions():
            generator.synthesize(ws)
        assert len(seen) == 11  # 7 convolutions, 4 ToRGB
        generator.synthesize(ws)
        assert len(seen) == 11
    assert stylegan2.modulated_conv2d is modulated_conv2d
    assert stylegan2.are_plain is are_plain


def test_ratio_is_theirs_over_ours() -> None:
    (row,) = bench_grouped(TINY, batch_size=2, repeats=1)
    assert row.against_seconds is not None
    assert row.ratio == pytest.approx(row.against_seconds / row.seconds)


def test_synthesis_is_held_against_products_of_as_many_operations() -> None:
    config = BenchSynthesisConfig(TINY, batch_sizes=(1, 3), matrix_sides=(16, 64))
    one, three = bench_against_products(config, repeats=1)
    assert one.against_seconds is not None
    assert three.against_seconds is not None
    assert three.against_seconds == pytest.approx(3 * one.against_seconds)
    assert one.ratio == one.against_seconds / one.seconds


def test_operations_are_the_published_ones() -> None:
    with torch.device("meta"):
        generator = StyleGAN2(BenchSynthesisConfig().network)
    assert num_operations(generator) == 29_794_222_080


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> BenchConfig:
    """Everything small, the shipped networks included."""
    monkeypatch.setattr(bench_jacobian, "load_generator", lambda path: tiny.generator(tiny.GENERATOR64))
    monkeypatch.setattr(bench_jacobian, "load_decomposer", lambda path: tiny.decomposer())
    return BenchConfig(
        network=TINY,
        batch_size=1,
        decomposer_batch_size=1,
        repeats=1,
        synthesis=BenchSynthesisConfig(TINY, batch_sizes=(1, 2), matrix_sides=(8,)),
        factors=BenchFactorsConfig(side=12, w_dim=16, count=3),
        jacobian=BenchJacobianConfig(num_samples=20, num_w=2),
    )


def test_whole_bench_makes_a_table(config: BenchConfig) -> None:
    report = run(config)
    assert [row.wanted for row in report.rows] == [
        "at least 1.5",
        "at least 0.85",
        "at least 0.85",
        "below 0.25",
        "below 0.25",
        "at least 1.3",
        "",
        "",
        "",
        "at least 0.98",
        "at least 10",
        "",
        "at least 10",
        "",
        "",
        "at least 10",
        "",
        "",
    ]
    (table,) = report.renderables()
    assert table.row_count == len(report.rows)
    assert f"{torch.get_num_threads()} threads" in str(table.title)


def test_without_scikit_learn_all_else_is_measured(config: BenchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    parts = ("bench_grouped", "bench_against_products", "bench_rasterizer", "bench_training", "bench_jacobian")
    for part in parts:
        monkeypatch.setattr(bench, part, lambda *config: [])
    report = run(config)
    assert [row.name for row in report.rows] == ["3 sparse factors of 576 x 16"]
    assert report.renderables()[1:] == [
        "No comparison with scikit-learn, which is not installed; for that: pip install scikit-learn"
    ]


def test_memory_counts_the_matrix_and_what_the_fit_needs() -> None:
    row = bench_large_factors(side=32, d=64, k=3)
    matrix = 4 * 32 * 32 * 64 * 4 / 4e9
    assert matrix < row.ratio < 8 * matrix
    assert f"{row.ratio * 4:.3g} GB at the peak, of 4" in row.against


def test_numbers_needed_are_those_of_the_planted_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, noise, error = rng.standard_normal((4 * 64 * 64, 8)), 5.0, 0.6

    def sampled(decomposer: object, generator: object, numbers: range, **rest: object) -> PixelJacobian:
        w = rng.standard_normal((len(numbers), 8))
        return PixelJacobian().partial_fit(w, w @ truth.T + noise * rng.standard_normal((len(numbers), len(truth))))

    def exact(*rest: object, albedo: str) -> np.ndarray:
        return truth + error * rng.standard_normal(truth.shape)

    monkeypatch.setattr(bench_jacobian, "sampled_jacobian", sampled)
    monkeypatch.setattr(bench_jacobian, "exact_jacobian", exact)
    config = BenchJacobianConfig(num_samples=250, num_w=4)
    regression, derivatives = bench_ways(tiny.decomposer(), tiny.generator(tiny.GENERATOR64), config, "seen")
    wanted = 1 / 0.98**2 - 1
    found = [int(number) for number in re.findall(r"about (\d+)", regression.name + regression.against)]
    assert found[0] == pytest.approx(8 + noise**2 / wanted, rel=0.1)
    assert found[1] == pytest.approx(4 * error**2 / wanted, rel=0.1)
    assert derivatives.seconds == regression.against_seconds
    assert squared_error(1 / 1.04**0.5) == pytest.approx(0.04)
    assert squared_error(-0.1) == math.inf


def test_settings() -> None:
    with pytest.raises(ConfigError, match="repeats is 0"):
        BenchConfig(repeats=0)
    with pytest.raises(ConfigError, match=r"synthesis\.batch_sizes is \(0,\), expected"):
        BenchSynthesisConfig(batch_sizes=(0,))
    with pytest.raises(ConfigError, match=r"factors\.side is 7, expected at least 8"):
        BenchFactorsConfig(side=7)
    with pytest.raises(ConfigError, match=r"factors\.num_passes is 0"):
        BenchFactorsConfig(num_passes=0)
    with pytest.raises(ConfigError, match=r"jacobian\.num_w is 0, expected at least 1"):
        BenchJacobianConfig(num_w=0)
