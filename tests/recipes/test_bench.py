"""The benchmark: small sizes, so only that it measures what it says."""

import pytest
import torch

from lineament.errors import ConfigError
from lineament.networks import stylegan2
from lineament.networks.stylegan2 import GeneratorConfig
from lineament.ops.modulation import modulated_conv2d
from lineament.recipes.bench import BenchConfig, bench_synthesis, grouped_convolutions, in_turns, run

TINY = GeneratorConfig(resolution=32, channel_base=128, channel_max=8, z_dim=8, w_dim=8)


def test_actions_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []
    seconds = in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert set(seconds) == {"a", "b"}
    assert all(value >= 0 for value in seconds.values())


def test_grouped_convolutions_only_inside_the_block() -> None:
    with grouped_convolutions():
        assert stylegan2.modulated_conv2d is not modulated_conv2d
    assert stylegan2.modulated_conv2d is modulated_conv2d


def test_ratio_is_theirs_over_ours() -> None:
    (row,) = bench_synthesis(BenchConfig(network=TINY, batch_size=2, repeats=1))
    assert row.ratio == pytest.approx(row.against_seconds / row.seconds)


def test_whole_bench_makes_a_table() -> None:
    report = run(BenchConfig(network=TINY, batch_size=1, decomposer_batch_size=1, repeats=1))
    assert [row.wanted for row in report.rows] == [
        "at least 1.5",
        "below 0.25",
        "below 0.25",
        "at least 1.3",
        "",
        "",
        "",
    ]
    (table,) = report.renderables()
    assert table.row_count == 7
    assert f"{torch.get_num_threads()} threads" in str(table.title)


def test_settings() -> None:
    with pytest.raises(ConfigError, match="repeats is 0"):
        BenchConfig(repeats=0)
