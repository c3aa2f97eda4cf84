"""Foreign checkpoints open with the right tensors, run nothing, cost little, and say what they are when they do not."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from lineament.errors import FileFormatError, InputError, StorageError, VersionError
from lineament.records.checkpoint import ForeignCheckpoint
from lineament.store.foreign.checkpoints import open_checkpoint
from lineament.store.tensors import save_tensors
from tests import foreign_checkpoints as made
from tests import hostile
from tests.own_files import WORKSHOP

ALLOWANCE = 2**26  # bytes that opening may take beyond four times the file's size


def opened(folder: Path, data: bytes, name: str = "network.pkl") -> ForeignCheckpoint:
    path = folder / name  # a file must stay as it is while its tensors are used
    path.write_bytes(data)
    return open_checkpoint(path)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
        assert found[name].dtype == value.dtype


@pytest.mark.parametrize("protocol", range(6))
def test_nvidia_pytorch(tmp_path: Path, protocol: int) -> None:
    data = made.nvidia_torch(protocol)
    found = opened(tmp_path, data)
    assert found.layout == "nvidia-torch"
    assert list(found.networks) == ["G", "G_ema"]
    assert found.extras == {
        "D": None,
        "augment_pipe": None,
        "training_set_kwargs": {"path": "faces.zip", "xflip": False, "max_size": 7},
    }
    assert found.carries_code
    assert (found.num_bytes, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert found.opaque_names == (
        "torch.nn.modules.activation.LeakyReLU",
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.linear.Linear",
    )
    network = found.networks["G_ema"]
    assert (network.role, network.class_name, network.source) == ("G_ema", "Generator", made.SOURCE)
    assert network.settings == made.INIT
    assert_same(network.tensors, made.state_dict())
    assert network.module_settings[""] == {"z_dim": 4, "_init_args": [], "_init_kwargs": made.INIT}
    assert network.module_settings["synthesis"] == {
        "conv_clamp": None,
        "padding": [1, 2],
        "size": [8, 8],
        "_init_args": [],
        "_init_kwargs": {"size": 3},
    }
    assert network.module_settings["mapping.0"] == {"in_features": 4, "out_features": 4}


@pytest.mark.parametrize("version", range(1, 7))
def test_every_known_version_of_nvidias_records(tmp_path: Path, version: int) -> None:
    assert list(opened(tmp_path, made.nvidia_torch(version=version)).networks) == ["G", "G_ema"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("version", [2, 3, 4])
def test_nvidia_tensorflow(tmp_path: Path, protocol: int, version: int) -> None:
    found = opened(tmp_path, made.nvidia_tensorflow(protocol, version))
    assert found.layout == "nvidia-tensorflow"
    assert list(found.networks) == ["G", "D", "Gs"]
    assert found.carries_code
    network = found.networks["Gs"]
    assert (network.class_name, network.source) == ("G_main", made.SOURCE)
    assert network.settings == {"num_channels": 3, "truncation_psi": 0.5}
    assert network.module_settings == {"G_synthesis": {"resolution": 8}, "G_mapping": {"mapping_layers": 1}}
    assert network.tensors.pop("lod").item() == 0
    expected = made.tensorflow_variables()
    assert network.tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(network.tensors[name].numpy(), value)
    assert list(found.networks["D"].tensors) == ["Dense0/weight", "Dense0/bias"]


@pytest.mark.parametrize("legacy", [False, True])
def test_rosinality(tmp_path: Path, legacy: bool) -> None:
    found = opened(tmp_path, made.saved(made.rosinality(), legacy=legacy))
    assert found.layout == "torch"
    assert list(found.networks) == ["g", "d", "g_ema"]
    assert not found.carries_code
    assert_same(found.networks["g_ema"].tensors, made.state_dict())
    assert torch.equal(found.extras["latent_avg"], torch.linspace(0, 1, 4))
    assert found.extras["args"] == {"size": 256, "path": "/data", "lr": 0.002, "channel_multiplier": 2}
    assert found.extras["ada_aug_p"] == 0.25
    assert found.extras["g_optim"]["param_groups"][0]["lr"] == 0.001
    assert found.opaque_names == ("argparse.Namespace",)


def test_genforce(tmp_path: Path) -> None:
    networks = {
        "generator": made.state_dict(),
        "discriminator": made.state_dict(),
        "generator_smooth": made.state_dict(),
    }
    released = opened(tmp_path, made.saved(networks))
    training = opened(tmp_path, made.saved({"models": networks, "running_metadata": {"iter": 7}}), "training.pth")
    for found in (released, training):
        assert list(found.networks) == list(networks)
        assert_same(found.networks["generator_smooth"].tensors, made.state_dict())
    assert training.extras == {"running_metadata": {"iter": 7}}


@pytest.mark.parametrize("legacy", [False, True])
def test_plain_state_dicts_and_whole_modules(tmp_path: Path, legacy: bool) -> None:
    state = opened(tmp_path, made.saved(made.generator().state_dict(), legacy=legacy))
    assert_same(state.networks[""].tensors, made.state_dict())
    whole = opened(tmp_path, made.saved(made.generator(), legacy=legacy))
    assert_same(whole.networks[""].tensors, made.state_dict())
    assert whole.networks[""].class_name == "Generator"
    assert "class Generator" in whole.networks[""].source or not legacy
    both = opened(tmp_path, made.saved({"model": made.generator(), "step": 3, "mean": torch.ones(2)}, legacy=legacy))
    assert_same(both.networks["model"].tensors, made.state_dict())
    assert both.extras["step"] == 3
    assert torch.equal(both.extras["mean"], torch.ones(2))


def test_state_dicts_of_numpy_arrays(tmp_path: Path) -> None:
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.arange(4)}
    found = opened(tmp_path, pickle.dumps({**arrays, "note": "hand-made"}, 4))
    np.testing.assert_array_equal(found.networks[""].tensors["a"].numpy(), arrays["a"])
    assert found.networks[""].settings == {"note": "hand-made"}


def test_settings_that_are_not_plain_are_shown_and_not_made(tmp_path: Path) -> None:
    value = {
        "w": torch.ones(1),
        "g": made.state_dict(),
        "path": Path("a"),
        "dtype": torch.float32,
        3: "no name",
        "b": b"x",
    }
    extras = opened(tmp_path, made.saved(value)).extras
    assert extras.pop("path") == f"<{type(Path()).__module__}.{type(Path()).__name__}>"
    assert torch.equal(extras.pop("w"), torch.ones(1))
    assert extras == {"dtype": "<torch.float32>", "b": "<bytes>"}


def test_tensors_survive_and_may_be_changed_without_changing_the_file(tmp_path: Path) -> None:
    data = made.saved({"w": torch.ones(5)})
    tensor = opened(tmp_path, data).networks[""].tensors["w"]
    tensor += 1
    assert (tmp_path / "network.pkl").read_bytes() == data
    assert torch.equal(tensor, torch.full((5,), 2.0))


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        opened(tmp_path, made.saved(made.state_dict()))
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2


# ---- what does not open ----

MESSAGES = {
    "nothing": "is empty",
    "zeros": "zeros only",
    "noise": "is no checkpoint: it begins with",
    "a Git LFS pointer": "git lfs pull",
    "a web page": "a web page saved under the name of a checkpoint",
    "a GGUF model": "a language model",
    "a zip of images": "a zip archive of images",
    "a tar archive with links": "a tar archive; unpack it",
    "gzip of a bomb": "gunzip",
    "a TorchScript program": r"is a TorchScript program.*state_dict\(\)",
    "a list of names": "has no networks: it is one value of the type list",
    "os.system": r"names 'os\.system': it carries code that would run when other programs open it",
    "a gadget nested in a storage": r"names 'os\.system'",
    "storages nested in each other": "holds another pickle",
    "a zip bomb": "unpacks to far more than its own size",
    "entries that overlap": "overlaps another one",
    "two entries of one name": "two entries of the name",
    "a path out of the archive": "a path that leads out of the archive",
    "an encrypted entry": "is encrypted",
    "a deflated entry that lies about its size": "unpacks to another size",
    "a byte expanded to a terabyte": "tensor 'w' cannot be read",
    "thousands of tensors on one storage": "same bytes over and over",
    "a module that holds itself": "are nested too deeply",
    "a call of what a call returned": "calls what another call returned",
    "5 tenths of a zip file": r"the first \d+ bytes of a zip archive.*half a download",
    "5 tenths of a legacy file": "ends in the middle.*half a download",
    "5 tenths of a nvidia file": "ends in the middle.*half a download",
    "5 tenths of a tensorflow file": "ends in the middle.*half a download",
}


@pytest.mark.parametrize("case", MESSAGES)
def test_errors_say_what_the_file_is(tmp_path: Path, case: str) -> None:
    with pytest.raises(FileFormatError, match=MESSAGES[case]) as caught:
        opened(tmp_path, hostile.CORPUS[case]())
    assert str(caught.value).startswith(str(tmp_path / "network.pkl"))


def test_files_of_ours_and_other_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    save_tensors(path, {"w": np.ones(2)}, kind="generator", schema_version=1, header={})
    with pytest.raises(FileFormatError, match="one of Lineament's own files"):
        open_checkpoint(path)
    safetensors.torch.save_file({"w": torch.arange(4.0), "small": torch.zeros(2).to(torch.float8_e5m2)}, path)
    found = open_checkpoint(path)
    assert found.layout == "safetensors"
    assert torch.equal(found.networks[""].tensors["w"], torch.arange(4.0))
    assert "F8_E5M2, which is not read" in found.networks[""].unread["small"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="is damaged"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("NaN in a tensor", "holds NaN or infinity"),
        ("infinity in a half", "holds NaN or infinity"),
        ("a sparse tensor among the weights", "of an unsupported kind"),
    ],
)
def test_tensors_that_cannot_be_used_are_set_aside(tmp_path: Path, case: str, why: str) -> None:
    (network,) = opened(tmp_path, hostile.CORPUS[case]()).networks.values()
    assert why in network.unread["w"]
    assert "w" not in network.tensors


def test_networks_are_found_in_dicts_within_dicts(tmp_path: Path) -> None:
    state, other = {"a": torch.ones(2)}, {"a": torch.zeros(2)}
    value = {
        "models": {"g_ema": state, "d": other, "latent_avg": torch.ones(3)},
        "old": {"g_ema": {"a": torch.zeros(3)}},
        "step": 7,
    }
    found = opened(tmp_path, made.saved(value | {"optim": {"state": {0: {"exp_avg": torch.ones(2)}}, "lr": 0.1}}))
    assert list(found.networks) == ["g_ema", "d", "old.g_ema"]
    assert torch.equal(found.networks["g_ema"].tensors["a"], torch.ones(2))
    assert torch.equal(found.extras["latent_avg"], torch.ones(3))
    assert found.extras["step"] == 7
    assert found.extras["optim"]["lr"] == 0.1


def test_archives_may_be_unpacked_and_packed_again(tmp_path: Path) -> None:
    packed = tmp_path / "g.pt"
    torch.save({"g_ema": made.state_dict()}, packed)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "unpacked")
    (inside,) = (tmp_path / "unpacked").iterdir()
    again = shutil.make_archive(str(tmp_path / "again"), "zip", inside)
    for path in (packed, tmp_path / "unpacked", inside, inside / "data.pkl", again):
        assert_same(open_checkpoint(path).networks["g_ema"].tensors, made.state_dict())
    (tmp_path / "alone.pkl").write_bytes((inside / "data.pkl").read_bytes())
    with pytest.raises(FileFormatError, match=r"part of a PyTorch archive.*name the file before it was unpacked"):
        open_checkpoint(tmp_path / "alone.pkl")


def test_folders_stand_for_the_one_checkpoint_in_them(tmp_path: Path) -> None:
    hub = tmp_path / "models--somebody--faces"
    for revision in ("1", "2"):
        (hub / "snapshots" / revision).mkdir(parents=True)
    (hub / "snapshots" / "2" / "config.json").write_text("{}")
    torch.save(made.state_dict(), hub / "snapshots" / "2" / "pytorch_model.bin")
    os.utime(hub / "snapshots" / "1", ns=(1, 1))
    assert_same(open_checkpoint(hub).networks[""].tensors, made.state_dict())
    torch.save(made.state_dict(), hub / "snapshots" / "2" / "other.pt")
    with pytest.raises(InputError, match=r"holds 2 checkpoints \(other.pt, pytorch_model.bin\); name one of them"):
        open_checkpoint(hub)
    (hub / "model_index.json").write_text("{}")
    with pytest.raises(FileFormatError, match="folder of diffusers"):
        open_checkpoint(hub)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01\x00", "an array of NumPy"),
        (b"\x08\x07\x12\x07pytorch\x1a\x05", "ONNX"),
        (b'{"weights": "elsewhere"}', "JSON"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"BZh9", "bzip2"),
        (b"\x7fELF", "a program"),
        (b"just a text", "no checkpoint"),
    ],
)
def test_mix_ups(tmp_path: Path, start: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        opened(tmp_path, start + bytes(64))


def test_versions_of_the_future(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match=r"modules of version 7 .*up to 6 are read: .*state_dict\(\)"):
        opened(tmp_path, made.nvidia_torch(version=7))
    with pytest.raises(VersionError, match=r"networks of version 6 .*up to 5 are read"):
        opened(tmp_path, made.nvidia_tensorflow(version=6))


def test_incomplete_descriptions(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{"version": None}, {"state": 3}, {"module_src": b"x"}, {"class_name": 1}]
    for change in changes:
        with pytest.raises(FileFormatError, match="the description of a module in it is incomplete"):
            opened(tmp_path, made.nvidia_torch(**change))


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_checkpoint(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="holds no checkpoint"):
        open_checkpoint(tmp_path)
    (tmp_path / "file").write_bytes(made.nvidia_torch())
    monkeypatch.setattr(Path, "open", lambda *args: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(StorageError, match="permission denied"):
        open_checkpoint(tmp_path / "file")


# ---- hostile files ----


def test_the_corpus_is_large() -> None:
    names = [*hostile.CORPUS, *hostile.OWN, *hostile.FOLDERS]
    assert len(set(names)) == len(names) >= 500
    assert set(names) >= hostile.HARMLESS


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What a process met that opened everything hostile and fuzzed; no type checker runs along in it."""
    folder = tmp_path_factory.mktemp("examined")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.examine", str(folder), "150"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "LINEAMENT_CANARY": str(folder / "canary")},
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return json.loads(result.stdout), folder


def test_no_hostile_file_runs_anything_or_costs_much(examined: tuple[Any, Path]) -> None:
    found, folder = examined[0]["hostile"], examined[1]
    # Python's own unpickler runs the payload of these: what follows could fail.
    assert found["run by pickle"] == list(hostile.WORKING)
    outcomes = found["outcomes"]
    assert outcomes.keys() == {*hostile.CORPUS, *hostile.OWN, *hostile.FOLDERS}
    assert {name for name, outcome in outcomes.items() if outcome["opened"]} == hostile.HARMLESS
    for name, outcome in outcomes.items():
        assert outcome["events"] == [], name
        assert outcome["seconds"] < 5, name
        assert outcome["peak"] <= 4 * outcome["size"] + ALLOWANCE, name
        errors = ("FileFormatError", "VersionError", "InputError", "StorageError", "ShapeError", "ConfigError")
        assert outcome["opened"] or outcome["error"].startswith(errors if name not in hostile.CORPUS else errors[:2]), (
            name
        )
        assert "\n" not in outcome["error"], name
        assert len(outcome["error"]) < 700, name
    assert {entry.name for entry in folder.iterdir()} <= {"network.pkl", WORKSHOP}


def test_published_attacks_are_called_what_they_are(examined: tuple[Any, Path]) -> None:
    outcomes = examined[0]["hostile"]["outcomes"]
    for name in hostile.PUBLISHED:
        assert "carries code that would run" in outcomes[f"published: {name}"]["error"], name


@pytest.mark.parametrize("subject", ["checkpoints", "files"])
def test_a_short_fuzz_finds_nothing(examined: tuple[Any, Path], subject: str) -> None:
    report = examined[0][subject]
    assert report["failures"] == []
    assert report["tried"] == 150
    assert report["opened"] > 0
    assert report["refused"] > 0
