"""Groups of rows that touch: a Gaussian mixture whose number of components other rows choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.pieces.clusters import checked
from analysis.pieces.shrunk import ROWS_A_COMPONENT, ShrunkMixture, fit_shrunk, shrunk_covariance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
MOST_ROWS = 6000
MOST_GROUPS = 64
STARTS = 2
FOLDS = 3
_PATIENCE = 4  # numbers in a row that are no better end the search


@dataclass(frozen=True, eq=False, repr=False)
class Groups:
    """Components of a Gaussian mixture, heaviest first. They may overlap; pieces of the merge tree may not.

    Attributes:
        labels_: (n,) the component that explains each row best.
        mass: (count,) share of the rows.
        scores: number of components -> mean log-density of held-out rows, nats.
        errors: number of components -> standard error of what it falls short of the best.
        mixture: fitted to all rows used.
        rows, seed: how many rows were used, and what drew them.
    """

    labels_: NDArray[np.intp]
    mass: Floats
    scores: dict[int, float]
    errors: dict[int, float]
    mixture: ShrunkMixture
    rows: int
    seed: int

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.mass)

    def to_dict(self) -> dict[str, Any]:
        """Plain data without labels and mixture."""
        return {
            "count": self.count,
            "mass": self.mass.tolist(),
            "scores": {str(k): v for k, v in self.scores.items()},
            "rows": self.rows,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        best = max(self.scores.values())
        masses = ", ".join(f"{m:.3g}" for m in self.mass[:12]) + (", ..." if self.count > 12 else "")
        return (
            f"{self.count} groups, the fewest within one standard error of the best held-out likelihood "
            f"({self.scores[self.count]:.3f} against {best:.3f} nats a row)\nmasses: {masses}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Held-out log-density over the number of groups."""
        from analysis.drawing import COLOURS, axes

        ax = axes(ax)
        numbers = sorted(self.scores)
        ax.errorbar(
            numbers,
            [self.scores[k] for k in numbers],
            [self.errors[k] for k in numbers],
            fmt="o-",
            ms=3,
            color=COLOURS[0],
        )
        ax.axvline(self.count, color="black", ls=":", lw=1)
        ax.set(xlabel="number of groups", ylabel="held-out log-density (nats per row)", title=f"{self.count} groups")
        ax.annotate(
            f"n = {self.rows}, seed {self.seed}", (0.99, 0.01), xycoords="axes fraction", ha="right", fontsize=7
        )
        return ax


def groups(s: ArrayLike, seed: int = 0, sources: ArrayLike | None = None, most: int = MOST_GROUPS) -> Groups:
    """Fit Gaussian mixtures of 1, 2, 3, ... components; take the fewest within one standard error of the best.

    Where classes touch, the density has no valley between them and the merge tree sees one piece; a mixture still tells bumps
    apart. A bent or skew piece is several groups. Covariances are shrunk to one another
    (:func:`~analysis.pieces.shrunk.fit_shrunk`).

    Args:
        s: points (n, k). Of more than 6000 a random 6000 are fitted, the others assigned.
        seed: draws rows, held-out rows and starts.
        sources: (n,) of each row; rows of one source are never on both sides.
        most: groups to try at most; never more than one to 60 rows.

    Raises:
        ValueError: not two-dimensional, no rows, NaN or inf.
    """
    points = checked(s)
    rng = np.random.default_rng(seed)
    used = np.sort(rng.permutation(len(points))[:MOST_ROWS])
    rows = points[used]
    _, source = np.unique(np.arange(len(used)) if sources is None else np.asarray(sources)[used], return_inverse=True)
    fold = rng.permutation(source.max() + 1)[source] % FOLDS
    prior = shrunk_covariance(rows)
    logs: dict[int, Floats] = {}
    for count in range(1, max(1, min(most, len(rows) // ROWS_A_COMPONENT)) + 1):
        logs[count] = _unseen(rows, fold, count, prior, seed)
        best = max(logs, key=lambda k: logs[k].mean())
        if count >= best + _PATIENCE:
            break
    short = {k: logs[best] - found for k, found in logs.items()}
    errors = {k: float(gap.std() / np.sqrt(len(gap))) for k, gap in short.items()}
    chosen = min(k for k, gap in short.items() if gap.mean() <= errors[k])
    mixture = _best(rows, chosen, prior, seed)
    labels = mixture.log_parts(points).argmax(1)
    order = np.argsort(-np.bincount(labels, minlength=chosen), kind="stable")
    labels = np.argsort(order)[labels]
    mass = np.bincount(labels, minlength=chosen) / len(points)
    return Groups(labels, mass, {k: float(v.mean()) for k, v in logs.items()}, errors, mixture, len(used), seed)


def _unseen(rows: Floats, fold: NDArray[np.intp], count: int, prior: Floats, seed: int) -> Floats:
    """Log-density (n,) of every row under the mixture of the other folds."""
    found = np.empty(len(rows))
    for number in range(FOLDS):
        held = fold == number
        if held.any() and int((~held).sum()) > count:
            found[held] = _best(rows[~held], count, prior, seed).log_prob(rows[held])
    return found


def _best(rows: Floats, count: int, prior: Floats, seed: int) -> ShrunkMixture:
    """The likeliest of a few starts."""
    fits = [fit_shrunk(rows, count, prior, seed + start) for start in range(STARTS if count > 1 else 1)]
    return max(fits, key=lambda mixture: float(mixture.log_prob(rows).mean()))
