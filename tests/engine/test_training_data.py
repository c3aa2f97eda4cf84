"""Batches of images, and where they are computed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lineament.engine.devices import any_process, average_gradients, make_fabric
from lineament.engine.training_data import batch_indices, load_images
from lineament.ops.pixels import to_tensor
from lineament.ops.resample import shrink
from lineament.records.devices import Devices
from tests import tiny


@pytest.mark.parametrize("count", [1, 3, 7, 10, 25])
def test_batches_are_slices_of_one_endless_sequence(count: int) -> None:
    whole = batch_indices(5, 10, 0, 100)
    parts = [index for start in range(0, 100, count) for index in batch_indices(5, 10, start, min(count, 100 - start))]
    assert parts == whole


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    epochs = np.array(batch_indices(0, 50, 0, 500)).reshape(10, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 10
    assert batch_indices(1, 50, 0, 50) != batch_indices(0, 50, 0, 50)


def test_one_image() -> None:
    assert batch_indices(0, 1, 7, 3) == [0, 0, 0]


def test_bytes_to_range() -> None:
    images = np.zeros((2, 4, 6, 3), np.uint8)
    images[0, 1, 2] = (0, 255, 51)
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 4, 6)
    torch.testing.assert_close(tensor[0, :, 1, 2], torch.tensor([-1.0, 1.0, -0.6]))


def test_shrink() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert shrink(images, 32) is images
    stripes = torch.tensor([-1.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    small = shrink(stripes, 16)
    assert small.shape == (1, 3, 16, 16)
    assert small[..., 1:-1].abs().max() < 0.1  # antialiased; picking pixels would give 1
    torch.testing.assert_close(shrink(torch.full((1, 3, 64, 64), 0.3), 16), torch.full((1, 3, 16, 16), 0.3))


def test_images_through_the_cache_tell_of_skipped_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny.image_folder(tmp_path / "in", 3)
    (folder / "bad.png").write_bytes(b"x")
    fabric = make_fabric(Devices(accelerator="cpu"))
    images = load_images(folder, 32, tmp_path / "cache", fabric)
    np.testing.assert_array_equal(images, tiny.images(3))
    assert "skipped 1 unusable image(s), the first: bad.png" in " ".join(capsys.readouterr().err.split())


def test_one_process() -> None:
    fabric = make_fabric(Devices(accelerator="cpu"))
    assert (fabric.world_size, fabric.is_global_zero) == (1, True)
    assert any_process(fabric, True)
    assert not any_process(fabric, False)
    parameter = nn.Parameter(torch.zeros(2))
    average_gradients(fabric, [parameter])
    assert parameter.grad is None


class TwoProcesses:
    """A stand-in whose other process always votes 1 and has gradients of 3."""

    world_size, device = 2, torch.device("cpu")

    def all_reduce(self, value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        return value + 1 if reduce_op == "sum" else (value + 3) / 2


def test_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = make_fabric(Devices(accelerator="cpu"))
    monkeypatch.setattr(type(fabric), "world_size", property(lambda self: 2))
    monkeypatch.setattr(fabric, "all_reduce", TwoProcesses().all_reduce)
    assert any_process(fabric, False)
    with_gradient, without = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(3))
    with_gradient.grad = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    average_gradients(fabric, [with_gradient, without])
    torch.testing.assert_close(with_gradient.grad, torch.tensor([[2.0, 3.0], [4.0, 5.0]]))
    torch.testing.assert_close(without.grad, torch.full((3,), 1.5))
