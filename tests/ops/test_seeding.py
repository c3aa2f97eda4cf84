"""Random numbers are functions of (seed, stream, index)."""

import numpy as np
import pytest
import torch

from lineament.errors import ConfigError
from lineament.ops.seeding import latents, philox, step_generator


def test_independent_of_order_batch_and_what_was_drawn() -> None:
    whole = latents(3, range(10), 16)
    backwards = latents(3, list(range(9, -1, -1)), 16)
    assert torch.equal(whole, backwards.flip(0))
    assert torch.equal(whole[4:6], latents(3, [4, 5], 16))
    assert whole.dtype == torch.float32
    assert latents(3, [], 16).shape == (0, 16)


@pytest.mark.parametrize("number", [-1, 1 << 64, 1 << 200])
def test_numbers_that_would_stand_for_others_are_refused(number: int) -> None:
    for numbers in ((number, 0, 0), (0, number, 0), (0, 0, number)):
        with pytest.raises(ConfigError, match="expected a number from 0 to 18446744073709551615"):
            philox(*numbers)
    with pytest.raises(ConfigError, match="seed is"):
        latents(number, [0], 4)


def test_large_numbers() -> None:
    far = latents(3, [1 << 40, (1 << 40) + 1], 4)
    assert torch.equal(far[:1], latents(3, [1 << 40], 4))
    assert not torch.equal(far[0], far[1])
    assert not torch.equal(latents(2**63 - 1, [2**64 - 1], 4), latents(0, [0], 4))


def test_streams_seeds_and_indices_are_distinct() -> None:
    keys = [(seed, stream, index) for seed in range(6) for stream in range(6) for index in range(6)]
    draws = {tuple(philox(*key).integers(0, 1 << 62, 2)) for key in keys}
    assert len(draws) == len(keys)


def test_statistics() -> None:
    z = latents(0, range(2000), 8).numpy()
    assert abs(z.mean()) < 0.03
    assert abs(z.std() - 1) < 0.03
    neighbours = np.corrcoef(z[:-1].ravel(), z[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.04


def test_pinned_values() -> None:
    # A change of these numbers changes every picture that anybody has named by its seed.
    expected = np.random.Generator(
        np.random.Philox(key=np.array([7, 0], dtype=np.uint64), counter=np.array([0, 0, 0, 5], dtype=np.uint64))
    ).standard_normal(3, dtype=np.float32)
    np.testing.assert_array_equal(latents(7, [5], 3)[0].numpy(), expected)
    np.testing.assert_allclose(latents(0, [0], 2)[0].numpy(), [0.059911035, 0.015559634], rtol=1e-6)


def test_step_generators() -> None:
    first, again, other = (torch.rand(3, generator=step_generator(1, 2, step)) for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, torch.rand(3, generator=step_generator(1, 3, 5)))
