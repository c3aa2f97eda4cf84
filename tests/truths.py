"""Sets of ellipsoid faces with known shape, pose, light and albedo, and the folders that hold such sets."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lineament.records.camera import Camera
from lineament.records.proportions import LABELS as FACE_LABELS
from lineament.records.proportions import LANDMARKS
from lineament.records.truth import FaceTruth
from tests.worlds import FRONTAL, Ellipsoid

COLUMNS = ("yaw", "pitch", "roll", "tx", "ty", "tz", "ambient", "diffuse", "dx", "dy", "w_nose")
BEHIND = 1.1
LABELS = ("background", "hair", "skin")
PLANTED = ("w_nose-a", "lipstick", "w_head-a", "w_cheek-a")
CANON_LABELS = (*LABELS, "lips")


def known_faces(num: int = 4, size: int = 64, seed: int = 0) -> FaceTruth:
    """Ellipsoids of different depth and width, turned and lit; the images are noise."""
    rng, camera = np.random.default_rng(seed), Camera()
    view = rng.normal(size=(num, 6)) * [0.1, 0.25, 0.06, 0.004, 0.004, 0.004]
    light = rng.uniform([0.2, 0.3, -0.9, -0.9], [0.6, 0.7, 0.9, 0.9], (num, 4))
    seen, front = [], []
    for turned in view:
        face = Ellipsoid((0, 0, 1.02), (rng.uniform(0.045, 0.055), 0.07, rng.uniform(0.06, 0.1)))
        seen.append(face.seen(camera, size, size, turned))
        front.append(face.seen(camera, size, size, FRONTAL))
    stack = [torch.stack([getattr(s, name) for s in sights]) for sights in (seen, front) for name in ("depth", "mask")]
    depth, mask, canon_depth, canon_mask = (part.numpy() for part in stack)
    rows = np.linspace(0, np.pi, size)
    albedo = 0.5 + 0.3 * np.sin(rows[:, None, None] * [2, 3, 4]) * np.sin(
        rows[:, None] + rng.normal(size=(num, 1, 1, 1))
    )
    return FaceTruth(
        images=rng.integers(0, 256, (num, size, size, 3), np.uint8),
        depth=np.where(mask, depth, BEHIND).astype(np.float32),
        mask=mask,
        view=view.astype(np.float32),
        light=light.astype(np.float32),
        canon_depth=np.where(canon_mask, canon_depth, BEHIND).astype(np.float32),
        canon_mask=canon_mask,
        canon_albedo=albedo.astype(np.float32),
        face=mask & (np.arange(size)[:, None] > size // 3),
    )


def write_rendered(
    folder: Path, truth: FaceTruth, start: int = 0, named: Mapping[str, np.ndarray] | None = None
) -> Path:
    """The layout of rendered faces, with further named parameters of them."""
    (folder / "images").mkdir(parents=True)
    (folder / "truth").mkdir()
    columns = (*COLUMNS, *(named or {}))
    values = np.zeros((len(truth), len(columns)), np.float64)
    values[:, [1, 0, 2, 3, 4, 5]] = truth.view
    values[:, :3] = np.degrees(values[:, :3])
    values[:, 6:10] = truth.light
    for i, row in enumerate((named or {}).values()):
        values[:, len(COLUMNS) + i] = row
    index = np.arange(start, start + len(truth))
    np.savez_compressed(folder / "truth.npz", index=index, names=np.array(columns), values=values)
    rows = [",".join(map(str, (i, *row))) for i, row in zip(index, values.tolist(), strict=True)]
    (folder / "truth.csv").write_text("\n".join([",".join(("index", *columns)), *rows]) + "\n", encoding="utf-8")
    if truth.face is not None:
        (folder / "info.json").write_text(json.dumps({"labels": LABELS}), encoding="utf-8")
    for i, row in enumerate(index):
        Image.fromarray(truth.images[i]).save(folder / "images" / f"{row:06d}.png")
        write_face(folder / "truth" / f"{row:06d}.npz", truth, i)
    return folder


def write_named(folder: Path, num: int, size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rendered faces with parts of known place, and these places (h w) by name.

    The frontal view is hair above and face below. ``w_nose-a`` moves the depth of "nose" and ``lipstick`` the colour of
    "mouth"; in their middles half of the variance is theirs, and at the rims of these places their share of a standard
    deviation is half as large. ``w_head-a`` moves the depth of all but the middle rows, ``w_cheek-a`` nothing. The
    label of "lips" wanders by a pixel from face to face. How far away a face stands is random.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    hair = y < -0.7
    bump = {name: np.exp(-(x**2 + (y - at) ** 2) / 0.1) for name, at in (("nose", 0.0), ("mouth", 0.6))}
    scores = {name: rng.normal(size=num) for name in PLANTED}
    depth = 1 + 0.02 * rng.normal(size=(num, 1, 1)) + 0.01 * rng.normal(size=(num, size, size))
    depth = depth + 0.01 * scores["w_nose-a"][:, None, None] * bump["nose"]
    depth = depth + 0.02 * scores["w_head-a"][:, None, None] * np.sign(y) * (np.abs(y) > 0.4)
    albedo = 0.5 + 0.1 * rng.normal(size=(num, size, size, 3))
    albedo = albedo + 0.1 * scores["lipstick"][:, None, None, None] * bump["mouth"][..., None]
    truth = replace(
        known_faces(num, size),
        canon_depth=depth.astype(np.float32),
        canon_albedo=albedo.clip(0, 1).astype(np.float32),
        canon_mask=np.ones((num, size, size), bool),
    )
    write_rendered(folder, truth, named=scores)
    (folder / "info.json").write_text(json.dumps({"labels": CANON_LABELS}), encoding="utf-8")
    lips = (np.abs(x) < 0.3) & (np.abs(y - 0.6) < 0.15)
    for i in range(num):
        label = np.where(hair, CANON_LABELS.index("hair"), CANON_LABELS.index("skin"))
        label[np.roll(lips, rng.integers(-1, 2), axis=1)] = CANON_LABELS.index("lips")
        write_face(folder / "truth" / f"{i:06d}.npz", truth, i, canon_label=label.astype(np.uint8))
    return {"hair": hair, "lips": lips} | {name: (one > 0.378) & ~hair for name, one in bump.items()}


def write_face(path: Path, truth: FaceTruth, i: int, **changed: np.ndarray) -> None:
    """The arrays of one face, some of them changed."""
    arrays = {
        "depth": truth.depth[i],
        "mask": truth.mask[i].astype(np.uint8),
        "canon_depth": truth.canon_depth[i],
        "canon_mask": truth.canon_mask[i].astype(np.uint8),
        "canon_albedo": truth.canon_albedo[i].astype(np.float16),
        "landmarks": np.zeros((12, 3), np.float32),
    }
    if truth.face is not None:
        arrays["label"] = truth.mask[i].astype(np.uint8) + truth.face[i]
    np.savez_compressed(path, **(arrays | changed))


def drawn_face(size: int, *, nose: float = 0.15, jaw: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks, labels (0 is the background, then those of `proportions`) and depth of a face seen from the front.

    Drawn in distances between the eyeballs, three tenths of the picture: eyes 0.5 x 0.1 at height 0, brows at 0.35
    above, the tip of the nose 0.7 below, a mouth 0.9 wide from 1.0 to 1.3 below, the chin at 1.7. The nose is a
    Gaussian of the given width, the skin 2 wide and below the mouth as wide as the jaw.
    """
    unit, middle, eyes = 0.3 * size, (size - 1) / 2, 0.4 * size
    points = {
        "chin": (0, 1.7, 0.98),
        "nose_tip": (0, 0.7, 0.95),
        "upper_lip": (0, 1.0, 0.96),
        "lower_lip": (0, 1.3, 0.96),
        **{f"mouth_{side}": (sign * 0.45, 1.1, 0.97) for side, sign in (("l", 1), ("r", -1))},
        **{f"eye_inner_{side}": (sign * 0.25, 0, 0.97) for side, sign in (("l", 1), ("r", -1))},
        **{f"eye_outer_{side}": (sign * 0.75, 0, 0.98) for side, sign in (("l", 1), ("r", -1))},
        **{f"eyeball_{side}": (sign * 0.5, 0, 0.99) for side, sign in (("l", 1), ("r", -1))},
    }
    landmarks = np.array([(middle + points[n][0] * unit, eyes + points[n][1] * unit, points[n][2]) for n in LANDMARKS])
    rows, columns = np.mgrid[:size, :size]
    x, y = (columns - middle) / unit, (rows - eyes) / unit
    label = np.zeros((size, size), np.float32)
    side = np.abs(np.abs(x) - 0.5)
    places = {
        "skin": (np.abs(x) < np.where(y > 1.15, jaw / 2, 1.0)) & (y > -0.8) & (y < 1.75),
        "brows": (side < 0.25) & (np.abs(y + 0.35) < 0.05),
        "eye_white": (side < 0.25) & (np.abs(y) < 0.05),
        "nose": (np.abs(x) < 0.2) & (y > 0.3) & (y < 0.75),
        "lips": (np.abs(x) < 0.45) & (y > 1.0) & (y < 1.3),
    }
    for name, place in places.items():
        label[place] = 1 + FACE_LABELS.index(name)
    depth = 0.98 - 0.03 * np.exp(-(x**2) / 2 / nose**2)
    return landmarks.astype(np.float32), label, depth.astype(np.float32)


def write_drawn(folder: Path, truth: FaceTruth, jaws: np.ndarray) -> Path:
    """Rendered faces whose frontal truth is that of `drawn_face`, each with a jaw of its own width."""
    write_rendered(folder, truth)
    info = {"labels": ("background", *FACE_LABELS), "landmarks": LANDMARKS}
    (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")
    for i, jaw in enumerate(jaws.tolist()):
        landmarks, label, depth = drawn_face(truth.images.shape[1], jaw=jaw)
        changed = {"canon_landmarks": landmarks, "canon_label": label, "canon_depth": depth}
        write_face(folder / "truth" / f"{i:06d}.npz", truth, i, **changed)
    return folder


def write_pairs(folder: Path, truth: FaceTruth) -> Path:
    """The layout of image/depth pairs, depth in 16 bits."""
    for kind in ("image", "depth"):
        (folder / kind).mkdir(parents=True)
    for i in range(len(truth)):
        Image.fromarray(truth.images[i]).save(folder / "image" / f"image_{i:06d}.png")
        value = np.round((1.1 - truth.depth[i].astype(np.float64)) / 0.2 * 65535).astype(np.uint16)
        Image.fromarray(value).save(folder / "depth" / f"depth_{i:06d}.png")
    return folder
