"""Moments of a stream: exact, mergeable, and of constant size."""

import tracemalloc

import numpy as np
import pytest

from lineament.errors import ConfigError, ShapeError
from lineament.estimators.moments import StreamingMoments, check_pair


def samples(n: int, d: int = 6, m: int = 2, *, seed: int = 0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + offset
    return w, w[:, :m] + rng.normal(size=(n, m))


def assert_close(left: StreamingMoments, right: StreamingMoments, rtol: float = 1e-11) -> None:
    assert left.count == right.count
    for name, value in left.to_dict().items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(right.to_dict()[name], value, rtol=rtol, atol=rtol * scale, err_msg=name)


def test_agrees_with_numpy() -> None:
    w, y = samples(500)
    moments = StreamingMoments().update(w, y)
    joint = np.cov(np.hstack([w, y]).T)
    np.testing.assert_allclose(moments.w_mean, w.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(moments.w_cov, joint[:6, :6], atol=1e-12)
    np.testing.assert_allclose(moments.wy / (moments.count - 1), joint[:6, 6:], atol=1e-12)
    np.testing.assert_allclose(moments.y_cov, joint[6:, 6:], atol=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 64, 999])
def test_batch_size_does_not_matter(batch: int) -> None:
    w, y = samples(1000)
    whole = StreamingMoments().update(w, y)
    parts = StreamingMoments()
    for start in range(0, len(w), batch):
        parts.update(w[start : start + batch], y[start : start + batch])
    assert_close(whole, parts)


def test_batches_larger_than_a_chunk() -> None:
    w, y = samples(10_000)
    moments = StreamingMoments().update(w, y)
    np.testing.assert_allclose(moments.w_cov, np.cov(w.T), rtol=1e-11, atol=1e-11)


def test_merging_is_associative_and_leaves_the_parts() -> None:
    w, y = samples(900)
    a, b, c = (StreamingMoments().update(w[i::3], y[i::3]) for i in range(3))
    before = b.to_dict()
    whole = StreamingMoments().update(w, y)
    for merged in ((a + b) + c, a + (b + c), c + a + b, StreamingMoments() + a + b + c + StreamingMoments()):
        assert_close(whole, merged)
    for name, value in b.to_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert_close(whole, a.merge(b).merge(c))


def test_a_large_mean_does_not_cost_digits() -> None:
    # E[ww'] - mean mean' would keep no digit here: the mean is 1e9 standard deviations away.
    w, y = samples(300)
    near = StreamingMoments().update(w, y)
    far = StreamingMoments()
    for start in range(0, 300, 50):
        far.update(w[start : start + 50] + 1e8, y[start : start + 50])
    np.testing.assert_allclose(far.w_cov, near.w_cov, rtol=1e-6, atol=1e-6)


def test_single_precision_is_accumulated_in_double() -> None:
    w, y = (array.astype(np.float32) for array in samples(100))
    single = StreamingMoments().update(w, y)
    double = StreamingMoments().update(w.astype(np.float64), y.astype(np.float64))
    assert single.w_cov.dtype == np.float64
    np.testing.assert_array_equal(single.w_cov, double.w_cov)


def test_resume_gives_the_same_bits() -> None:
    w, y = samples(200)
    straight = StreamingMoments().update(w[:100], y[:100])
    resumed = StreamingMoments.from_dict(straight.to_dict())
    straight.update(w[100:], y[100:])
    resumed.update(w[100:], y[100:])
    for name, value in straight.to_dict().items():
        np.testing.assert_array_equal(value, resumed.to_dict()[name])
    flat = {name: np.atleast_1d(value) for name, value in straight.to_dict().items()}  # as some containers store them
    assert StreamingMoments.from_dict(flat).count == 200
    empty = StreamingMoments.from_dict(StreamingMoments().to_dict()).update(w, y)
    assert empty.count == 200


def test_the_saved_state_is_a_copy() -> None:
    w, y = samples(50)
    moments = StreamingMoments().update(w, y)
    saved = moments.to_dict()
    moments.update(w, y)
    assert StreamingMoments.from_dict(saved).count == 50
    np.testing.assert_allclose(saved["w_mean"], w.mean(axis=0), atol=1e-13)


def test_a_damaged_state_is_named() -> None:
    state = StreamingMoments().update(*samples(5)).to_dict()
    with pytest.raises(ShapeError, match="lack yy"):
        StreamingMoments.from_dict({k: v for k, v in state.items() if k != "yy"})
    with pytest.raises(ShapeError, match=r"wy has shape \(2, 6\), expected \(6, 2\)"):
        StreamingMoments.from_dict(state | {"wy": state["wy"].T})


def test_bad_batches_are_named_and_not_added() -> None:
    w, y = samples(10)
    moments = StreamingMoments().update(w, y)
    before = moments.to_dict()
    holed = y.copy()
    holed[3, 1] = np.nan
    with pytest.raises(ShapeError, match="y holds NaN or infinity, first in row 3"):
        moments.update(w, holed)
    with pytest.raises(ShapeError, match="w holds NaN"):
        moments.update(np.full_like(w, np.inf), y)
    with pytest.raises(ShapeError, match="w has 5 columns, but the samples so far had 6"):
        moments.update(w[:, :5], y)
    with pytest.raises(ShapeError, match="y has 1 columns"):
        moments.merge(StreamingMoments().update(w, y[:, :1]))
    for name, value in moments.to_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_unpaired_shapes_are_named() -> None:
    # Through the check itself: the shape types of `update`, on in tests only, would step in first.
    w, y = samples(4)
    with pytest.raises(ShapeError, match=r"y has shape \(4,\), expected two axes"):
        check_pair(w, y[:, 0])
    with pytest.raises(ShapeError, match=r"w has shape \(4, 6, 1\)"):
        check_pair(w[..., None], y)
    with pytest.raises(ShapeError, match="w has 4 rows and y has 3"):
        check_pair(w, y[:3])


def test_covariance_needs_two_samples() -> None:
    moments = StreamingMoments()
    for count in (0, 1):
        assert moments.count == count
        with pytest.raises(ConfigError, match=f"got {count}"):
            _ = moments.w_cov
        moments.update(*samples(1))
    np.testing.assert_allclose(moments.w_cov, 0, atol=1e-12)
    assert moments.update(*samples(0)).count == 2


def peak_memory(num_samples: int, batch: int = 500, d: int = 32) -> int:
    rng = np.random.default_rng(0)
    moments = StreamingMoments()
    tracemalloc.start()
    for _ in range(num_samples // batch):
        w = rng.standard_normal((batch, d), dtype=np.float32)
        moments.update(w, w[:, :9])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert moments.count == num_samples
    return peak


def test_peak_memory_does_not_depend_on_the_sample_count() -> None:
    peak_memory(1_000)
    assert peak_memory(100_000) <= peak_memory(1_000) * 1.02 + 4096
