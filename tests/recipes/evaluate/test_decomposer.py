"""Measuring decomposers against known faces."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from lineament.checkpoints.ours import save_network
from lineament.cli.main import main
from lineament.errors import ConfigError, ImageError, MismatchError
from lineament.faces import decomposer_scores
from lineament.faces.decomposer_scores import (
    DecomposerRow,
    correlation_of,
    evaluate,
    known_parts,
    mean_depth,
    mean_of,
    pose_scores,
    ratio_of,
)
from lineament.networks.decomposer import Decomposer
from lineament.ops.camera import rotation_matrices
from lineament.ops.rasterizer import rasterize_depth
from lineament.ops.shading import light_directions
from lineament.ops.shape_metrics import eroded, euler_angles_deg
from lineament.recipes.evaluate import decomposer as module
from lineament.recipes.evaluate.decomposer import run
from lineament.records.camera import Camera
from lineament.records.decomposition import Decomposition
from lineament.records.shapes import DecomposerConfig
from lineament.records.truth import MEAN_ROW, NULL_ROW, TRUTH_ROW, FaceTruth
from lineament.settings.evaluate_decomposer import EvaluateDecomposerConfig
from tests import tiny
from tests.truths import known_faces, write_pairs, write_rendered


class Saying(Decomposer):
    """A decomposer that says what it was told, face by face, whatever the images show."""

    def __init__(self, parts: Decomposition) -> None:
        super().__init__(tiny.DECOMPOSER)
        self.parts, self.next = parts, 0

    def forward(self, image: torch.Tensor) -> Decomposition:
        faces = slice(self.next, self.next + len(image))
        self.next += len(image)
        return Decomposition(**{name: value[faces] for name, value in vars(self.parts).items()})


@pytest.fixture(scope="module")
def known() -> FaceTruth:
    return known_faces(5)


def rows_of(known: FaceTruth, **said: Decomposition) -> dict[str, DecomposerRow]:
    mean = mean_depth(zip(known.depth, known.mask, strict=True))
    rows = evaluate(known, mean, {name: Saying(parts) for name, parts in said.items()})
    return {row.name: row for row in rows}


def value(row: DecomposerRow, name: str) -> float:
    return row.scores[name].value


def test_who_says_the_truth_scores_as_the_truth(known: FaceTruth) -> None:
    parts = known_parts(known)
    rows = rows_of(known, honest=parts)
    honest = rows["honest"]
    assert asdict(honest)["scores"] == asdict(rows[TRUTH_ROW])["scores"]
    assert value(honest, "side_x100") < 0.1
    assert value(honest, "mad_deg") < 2
    assert value(honest, "side_ratio") < 0.25  # what turns into view in profile, no map of the front holds
    assert value(honest, "convex") == 1
    assert value(honest, "covered") > 0.97
    assert value(honest, "albedo_error") < 0.01
    for name in ("yaw_error_deg", "pitch_error_deg", "roll_error_deg", "light_error_deg", "frame_offset_deg"):
        assert value(honest, name) == pytest.approx(0, abs=1e-4)
    for name in ("yaw_slope", "yaw_correlation", "ambient_correlation"):
        assert value(honest, name) == pytest.approx(1, abs=1e-6)


def test_a_hollow_mask_is_not_convex_and_scores_badly(known: FaceTruth) -> None:
    parts = known_parts(known)
    rows = rows_of(known, hollow=replace(parts, canon_depth=2 - parts.canon_depth))
    assert value(rows["hollow"], "convex") == 0
    assert value(rows["hollow"], "mad_deg") > 1.5 * value(rows[NULL_ROW], "mad_deg")
    assert value(rows["hollow"], "side_x100") > 1.5 * value(rows[NULL_ROW], "side_x100")


def test_errors_have_the_size_that_was_planted(known: FaceTruth) -> None:
    parts = known_parts(known)
    light = parts.light.clone()
    light[:, 0] += 0.1
    light[:, 1] *= 0.5
    view = parts.view.clone()
    view[:, 1] *= 0.5
    dim = replace(parts, canon_albedo=parts.canon_albedo / 2 - 0.5)  # half as bright
    rows = rows_of(known, wrong=replace(parts, light=light, view=view), dim=dim)
    row = rows["wrong"]
    assert value(row, "ambient_error") == pytest.approx(0.1, abs=1e-6)
    assert value(row, "ambient_correlation") == pytest.approx(1)
    assert value(row, "diffuse_error") == pytest.approx(float(parts.light[:, 1].mean()) / 2, rel=1e-5)
    assert value(row, "yaw_slope") == pytest.approx(0.5, abs=0.02)  # not exact: the mean offset is taken out
    assert value(row, "yaw_error_deg") > 1
    assert value(rows["dim"], "albedo_error") == pytest.approx(value(rows[TRUTH_ROW], "albedo_error"), abs=1e-6)
    assert value(row, "albedo_error") > 3 * value(rows[TRUTH_ROW], "albedo_error")


def test_the_null_depth_is_scored_by_the_published_formula(known: FaceTruth) -> None:
    row = rows_of(known)[NULL_ROW]
    expected = []
    for depth, inside in zip(known.depth, eroded(torch.from_numpy(known.mask)).numpy(), strict=True):
        e = -np.log(depth[inside][None].astype(np.float64))
        expected.append(100 * np.sqrt((e**2).mean() - e.mean() ** 2))
    # The null surface covers everything, but its own mask is eroded at the image's border too; no face reaches it.
    assert value(row, "side_x100") == pytest.approx(np.mean(expected), rel=1e-4)
    assert row.scores["side_x100"].standard_error == pytest.approx(np.std(expected, ddof=1) / math.sqrt(5), rel=1e-3)
    shape = {"side_x100", "side_ratio", "mad_deg", "mad_ratio"}
    assert set(row.scores) == {*shape, *(f"face_{name}" for name in shape), "covered"}
    # The face proper is a part of the mask, scored by the same formula.
    proper = []
    for depth, inside in zip(known.depth, eroded(torch.from_numpy(known.mask & known.face)).numpy(), strict=True):
        proper.append(100 * np.std(np.log(depth[inside].astype(np.float64))))
    assert value(row, "face_side_x100") == pytest.approx(np.mean(proper), rel=1e-4)


def test_a_surface_that_leaves_the_face_is_told_by_its_covered_share(known: FaceTruth) -> None:
    parts = known_parts(known)
    view = parts.view.clone()
    view[:, 3] += 0.06  # a third of the image's width
    away = view.clone()
    away[:, 3] += 1
    rows = rows_of(known, shifted=replace(parts, view=view), away=replace(parts, view=away))
    depth, covered = rasterize_depth(parts.canon_depth, view, Camera())
    inside = eroded(torch.from_numpy(known.mask))
    shares = [float(covered[i][inside[i]].double().mean()) for i in range(len(known))]
    assert value(rows["shifted"], "covered") == pytest.approx(np.mean(shares))
    assert 0.4 < np.mean(shares) < 0.9
    # Only what both surfaces cover, each less one pixel, is compared.
    e = [
        (depth.log() - torch.from_numpy(known.depth).log())[i][inside[i] & eroded(covered)[i]].double()
        for i in range(len(known))
    ]
    expected = np.mean([float((values.square().mean() - values.mean() ** 2).sqrt()) for values in e])
    assert value(rows["shifted"], "side_x100") == pytest.approx(100 * expected, rel=1e-4)
    assert value(rows["away"], "covered") == 0
    assert not {"side_x100", "mad_deg", "side_ratio", "albedo_error"} & set(rows["away"].scores)
    json.dumps(asdict(rows["away"]), allow_nan=False)


def test_another_canonical_frame_costs_nothing_in_pose_and_light(known: FaceTruth) -> None:
    parts = known_parts(known)
    (planted,) = rotation_matrices(torch.tensor([[0.2, -0.1, 0.05, 0, 0, 0]]))
    angles = torch.deg2rad(euler_angles_deg(rotation_matrices(parts.view) @ planted))
    turned = light_directions(parts.light) @ planted  # l_q = G^T l_p
    light = torch.cat([parts.light[:, :2], turned[:, :2] / turned[:, 2:]], dim=1)
    scores = pose_scores(torch.cat([angles, parts.view[:, 3:]], dim=1), light, parts)
    assert scores["frame_offset_deg"].value == pytest.approx(math.degrees(math.hypot(0.2, 0.1, 0.05)), rel=0.01)
    for name in ("yaw_error_deg", "pitch_error_deg", "roll_error_deg", "light_error_deg"):
        assert scores[name].value == pytest.approx(0, abs=1e-4)


def test_scores_do_not_depend_on_the_batches(known: FaceTruth, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = known_parts(known)
    whole = rows_of(known, honest=parts)
    monkeypatch.setattr(decomposer_scores, "_BATCH", 2)
    split = rows_of(known, honest=parts)
    for name, row in whole.items():
        assert set(split[name].scores) == set(row.scores)
        for key, estimate in row.scores.items():
            assert value(split[name], key) == pytest.approx(estimate.value, rel=1e-6, abs=1e-6)


def test_mean_depth_leaves_out_what_does_not_cover_a_pixel_and_fills_rare_pixels() -> None:
    depths = np.linspace(0.9, 1.1, 200)[:, None, None] * np.ones((1, 3, 4))
    masks = np.zeros((200, 3, 4), bool)
    masks[:, 0, 0] = True  # all faces
    masks[:100, 2, 3] = True  # the nearer half
    masks[-1, 2, 0] = True  # half a percent of the faces: too few
    mean = mean_depth(zip(depths, masks, strict=True))
    assert float(mean[0, 0]) == pytest.approx(1.0)
    assert float(mean[2, 3]) == pytest.approx(depths[:100].mean())
    assert mean[2, 0] == mean[1, 1] == mean[0, 0]
    assert mean[2, 2] == mean[1, 3] == mean[2, 3]


def test_means_ratios_and_correlations_have_textbook_errors() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=400)
    pred = 0.5 * true + 0.3 * rng.normal(size=400)
    mean = mean_of(torch.tensor([1.0, 3.0, math.nan]))
    assert (mean.value, mean.standard_error) == (2.0, pytest.approx(1.0))
    assert mean_of(torch.tensor([math.nan])) is None
    assert mean_of(torch.tensor([4.0])).standard_error is None
    correlation, slope = correlation_of(torch.from_numpy(pred), torch.from_numpy(true))
    r = np.corrcoef(pred, true)[0, 1]
    assert (correlation.value, correlation.standard_error) == pytest.approx((r, (1 - r**2) / math.sqrt(399)))
    (fitted, _), covariance = np.polyfit(true, pred, 1, cov=True)
    assert (slope.value, slope.standard_error) == pytest.approx((fitted, math.sqrt(covariance[0, 0])))
    assert correlation_of(torch.ones(4), torch.arange(4.0)) is None
    # What is a tenth larger for every face is a tenth larger, without any doubt.
    sizes = torch.from_numpy(rng.uniform(1, 5, 50))
    ratio = ratio_of(1.1 * sizes, sizes)
    assert (ratio.value, ratio.standard_error) == (pytest.approx(1.1), pytest.approx(0, abs=1e-12))
    independent = ratio_of(torch.from_numpy(rng.uniform(1, 5, 50)), sizes)
    assert 0.03 < independent.standard_error < 0.12


def test_the_command_writes_its_numbers(tmp_path: Path, known: FaceTruth, capsys) -> None:
    truth, train = write_rendered(tmp_path / "test", known), write_pairs(tmp_path / "train", known_faces(6, seed=1))
    _, network = tiny.save_pair(tmp_path / "networks")
    out = tmp_path / "scores.json"
    words = ["--truth", str(truth), "--train-truth", str(train), "--faces", "4", "--out", str(out), "--on.accelerator"]
    also = ["cpu", "--decomposer", str(network), "--also", f"a={network}", "--also", f"b b={network}"]
    assert main(["evaluate", "decomposer", *words, *also]) == 0
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["faces"] == 4
    assert written["mean_depth_from"] == "6 faces of train"
    rows = {row["name"]: row["scores"] for row in written["rows"]}
    assert list(rows) == [NULL_ROW, MEAN_ROW, TRUTH_ROW, "decomposer", "a", "b b"]
    assert rows["a"] == rows["decomposer"]
    assert rows[MEAN_ROW]["side_ratio"] == {"value": 1.0, "standard_error": 0.0}
    assert rows[NULL_ROW]["side_x100"]["value"] > rows[MEAN_ROW]["side_x100"]["value"]
    assert {name for table in module._TABLES.values() for name, _, _ in table} == set(rows["decomposer"])
    shown = capsys.readouterr().out
    assert "Light and albedo" in shown
    assert f"{rows['decomposer']['side_x100']['value']:.3f}" in shown
    assert "4 faces of test, 64 px; mean depth from 6 faces of train" in shown


def test_pairs_know_shape_alone(tmp_path: Path, known: FaceTruth) -> None:
    _, network = tiny.save_pair(tmp_path / "networks")
    folder = write_pairs(tmp_path / "pairs", known)
    report = run(EvaluateDecomposerConfig(truth=folder, decomposer=network))
    assert [row.name for row in report.rows] == [NULL_ROW, MEAN_ROW, "decomposer"]
    assert report.mean_depth_from == "the same faces"
    assert set(report.rows[2].scores) == {"side_x100", "side_ratio", "mad_deg", "mad_ratio", "covered", "convex"}
    assert len(report.renderables()) == 2


def test_the_shipped_decomposer_is_the_default() -> None:
    config = tyro.cli(EvaluateDecomposerConfig, args=["--truth", "x"])
    assert list(config.paths()) == ["shipped decomposer"]
    assert config.paths()["shipped decomposer"].exists()


def test_wrong_inputs(tmp_path: Path, known: FaceTruth) -> None:
    _, network = tiny.save_pair(tmp_path)
    with pytest.raises(ConfigError, match="faces is 1"):
        EvaluateDecomposerConfig(truth=tmp_path, faces=1)
    with pytest.raises(ConfigError, match="expected NAME=PATH"):
        EvaluateDecomposerConfig(truth=tmp_path, also=("only-a-path",))
    for taken in ("a=1", "null depth=1", "shipped decomposer=1"):
        with pytest.raises(ConfigError, match="two rows would be called"):
            EvaluateDecomposerConfig(truth=tmp_path, also=("a=2", taken))
    large = Decomposer(DecomposerConfig(resolution=128, channels=4, channel_max=8, code_dim=8, pose_channels=4))
    save_network(tmp_path / "large.safetensors", "decomposer", large, large.config.to_dict(), {})
    with pytest.raises(MismatchError, match=r"'large' takes 128 px images and 'decomposer' 64 px"):
        run(EvaluateDecomposerConfig(truth=tmp_path, decomposer=network, also=(f"large={tmp_path}/large.safetensors",)))
    folder = write_rendered(tmp_path / "one", known_faces(1))
    with pytest.raises(ConfigError, match="holds one face"):
        run(EvaluateDecomposerConfig(truth=folder, decomposer=network))
    with pytest.raises(ImageError, match="64 x 64 px, expected 128 x 128"):
        run(EvaluateDecomposerConfig(truth=folder, decomposer=tmp_path / "large.safetensors"))
