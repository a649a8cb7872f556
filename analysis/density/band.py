"""How far a refitted density's diagram strays: the bootstrap band in nats above which a feature counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.density.bag import Density
from analysis.density.domains import Function, Grid, Segments, _called
from analysis.density.em import Mixture
from analysis.density.persistence import bottleneck
from analysis.progress import tracked

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Height:
    """The function whose superlevel sets are taken: log p, or log p - log(p_ref + floor's density).

    Attributes:
        density: of the rows.
        reference: None, a log-density function, or the reference rows' density.
        floor: log-density (nats) added to the reference's, so that the ratio of two tails, which no row has seen, stays small.
        redrawn: mixtures that stand in for the density's and the reference's in a bootstrap replicate.
    """

    density: Density
    reference: Function | Density | None
    floor: float
    redrawn: tuple[Mixture, Mixture | None] | None = None

    def at(self, points: Array) -> Array:
        """Heights (n,) at points (n, k)."""
        top, bottom = self._parts()
        logs = top.log_prob(points)
        if bottom is None:
            return logs
        return self._ratio(logs, bottom.log_prob(points) if isinstance(bottom, Mixture) else _called(bottom, points))

    def on(self, domain: Grid | Segments) -> Array:
        """Heights on a whole domain."""
        top, bottom = self._parts()
        logs = domain.read(top)
        return logs if bottom is None else self._ratio(logs, domain.read(bottom))

    def redraw(self, seed: int) -> Height:
        """The same function from rows drawn from the density (and from the reference's, where that was fitted)."""
        again = _refitted(self.density, seed)
        other = _refitted(self.reference, seed + 1) if isinstance(self.reference, Density) else None
        return Height(self.density, self.reference, self.floor, (again, other))

    def _parts(self) -> tuple[Mixture, Mixture | Function | None]:
        top, bottom = self.redrawn or (self.density.mixture, None)
        if bottom is not None:
            return top, bottom
        return top, self.reference.mixture if isinstance(self.reference, Density) else self.reference

    def _ratio(self, top: Array, bottom: Array) -> Array:
        return top - np.logaddexp(bottom, self.floor)


@dataclass(frozen=True)
class Band:
    """95 % quantiles over the replicates.

    Attributes:
        bottleneck: nats between the diagrams.
        supremum: nats between the functions over the set above the cut, both cut off there.
        replicates: how many.
    """

    bottleneck: float
    supremum: float
    replicates: int


def bootstrap_band(height: Height, domain: Grid | Segments, cut: float, rows: int, replicates: int, seed: int) -> Band:
    """Refit to rows drawn from the fitted density, and compare: Chazal et al., Robust topological inference (2018), 4.3.

    Rows are drawn from the fitted density rather than from the rows, whose duplicates a mixture would fit: measured, that
    inflates the distance by a third.

    Args:
        height: the function.
        domain: where both are read.
        cut: nothing below counts.
        rows: drawn for each refit; as many as the density was fitted to.
        replicates: refits, at least 1.
        seed: everything is drawn from it.
    """
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}; 19 make the largest one the 95 % quantile")
    values = height.on(domain)
    bars = domain.bars(values, cut, "vertices")
    inside = values >= cut
    distances, suprema = [], []
    seeds = np.random.SeedSequence([seed, 7]).generate_state(replicates)
    for seed_here in tracked(seeds, "level sets: band", "refit"):
        other = height.redraw(int(seed_here)).on(domain)
        distances.append(bottleneck(bars, domain.bars(other, cut, "vertices")))
        apart = np.abs(np.maximum(other, cut) - np.maximum(values, cut))[inside]
        suprema.append(float(apart.max()) if apart.size else 0.0)
    return Band(_quantile(distances), _quantile(suprema), replicates)


def _refitted(density: Density, seed: int) -> Mixture:
    return density.refit(density.sample(density.fit_rows, seed), seed)


def _quantile(values: list[float]) -> float:
    """The 95 % quantile as an order statistic of an exchangeable draw: the largest of up to 39."""
    return sorted(values)[min(len(values), math.ceil(0.95 * (len(values) + 1))) - 1]
