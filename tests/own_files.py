"""Honest files of every format of ours, and what opens them."""

import io
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from lightning_fabric import Fabric

from lineament.checkpoints import ours
from lineament.checkpoints.foreign import discriminator_of, generator_of
from lineament.engine.run_folder import CONFIG_NAME, LOG_NAME, STATE_NAME, GentleStop, RunFolder
from lineament.engine.work import INPUTS_NAME, Work
from lineament.errors import LineamentError
from lineament.networks.encoder import Encoder
from lineament.networks.judge import Judge
from lineament.networks.stylegan.discriminator import Discriminator
from lineament.networks.stylegan.progressive_discriminator import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
)
from lineament.recipes.inspect_file import run as inspect
from lineament.records.shapes import EncoderConfig, JudgeConfig
from lineament.settings.inspect_file import InspectConfig
from lineament.store.atlas import load_atlas, save_atlas
from lineament.store.directions import read_directions
from lineament.store.foreign.checkpoints import open_checkpoint
from lineament.store.inversions import load_inversions, save_inversions
from lineament.store.labels import read_labels
from lineament.store.manifest import load_manifest, save_manifest
from lineament.store.tensors import read_header, save_tensors
from tests import foreign_names, tiny
from tests.made_up import with_parts
from tests.store.test_atlas import make_atlas
from tests.store.test_inversions import make_inversions

WORKSHOP = "workshop"
"""Name of the folder beside a file in which runs that use the file go on."""

LAYERS, WIDTH = 6, 5  # of the generator that directions are for


@dataclass(frozen=True)
class Settings:
    """Settings of a made-up training."""

    out: str = "run"
    steps: int = 100
    rate: float = 0.5


# ---- what opens them ----

LOADERS: dict[str, Callable[[Path], object]] = {
    "generator": ours.load_generator,
    "discriminator": ours.load_discriminator,
    "decomposer": ours.load_decomposer,
    "encoder": ours.load_encoder,
    "judge": ours.load_judge,
    "features": lambda path: ours.load_features(path, torch.zeros(1, 3, 32, 32), "cpu"),
    "atlas": load_atlas,
    "inversions": load_inversions,
}
"""Loaders by the kind in the file's header."""


def open_tensors(path: Path) -> None:
    """A file of tensors: describe it, then load it as what it says it is."""
    with suppress(LineamentError):
        for table in inspect(InspectConfig(path)).renderables():
            assert table is not None
    LOADERS.get(read_header(path).kind, ours.load_generator)(path)


def _workshop(path: Path) -> Path:
    """An empty folder beside a file."""
    folder = path.parent / WORKSHOP
    folder.mkdir(exist_ok=True)
    for entry in folder.iterdir():
        entry.unlink()
    return folder


def open_run(path: Path, name: str) -> None:
    """A file of a run folder: describe the folder, then go on in it. What goes on writes into the folder."""
    folder = _workshop(path)
    (folder / CONFIG_NAME).write_text(json.dumps(asdict(Settings())))
    (folder / name).write_bytes(path.read_bytes())
    with suppress(LineamentError):
        inspect(InspectConfig(folder))
    with RunFolder(folder, Settings(), free=("steps",), inputs=("out",)) as run:
        run.check_origins({"the images": "a" * 64})
        run.load_state()
        with mock.patch.dict(sys.modules, {"torch.utils.tensorboard": mock.MagicMock()}):
            run.open_log(5)
        run.rename_state(STATE_NAME, "best", before=10)


def open_work(path: Path, name: str) -> None:
    """A file of a folder of shared work: check what it was made of, then read the piece."""
    folder = _workshop(path)
    (folder / name).write_bytes(path.read_bytes())
    work = Work(folder, _fabric(), GentleStop())
    work.check_inputs({"the generator": "a" * 64}, "choose another folder")
    next(work.do("stage", 1, lambda _: ({"a": np.ones(2)}, {"n": 1})))


@cache
def _fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def open_foreign(path: Path) -> None:
    """A checkpoint of another program: make its networks."""
    checkpoint = open_checkpoint(path)
    generator_of(checkpoint)
    discriminator_of(checkpoint)


OPENERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": open_checkpoint,
    "tensors": open_tensors,
    "manifest": load_manifest,
    "labels": read_labels,
    "directions": lambda path: read_directions(path, LAYERS, WIDTH),
    "config": partial(open_run, name=CONFIG_NAME),
    "log": partial(open_run, name=LOG_NAME),
    "state": partial(open_run, name=f"{STATE_NAME}.safetensors"),
    "inputs": partial(open_work, name=INPUTS_NAME),
    "piece": partial(open_work, name="stage-000000.safetensors"),
    "foreign": open_foreign,
}
"""By the name of a format. Each raises a LineamentError for a file that it cannot use, and nothing else."""


# ---- honest files ----


def written(write: Callable[[Path], object]) -> bytes:
    """The bytes of the file that a function writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


def network_bytes(kind: str, network: Any) -> bytes:
    return written(lambda path: ours.save_network(path, kind, network, network.config.to_dict(), {"note": "made up"}))


def tensor_bytes(kind: str, header: dict[str, Any], **tensors: np.ndarray) -> bytes:
    return written(lambda path: save_tensors(path, tensors or {"a": np.ones(2)}, kind, 1, header))


@cache
def honest() -> dict[str, list[bytes]]:
    """Small honest files by the name of their format; every one of them opens."""
    torch.manual_seed(0)
    array = np.random.default_rng(0).normal(size=(1, WIDTH)).astype(np.float32)
    npy, pt, foreign = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, array)
    torch.save(torch.from_numpy(array), pt)
    torch.save(foreign_names.to_nvidia(foreign_names.made()), foreign)
    encoder = EncoderConfig(
        resolution=16, w_dim=4, num_ws=3, channels=4, channel_max=8, offset_dim=4, generator="a" * 64
    )
    progressive = ProgressiveDiscriminatorConfig(resolution=16, channel_base=64, channel_max=6, dense_dim=6)
    columns = {"file": ["a", None], "yaw": np.array([1.5, -2.0]), "item": [None, 3], "accepted": [True, False]}
    return {
        "tensors": [
            network_bytes("generator", tiny.generator()),
            network_bytes("discriminator", Discriminator(tiny.DISCRIMINATOR)),
            network_bytes("discriminator", ProgressiveDiscriminator(progressive)),
            network_bytes("decomposer", tiny.decomposer()),
            network_bytes("encoder", Encoder(encoder)),
            network_bytes("judge", Judge(JudgeConfig("smile age", 16, 4, 8, 4))),
            written(lambda path: save_atlas(path, make_atlas())),
            written(lambda path: save_atlas(path, with_parts(make_atlas(8), 8))),
            written(lambda path: save_inversions(path, make_inversions())),
        ],
        "manifest": [written(lambda path: save_manifest(path, columns, {"plan": {"seed": 3}}))],
        "labels": [b"file,smile,age\na.png,1,30\nb.png,,\n", "\ufeffDatei;\u00c4lter\r\na;1,5\r\n".encode("utf-16")],
        "directions": [npy.getvalue(), pt.getvalue()],
        "config": [json.dumps(asdict(Settings(steps=7))).encode()],
        "log": [b'{"step": 3, "time": 1.0, "loss": 0.5}\n{"step": 9, "time": 2.0, "loss": 0.25}\n'],
        "state": [tensor_bytes("training-state", {"step": 3, "origins": {"the images": "a" * 64}})],
        "inputs": [json.dumps({"the generator": "a" * 64}).encode()],
        "piece": [tensor_bytes("shared-work", {"facts": {"n": 1}})],
        "foreign": [foreign.getvalue()],
    }
