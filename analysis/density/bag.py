"""The density of a structure block, refitted for the analysis: a bag of Gaussian mixtures chosen by held-out likelihood."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.density.em import KINDS, Mixture, average, features, fit_mixture
from analysis.progress import tracked

Array = NDArray[np.float64]
Trial = tuple[str, int, float]  # kind of covariance, K, held-out nats

COMPONENTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
PATIENCE = 3  # counts in a row that do not improve on the best end the search
MEMBERS = 6
MOST_ROWS = 20_000
LEAST_HELD_OUT = 1_000
MOST_JUDGES = 5_000
HELD_OUT = 0.1
BEHIND = 0.05  # nats by which a kind may trail the best mixture so far, at its K or more, before it is given up
CLOSE = 0.01  # nats by which a kind's best mixture may trail the best of all and still get a bag


@dataclass(frozen=True, repr=False)
class Density:
    """A density on R^k: the mean of several mixtures, each fitted to the same rows from its own start.

    Attributes:
        mixture: the whole bag as one mixture.
        members: mixtures in the bag.
        components: K of each.
        kind: their covariances: "full", "diag" or "tied".
        held_out_nats: mean log-density of the held-out rows.
        single_nats: the same of the first member alone.
        tried: (kind, K, held-out nats) for every single mixture that was tried.
        bags: the same for every bag.
        rows: rows given.
        fit_rows: rows fitted to.
        held_out: indices of the rows that the fit has not seen.
        seed: everything is drawn from it.
    """

    mixture: Mixture
    members: int
    components: int
    kind: str
    held_out_nats: float
    single_nats: float
    tried: tuple[Trial, ...]
    bags: tuple[Trial, ...]
    rows: int
    fit_rows: int
    held_out: NDArray[np.intp]
    seed: int

    @property
    def dims(self) -> int:
        """k."""
        return self.mixture.means.shape[1]

    def log_prob(self, points: ArrayLike) -> Array:
        """Log-density in nats (n,) at points (n, k)."""
        return self.mixture.log_prob(self._checked(points))

    def score(self, points: ArrayLike) -> Array:
        """Gradient of the log-density (n, k), nats per unit, at points (n, k)."""
        return self.mixture.score(self._checked(points))

    def sample(self, count: int, seed: int = 0) -> Array:
        """Draw (count, k) points."""
        return self.mixture.sample(count, np.random.default_rng(seed))

    def refit(self, points: ArrayLike, seed: int) -> Mixture:
        """The same bag, same K and kind, fitted to other points (n, k) from new starts: a bootstrap's replicate."""
        return _fit_bag(self._checked(points), self.components, self.kind, self.members, seed)[0]

    def to_dict(self) -> dict[str, Any]:
        """How it was chosen, as plain data."""
        return {
            "dims": self.dims,
            "members": self.members,
            "components": self.components,
            "covariance": self.kind,
            "held_out_nats": self.held_out_nats,
            "single_nats": self.single_nats,
            "tried": [{"covariance": kind, "components": count, "nats": nats} for kind, count, nats in self.tried],
            "bags": [{"covariance": kind, "components": count, "nats": nats} for kind, count, nats in self.bags],
            "rows": self.rows,
            "fit_rows": self.fit_rows,
            "held_out_rows": len(self.held_out),
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        return (
            f"Density(k={self.dims}, {self.members} mixtures of {self.components} {self.kind} components, "
            f"{self.held_out_nats:.3f} nats on {len(self.held_out)} held-out rows of {self.rows})"
        )

    def _checked(self, points: ArrayLike) -> Array:
        return as_points(points, width=self.dims)


def as_points(points: ArrayLike, name: str = "points", width: int | None = None) -> Array:
    """Points as (n, k) float64.

    Raises:
        ValueError: not two axes, no rows, NaN or inf, another width than the one expected, or k = 0.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"{name} must be numbers of shape (rows, k): {problem}; pass a 2-D array of numbers") from None
    if array.ndim != 2 or not len(array):
        raise ValueError(f"{name} must have shape (rows, k) with at least one row, got {array.shape}; pass a 2-D array")
    if array.shape[1] == 0:
        raise ValueError(
            f"{name} have k = 0 columns: a block without structure has no density; check structure_dim first"
        )
    if width is not None and array.shape[1] != width:
        raise ValueError(f"{name} must have {width} columns, got {array.shape[1]}; pass rows of the same block")
    bad = np.flatnonzero(~np.isfinite(array).all(1))
    if len(bad):
        first = ", ".join(map(str, bad[:3]))
        raise ValueError(
            f"{name} contain NaN or inf in {len(bad)} of {len(array)} rows (first: {first}); drop those rows"
        )
    return array


def fit_density(
    s: ArrayLike,
    seed: int = 0,
    *,
    groups: ArrayLike | None = None,
    members: int = MEMBERS,
    held_out: float = HELD_OUT,
    most_rows: int = MOST_ROWS,
) -> Density:
    r"""Fit a density to rows: a bag of mixtures, :math:`p = \frac1M \sum_m p_m`, each from starting means of its own.

    One mixture's pancakes leave holes in a shell where they meet; they lie elsewhere in every member, and the mean closes
    them. On planted tori of 12 000 rows KL(truth, p) is .038 nats for one mixture, .022 for 6, .021 for 20.

    For each kind of covariance whose best single mixture is within .01 nats of the best of all, K starts where that is and
    doubles as long as the bag gains on the held-out rows: the mean of many forgives more components than one mixture.

    Args:
        s: (n, k).
        seed: everything is drawn from it.
        groups: (n,) source of each row (image, sentence, trial): no source is on both sides of the split.
        members: M, mixtures in the bag.
        held_out: share of the rows that the fit does not see, at least 1000 rows or a fifth; they choose K and set levels.
        most_rows: at most so many rows are fitted, drawn at random; all the others count as held out.

    Raises:
        ValueError: not two-dimensional, k = 0, fewer than 2 rows, NaN or inf, ``held_out`` outside (0, 1), groups of
            another length.
    """
    rows = as_points(s, "rows")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie in (0, 1), got {held_out}; pass a share of the rows such as {HELD_OUT}")
    if len(rows) < 2:
        raise ValueError(
            f"a density needs at least 2 rows, one to fit and one to judge, got {len(rows)}; pass more rows"
        )
    unseen = round(max(held_out * len(rows), min(LEAST_HELD_OUT, len(rows) / 5)))
    count = min(most_rows, max(1, len(rows) - max(1, unseen)))
    order, count = _split(groups, len(rows), count, seed)
    points, judges = rows[order[:count]], rows[order[count : count + MOST_JUDGES]]
    _, _, tried = likeliest(points, judges, seed)
    (bag, first), bags = _best_bag(points, judges, tried, members, seed)
    kind, components, nats = max(bags, key=_nats)
    return Density(
        mixture=bag,
        members=members if components > 1 else 1,
        components=components,
        kind=kind,
        held_out_nats=nats,
        single_nats=float(first.log_prob(judges).mean()),
        tried=tried,
        bags=bags,
        rows=len(rows),
        fit_rows=count,
        held_out=np.sort(order[count:]),
        seed=seed,
    )


def _split(groups: ArrayLike | None, rows: int, count: int, seed: int) -> tuple[NDArray[np.intp], int]:
    """Rows in random order, those of one source side by side, and how many of the first to fit: about ``count``."""
    order = np.random.default_rng(seed).permutation(rows)
    if groups is None:
        return order, count
    sources = np.asarray(groups)
    if sources.shape != (rows,):
        raise ValueError(f"groups must have one entry per row, shape ({rows},), got {sources.shape}")
    first = np.unique(sources[order], return_index=True, return_inverse=True)[1:]
    order = order[np.argsort(first[0][first[1]], kind="stable")]
    starts = np.flatnonzero(np.r_[True, sources[order][1:] != sources[order][:-1]])
    before = starts[(starts > 0) & (starts <= count)]
    later = starts[starts > count]
    return order, int(before[-1] if len(before) else later[0] if len(later) else count)  # one source alone is cut


def _nats(trial: Trial) -> float:
    return trial[2]


def _best_bag(
    points: Array, judges: Array, tried: tuple[Trial, ...], members: int, seed: int
) -> tuple[tuple[Mixture, Mixture], tuple[Trial, ...]]:
    """The likeliest bag on the judges, its first member, and all bags that were tried."""
    best, bags, top = None, [], max(map(_nats, tried))
    for kind in dict.fromkeys(trial[0] for trial in tried):
        _, components, nats = max((trial for trial in tried if trial[0] == kind), key=_nats)
        last = -np.inf
        while nats >= top - CLOSE and components <= max(1, len(points) // 5):
            bag = _fit_bag(points, components, kind, members, seed)
            bags.append((kind, components, float(bag[0].log_prob(judges).mean())))
            if best is None or bags[-1][2] > max(map(_nats, bags[:-1])):
                best = bag
            if bags[-1][2] <= last or components == 1:
                break
            last, components = bags[-1][2], 2 * components
    assert best is not None  # the best of all is tried first or later
    return best, tuple(bags)


def likeliest(points: Array, judges: Array, seed: int) -> tuple[Mixture, str, tuple[Trial, ...]]:
    """The likeliest single mixture on the judges, its kind of covariance, and all that were tried.

    Mixtures have 1 to 256 components. For each kind of covariance the search ends when three counts in a row do not improve,
    when it trails another kind by .05 nats with as many components, or at one component to 5 rows.

    Args:
        points: (n, k), to fit to.
        judges: (m, k), held out.
        seed: of the starts.
    """
    centre, scale, rows = _standardised(points)
    moments, tried = features(rows), []
    best: tuple[float, Mixture, str] | None = None
    for kind in KINDS if rows.shape[1] > 1 else KINDS[:1]:
        top, worse = -np.inf, 0
        for count in tracked(COMPONENTS, f"density: {kind} Gaussians", "count"):
            if worse == PATIENCE or count > max(1, len(rows) // 5):
                break
            rng = np.random.default_rng([seed, count])
            mixture = fit_mixture(rows, count, kind, rng, moments).moved(centre, scale)
            nats = float(mixture.log_prob(judges).mean())
            tried.append((kind, count, nats))
            if best is None or nats > best[0]:
                best = (nats, mixture, kind)
            worse = 0 if nats > top else worse + 1
            top = max(top, nats)
            if nats < best[0] - BEHIND and count >= len(best[1].weights):
                break
    assert best is not None  # one component is always tried
    return best[1], best[2], tuple(tried)


def _fit_bag(points: Array, components: int, kind: str, members: int, seed: int) -> tuple[Mixture, Mixture]:
    """The mean of mixtures from several starts, and the first of them."""
    centre, scale, rows = _standardised(points)
    moments = features(rows)
    bag = [
        fit_mixture(rows, components, kind, np.random.default_rng([seed, components, member]), moments)
        for member in range(members if components > 1 else 1)
    ]
    return average(bag).moved(centre, scale), bag[0].moved(centre, scale)


def _standardised(points: Array) -> tuple[Array, Array, Array]:
    """Mean (k,), standard deviation (k,) (1 where a column is constant), and the rows in those units."""
    centre, scale = points.mean(0), points.std(0)
    scale = np.where(scale > 1e-12 * np.maximum(1, np.abs(centre)), scale, 1.0)
    return centre, scale, (points - centre) / scale
