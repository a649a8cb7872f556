"""FunnelEstimator: scikit-learn's own checks, and that it says what training.fit says."""

import inspect
from dataclasses import asdict

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import training
from training.estimator import FunnelEstimator
from training.settings import ModelSettings, PathSettings

TINY = {
    "settle": 2,
    "screen": 1,
    "steps_per_point": 1,
    "points_per_decade": 1,
    "debias": 1,
    "debias_rounds": 1,
    "narrow": 0,
    "warm_up": 1,
    "rounds": 1,
    "components": 2,
    "hidden": 4,
    "batch": 64,
    "largest_lam": 1.0,
    "null_worth": 0.03,
}


@pytest.mark.slow
@parametrize_with_checks([FunnelEstimator(**TINY, fewest_rows=2)])  # no check is expected to fail
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def x():
    return training.planted("circle", 400, noise_dims=1).x.numpy()


@pytest.fixture(scope="module")
def fitted(x):
    return FunnelEstimator(**TINY).fit(x)


def test_the_constructor_takes_every_setting_with_its_default():
    defaults = {name: p.default for name, p in inspect.signature(FunnelEstimator).parameters.items()}
    settings = {**asdict(ModelSettings()), **asdict(PathSettings())}
    assert settings.items() <= defaults.items()
    assert defaults.keys() - settings.keys() == {"random_state", "null_worth", "fewest_rows", "order"}


def test_it_says_what_fit_says(x, fitted):
    settings = {name: value for name, value in TINY.items() if name != "null_worth"}
    result = training.fit(x, null_worth=0.03, **settings)
    assert fitted.structure_dim_ == result.structure_dim
    rows = torch.from_numpy(x)
    assert np.array_equal(fitted.transform(x), result.flow.encode(rows).numpy())
    assert np.array_equal(fitted.score_samples(x), result.flow.log_prob(rows).numpy())
    assert fitted.score(x) == pytest.approx(float(result.flow.log_prob(rows).mean()))
    s = fitted.transform(x)
    assert np.array_equal(fitted.inverse_transform(s), result.flow.project(rows).numpy())
    drawn = result.flow.sample(5, torch.Generator().manual_seed(3)).numpy()
    assert np.array_equal(fitted.sample(5, random_state=3), drawn)


def test_names_of_the_columns(fitted):
    assert list(fitted.get_feature_names_out()) == [f"funnelestimator{i}" for i in range(fitted.structure_dim_)]
    assert fitted.n_features_in_ == 3


def test_groups_are_not_split(x):
    groups = np.arange(len(x)) // 10
    result = FunnelEstimator(**TINY).fit(x, groups=groups).result_
    assert not set(groups[result.train]) & set(groups[result.held_out])


def test_too_few_rows_are_refused(x):
    with pytest.raises(ValueError, match="too few rows: got 50, expected at least 100"):
        FunnelEstimator(**TINY).fit(x[:50])


def test_random_state(x, fitted, untouched_rng):
    with untouched_rng():
        again = clone(fitted).fit(x)
        FunnelEstimator(**TINY, random_state=None).fit(x)
    other = FunnelEstimator(**TINY, random_state=np.random.RandomState(5)).fit(x)
    assert again.score(x) == fitted.score(x) != other.score(x)


def test_in_a_pipeline_and_a_grid(x):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), FunnelEstimator(**TINY)), {"funnelestimator__kappa": [0.5, 2.0]}, cv=2
    )
    assert np.isfinite(search.fit(x).best_score_)
