"""Which tensors are plain, and that what is kept follows its parameter."""

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from lineament.networks.stylegan.fast_path import Kept, are_plain


def test_plain_tensors() -> None:
    parameter = nn.Parameter(torch.ones(2))
    assert are_plain(torch.ones(2), torch.ones((), dtype=torch.float64))
    assert not are_plain(torch.ones(2), parameter)
    with torch.no_grad():
        assert are_plain(parameter)
    with torch.inference_mode():
        assert are_plain(torch.ones(2), parameter)
    assert not are_plain(torch.ones(2, dtype=torch.float16))
    assert not are_plain(torch.ones(2, device="meta"))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@torch.no_grad()
def test_not_under_transforms_forward_mode_and_autocast() -> None:
    seen: list[bool] = []

    def function(x: Tensor) -> Tensor:
        seen.append(are_plain(x))
        return 2 * x

    torch.func.vmap(function)(torch.ones(3, 2))
    torch.func.jvp(function, (torch.ones(2),), (torch.ones(2),))
    with forward_ad.dual_level():
        function(forward_ad.make_dual(torch.ones(2), torch.ones(2)))
    with torch.autocast("cpu"):
        function(torch.ones(2))
    assert seen == [False] * 4
    function(torch.ones(2))
    assert seen[-1]


def test_made_once_until_the_parameter_changes() -> None:
    parameter, calls = nn.Parameter(torch.ones(2)), []
    kept: Kept[Tensor] = Kept()

    def make(weight: Tensor) -> Tensor:
        calls.append(weight)
        return 2 * weight

    for _ in range(2):
        assert kept(parameter, make).tolist() == [2, 2]
    assert len(calls) == 1
    with torch.no_grad():
        parameter.add_(1)
    for _ in range(2):
        assert kept(parameter, make).tolist() == [4, 4]
    assert len(calls) == 2
    other = nn.Parameter(torch.full((2,), 5.0))
    assert kept(other, make).tolist() == [10, 10]
    assert not kept(other, make).requires_grad


def test_without_versions_nothing_is_kept() -> None:
    kept: Kept[Tensor] = Kept()
    with torch.inference_mode():
        weight = torch.ones(2)
        assert kept(weight, lambda t: 2 * t).tolist() == [2, 2]
        weight.add_(1)
        assert kept(weight, lambda t: 2 * t).tolist() == [4, 4]


def test_copies_are_empty() -> None:
    kept: Kept[Tensor] = Kept()
    kept(torch.zeros(10_000), lambda t: t + 1)
    calls: list[Tensor] = []
    for twin in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        twin(torch.zeros(2), lambda t: calls.append(t) or t)
    assert len(calls) == 2
    file = io.BytesIO()
    torch.save(kept, file)
    assert file.tell() < 2000
