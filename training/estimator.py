"""The scikit-learn face: numpy in, numpy out, every setting a constructor parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from training.data.preparing import FEWEST_ROWS, prepare
from training.fitting import FitResult, run
from training.settings import split_settings

_OURS = ("random_state", "null_worth", "fewest_rows", "order")


class FunnelEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A funnel flow as a scikit-learn transformer and density: ``transform`` gives the structure block.

    Args:
        random_state: an int is the seed of :func:`training.fit`; a RandomState draws one; None takes one from the system.
        null_worth: "auto", "run" or a threshold in nats.
        fewest_rows: refuse to fit fewer rows than this.
        order: "time" where the rows follow one another in a recording: blocks of time become the sources.
        kappa and the others: fields of :class:`~training.ModelSettings` and :class:`~training.PathSettings`.

    Attributes:
        result_: the :class:`~training.FitResult`: path, prices, worth, hull, confidence, verdict.
        flow_: its flow, torch in and out.
        structure_dim_: k, the number of columns that ``transform`` returns; 0 is a legal answer.
        n_features_in_, feature_names_in_: of the rows fitted to.

    Example:
        >>> from training import FunnelEstimator, planted
        >>> s = FunnelEstimator(random_state=0).fit_transform(planted("circle").x.numpy())  # doctest: +SKIP
        >>> s.shape  # doctest: +SKIP
        (12000, 2)
    """

    result_: FitResult

    def __init__(
        self,
        *,
        random_state: int | np.random.RandomState | None = 0,
        null_worth: float | str = "auto",
        fewest_rows: int = FEWEST_ROWS,
        order: str | None = None,
        objective: str = "likelihood",
        kappa: float = 1.0,
        rho: float = 0.02,
        augment: int = 0,
        hidden: int = 64,
        components: int = 32,
        law: str = "bernoulli",
        exit_width: float = 0.25,
        steps: int = 4,
        early_steps: int = 2,
        noise_floor: float = 1e-3,
        columns: str = "set-aside",
        front: str = "auto",
        keep: int = 0,
        largest_loss: float = 0.01,
        least_agreement: float = 0.99,
        energy: str = "whitened",
        settle: int = 400,
        screen: int = 200,
        screen_lam: float = 0.03,
        points_per_decade: int = 24,
        steps_per_point: int = 16,
        largest_lam: float = 100.0,
        debias: int = 250,
        debias_rounds: int = 4,
        most_supports: int = 8,
        narrow: int = 120,
        rounds: int = 3,
        batch: int = 256,
        warm_up: int = 20,
        lr: float = 3e-3,
        exit_lr: float = 9e-3,
        debias_lr: float = 1e-2,
        clip: float = 5.0,
        retries: int = 3,
        held_out: float = 0.15,
        few_rows: int = 4000,
    ):
        self.random_state = random_state
        self.null_worth = null_worth
        self.fewest_rows = fewest_rows
        self.order = order
        self.objective = objective
        self.kappa = kappa
        self.rho = rho
        self.augment = augment
        self.hidden = hidden
        self.components = components
        self.law = law
        self.exit_width = exit_width
        self.steps = steps
        self.early_steps = early_steps
        self.noise_floor = noise_floor
        self.columns = columns
        self.front = front
        self.keep = keep
        self.largest_loss = largest_loss
        self.least_agreement = least_agreement
        self.energy = energy
        self.settle = settle
        self.screen = screen
        self.screen_lam = screen_lam
        self.points_per_decade = points_per_decade
        self.steps_per_point = steps_per_point
        self.largest_lam = largest_lam
        self.debias = debias
        self.debias_rounds = debias_rounds
        self.most_supports = most_supports
        self.narrow = narrow
        self.rounds = rounds
        self.batch = batch
        self.warm_up = warm_up
        self.lr = lr
        self.exit_lr = exit_lr
        self.debias_lr = debias_lr
        self.clip = clip
        self.retries = retries
        self.held_out = held_out
        self.few_rows = few_rows

    def fit(self, X: ArrayLike, y: object = None, groups: ArrayLike | None = None) -> FunnelEstimator:
        """Train on X (N, D); `groups` (N,) is the source of each row, so that no source is on both sides of the split.

        Raises:
            ValueError: unusable rows or settings; the message says what to do.
        """
        from training.data.activations import Activations

        rows = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        given = self.get_params()
        model, path = split_settings({name: value for name, value in given.items() if name not in _OURS})
        seed = _seed(self.random_state)
        activations = Activations(torch.from_numpy(np.array(rows)), sources=groups, order=self.order)  # type: ignore[arg-type]
        prepared = prepare(activations, model, path, seed, self.fewest_rows)
        self.result_ = run(prepared, model, path, seed, self.null_worth)
        return self

    @property
    def flow_(self) -> Any:
        return self.result_.flow

    @property
    def structure_dim_(self) -> int:
        return self.result_.structure_dim

    @property
    def _n_features_out(self) -> int:
        return self.structure_dim_

    def transform(self, X: ArrayLike) -> NDArray:
        """Structure block (N, k) of X (N, D), dimension of highest price first."""
        rows = self._rows(X)
        return self._of(self.flow_.encode, rows)

    def inverse_transform(self, X: ArrayLike) -> NDArray:
        """Rows (N, D) of a structure block X (N, k), the noise at zero."""
        check_is_fitted(self)
        return self._of(self.flow_.decode, torch.from_numpy(np.array(X)))

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Log-density (N,) in nats per row."""
        rows = self._rows(X)
        return self._of(self.flow_.log_prob, rows)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean log-density in nats per row."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = 0) -> NDArray:
        """Draw rows (n_samples, D)."""
        check_is_fitted(self)
        generator = torch.Generator().manual_seed(_seed(random_state))
        return self.flow_.sample(n_samples, generator).numpy()

    def _rows(self, X: ArrayLike) -> torch.Tensor:
        check_is_fitted(self)
        return torch.from_numpy(np.array(validate_data(self, X, dtype=[np.float64, np.float32], reset=False)))

    @torch.no_grad()
    def _of(self, function: Any, rows: torch.Tensor) -> NDArray:
        return function(rows).numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "result_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    if random_state is None:  # scikit-learn would move numpy's global state
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))
