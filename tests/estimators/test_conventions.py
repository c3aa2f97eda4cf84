"""scikit-learn's conventions, as far as they apply.

Not run of its `check_estimator`: whatever feeds lists, sparse matrices, one column, data frames or pipelines. Our
estimators take a pair of float matrices (or weights, or a Jacobian), check shapes and finiteness themselves, and are
meant to be used alone.
"""

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

import lineament.estimators as ours
from lineament.errors import ConfigError

sklearn_base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="scikit-learn is not installed")

NAMES = tuple(ours.__all__)
FITTED_BY_TWO = ("LinearSemantics", "PixelJacobian", "SupervisedDirections")
OTHER = {
    "GANSpaceW": {"num_components": 3},
    "GANSpaceActivations": {"num_components": 3},
    "InterFaceGAN": {"share": 0.1, "conditional": True},
    "LinearSemantics": {"ridge": 0.5},
    "PixelJacobian": {"max_bytes": 1000},
    "RandomDirections": {"num_components": 3, "seed": 4},
    "SeFa": {"num_components": 3},
    "SparseFactors": {"n_components": 3, "alpha": 0.1},
    "SupervisedDirections": {"hold": False},
}


def made(name: str, **params: Any) -> Any:
    return getattr(ours, name)(**params)


def test_all_are_here() -> None:
    assert set(NAMES) == set(OTHER)
    with pytest.raises(AttributeError, match="no attribute 'Sefa'"):
        _ = ours.Sefa  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", NAMES)
def test_clones_have_the_same_parameters(name: str) -> None:
    estimator = made(name, **OTHER[name])
    clone = sklearn_base.clone(estimator)
    assert type(clone) is type(estimator)
    assert clone is not estimator
    assert clone.get_params() == estimator.get_params()
    assert {key: clone.get_params()[key] for key in OTHER[name]} == OTHER[name]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_stored_as_they_come(name: str) -> None:
    estimator = made(name)
    defaults = {key: p.default for key, p in inspect.signature(type(estimator)).parameters.items()}
    assert estimator.get_params() == defaults
    assert estimator.set_params(**OTHER[name]) is estimator
    assert estimator.get_params() == defaults | OTHER[name]
    with pytest.raises(ConfigError, match=f"{name} has no parameter nothing"):
        estimator.set_params(nothing=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", ["check_get_params_invariance", "check_set_params"])
def test_checks_of_parameters(name: str, check: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(checks, check)(name, made(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "PixelJacobian"])
def test_the_constructor_only_stores(name: str) -> None:
    # PixelJacobian makes its empty moments there, so that batches can be added before and after it is saved.
    assert set(vars(made(name))) == set(made(name).get_params())


@pytest.mark.parametrize("name", ["LinearSemantics", "GANSpaceW", "RandomDirections", "SupervisedDirections"])
def test_fit_returns_self_and_forgets(name: str) -> None:
    rng = np.random.default_rng(0)
    w, y = rng.standard_normal((200, 6)), rng.standard_normal((200, 2))
    params = {} if name in FITTED_BY_TWO else {"num_components": 4}
    data = (w, y) if name in FITTED_BY_TWO else (w,)
    estimator = made(name, **params)
    assert estimator.fit(*data) is estimator
    learned = {key: value for key, value in vars(estimator).items() if key.endswith("_")}
    assert learned
    again = sklearn_base.clone(estimator).fit(*(2 * part for part in data)).fit(*data)
    for key, value in learned.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(vars(again)[key], value, err_msg=key)
