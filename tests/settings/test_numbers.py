"""Every number of every command's settings: impossible values are refused where they enter."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from lineament.cli.main import COMMANDS
from lineament.errors import ConfigError

REQUIRED: dict[str, dict[str, Any]] = {
    "BalanceConfig": {"images": Path("i"), "dry_run": True},
    "ConvertConfig": {"path": Path("f"), "out": Path("o")},
    "DiscoverConfig": {"out": Path("o")},
    "EditConfig": {"edits": ("yaw=+1",)},
    "EvaluateDecomposerConfig": {"truth": Path("t")},
    "EvaluateEditsConfig": {"atlas": Path("a")},
    "EvaluatePartsConfig": {"atlas": Path("a"), "truth": Path("t")},
    "ExportDirectionsConfig": {"to": "e4e", "out": Path("o")},
    "ImportDirectionsConfig": {"paths": (Path("p"),), "out": Path("o.safetensors")},
    "InspectConfig": {"path": Path("f")},
    "InvertConfig": {"images": Path("i")},
    "PeersConfig": {"method": "sefa", "out": Path("o.safetensors")},
    "TrainDecomposerConfig": {"out": Path("o"), "images": (Path("i"),)},
    "TrainDetailsConfig": {"images": (Path("i"),), "out": Path("o")},
    "TrainEncoderConfig": {"out": Path("o")},
    "TrainGeneratorConfig": {"images": (Path("i"),), "out": Path("o")},
    "TrainJudgeConfig": {"truth": Path("t"), "test": Path("t"), "out": Path("o")},
}
"""What the settings of a command need."""

MAY_BE_NEGATIVE = {"ExportDirectionsConfig.amount"}
SEED = 2**63


def numeric_fields(settings: Any, where: str) -> Iterator[tuple[Any, str, type, str]]:
    """The dataclass, name, type and full name of every number in settings and the settings within."""
    hints = get_type_hints(type(settings))
    for entry in fields(settings):
        value, full = getattr(settings, entry.name), f"{where}.{entry.name}"
        if is_dataclass(value):
            yield from numeric_fields(value, f"{where}.{type(value).__name__}")
            continue
        for kind in (int, float):
            if hints[entry.name] in (kind, kind | None):
                yield settings, entry.name, kind, full


def everything() -> dict[str, tuple[Any, str, type]]:
    found: dict[str, tuple[Any, str, type]] = {}
    for command in COMMANDS.values():
        config = getattr(import_module(command.settings), command.config)
        made = config(**REQUIRED.get(command.config, {}))
        for owner, name, kind, full in numeric_fields(made, command.config):
            found.setdefault(".".join(full.split(".")[-2:]), (owner, name, kind))
    return found


ALL = everything()


def test_all_numbers_are_found() -> None:
    assert len(ALL) > 120
    for known in ("TrainGeneratorConfig.r1_gamma", "PartsConfig.samples", "GeneratorConfig.w_dim", "Devices.count"):
        assert known in ALL


@pytest.mark.parametrize("full", sorted(ALL))
def test_impossible_numbers_are_refused_by_name(full: str) -> None:
    owner, name, kind = ALL[full]
    impossible: list[Any] = [10**30] if kind is int else [math.nan, math.inf, -math.inf, 1e300]
    if full not in MAY_BE_NEGATIVE:
        impossible += [kind(-1)]
    if name == "seed":
        impossible += [SEED]
    for value in impossible:
        with pytest.raises(ConfigError, match=name.split("_")[0]) as caught:
            replace(owner, **{name: value})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("full", sorted(full for full, (_, name, _) in ALL.items() if name in ("seed", "run_seed")))
def test_the_largest_seed_is_taken(full: str) -> None:
    owner, name, _ = ALL[full]
    assert getattr(replace(owner, **{name: SEED - 1}), name) == SEED - 1


@pytest.mark.parametrize("full", sorted(full for full, (_, name, _) in ALL.items() if name == "batch_size"))
@pytest.mark.parametrize("size", [0, 10**9])
def test_batches_are_neither_empty_nor_endless(full: str, size: int) -> None:
    with pytest.raises(ConfigError, match=f"batch_size is {size}, expected"):
        replace(ALL[full][0], batch_size=size)
