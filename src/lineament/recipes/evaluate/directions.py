"""Compare our directions with those of other methods: one generator, the same faces, one independent judge.

The judge is a network trained on renders with their truth (`train judge`). Our directions come from a decomposer that
saw no label, so the judge is independent of them. Supervised methods get their labels from the judge itself. If a
method does not name its directions, the judge chooses the best one for each attribute. Both favour the other methods.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lineament.checkpoints.growth import atlas_for
from lineament.checkpoints.ours import load_discriminator, load_judge, network_fingerprint
from lineament.checkpoints.pairs import load_for_judging
from lineament.checkpoints.shipped import shipped_path
from lineament.directions.exchange import found_of_atlas
from lineament.engine.console import console, progress_bar
from lineament.engine.devices import make_fabric
from lineament.engine.locks import writes
from lineament.errors import ConfigError, DataError, MismatchError
from lineament.networks.judge import Judge
from lineament.recipes.evaluate.direction_bench import Bench
from lineament.recipes.evaluate.direction_methods import METHODS, OURS, OURS_CARRIED, Compared, Setting, asked_step
from lineament.recipes.evaluate.direction_report import write_direction_report
from lineament.recipes.evaluate.direction_scores import Measured, MethodScores, measure_method, scores_of_method
from lineament.recipes.evaluate.direction_tables import DirectionsReport, goals_of, plain
from lineament.records.attributes import is_local
from lineament.settings.evaluate_directions import EvaluateDirectionsConfig
from lineament.store.atlas import load_atlas
from lineament.store.atomic import write_text_atomic


def judged_methods(
    config: EvaluateDirectionsConfig, bench: Bench, setting: Setting
) -> tuple[list[tuple[MethodScores, list[Measured]]], dict[str, str]]:
    """Scores and measurements of every method, and the reasons why some methods were left out."""
    compared: dict[str, Compared] = {name: METHODS[name] for name in config.methods or METHODS}
    for path in config.directions:  # read before any method takes its time
        found = _loaded(path, bench)
        compared[path.name] = Compared(lambda _, found=found: found, by_chance=False)
    rows, left_out = [], {}
    with progress_bar() as bar:
        task = bar.add_task("comparing directions", total=len(compared), note="")
        for name, method in compared.items():

            def note(text: str, name: str = name) -> None:
                bar.update(task, note=f"{name}: {text}")

            try:
                measured = measured_method(config, bench, setting, name, method, note)
            except (ConfigError, DataError) as error:
                if name == OURS or len(compared) == 1:
                    raise
                # One method that cannot work here must not end a run that takes an hour.
                left_out[name] = str(error)
                console.print(f"{name} is left out: {error}", soft_wrap=True)
            else:
                facts = {"supervised": method.supervised, "peer": method.peer}
                rows.append((scores_of_method(bench, name, measured, facts, config.screened, config.seed), measured))
            bar.advance(task)
    if not rows:
        raise ConfigError("no method works on this generator; the reasons stand above")
    return rows, left_out


def measured_method(
    config: EvaluateDirectionsConfig,
    bench: Bench,
    setting: Setting,
    name: str,
    method: Compared,
    note: Callable[[str], None],
) -> list[Measured]:
    """Measure a method's directions, for every seed if they depend on chance.

    Raises:
        ConfigError, DataError: the method cannot work on this generator.
    """
    measured = []
    if method.carried:
        bench = bench.carrying(setting.decomposer)
    for number in range(config.seeds if method.by_chance else 1):
        found = method.find(replace(setting, seed=setting.seed + number))
        atlas = setting.atlas if name in (OURS, OURS_CARRIED) else None

        def asked(attribute: str, change: float, atlas: Any = atlas, found: Any = found) -> Any:
            return asked_step(atlas, found, attribute, change)

        measured.append(measure_method(bench, found, asked, config.codes, config.seed + number, note))
    return measured


def _loaded(path: Path, bench: Bench) -> Any:
    return found_of_atlas(atlas_for(load_atlas(path), bench.generator, path))


@writes("out", "report")
def run(config: EvaluateDirectionsConfig) -> DirectionsReport:
    """Find directions by all methods, measure and compare them.

    Raises:
        InputError, FileFormatError: a file cannot be read.
        MismatchError: the atlas belongs to another generator, or the judge needs larger images than it draws.
        ConfigError: the seed is the one that made the atlas, or ours or all methods fail on this generator.
    """
    device = make_fabric(config.devices).device
    path = config.atlas or shipped_path("atlas.safetensors", config.pair)
    atlas, generator, decomposer = load_for_judging(
        path, config.seed, config.generator, config.decomposer, config.pair, device
    )
    judge: Judge = load_judge(config.judge or shipped_path("judge.safetensors", config.pair), device)
    if judge.config.resolution > generator.config.resolution:
        raise MismatchError(
            f"the judge looks at {judge.config.resolution} px, but the generator draws {generator.config.resolution}; "
            "train a judge of that resolution"
        )
    discriminator = None if config.discriminator is None else load_discriminator(config.discriminator, device)
    bench = Bench(generator, judge, discriminator, atlas.truncation, config.seed, config.faces, config.screened)
    setting = Setting(
        generator, decomposer, atlas, bench.labeller(), config.samples, config.components, config.seed + 1, {}
    )
    rows, left_out = judged_methods(config, bench, setting)
    methods = tuple(scores for scores, _ in rows)
    stds = tuple(bench.stds.tolist())
    report = DirectionsReport(
        methods=methods,
        names=bench.names,
        local=tuple(name for name in bench.names if is_local(name)),
        r2=tuple(bench.r2.tolist()),
        stds=stds,
        settings={
            "faces": config.faces,
            "screened": config.screened,
            "seeds": config.seeds,
            "samples": config.samples,
            "components": config.components,
            "codes": config.codes,
            "seed": config.seed,
            "truncation": atlas.truncation,
            "discriminator": config.discriminator is not None,
            "generator": network_fingerprint(generator),
            "judge": network_fingerprint(judge),
        },
        goals=goals_of(methods),
        left_out=left_out,
    )
    if config.out is not None:
        write_text_atomic(config.out, json.dumps(plain(asdict(report)), indent=2) + "\n")
    if config.report is not None:
        write_direction_report(config.report, bench, report, [measured[0] for _, measured in rows])
    return report
