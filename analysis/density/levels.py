"""Level sets by mass: which pieces, loops and voids the densest set holding a given share of the rows has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.density.bag import Density, as_points, fit_density
from analysis.density.band import Band, Height, bootstrap_band
from analysis.density.domains import Function, Grid, Segments, grid_around
from analysis.density.level_sets import Feature, Levels, Piece, wrong_masses
from analysis.density.persistence import CONSTRUCTIONS, Bars

Array = NDArray[np.float64]
Domain = Grid | Segments

MASSES = (0.5, 0.8, 0.9, 0.95, 0.99)
CUT_MASS = 0.99
GRID_POINTS = {1: (2_000,), 2: (100**2, 200**2, 400**2), 3: (48**3, 64**3, 80**3)}
BAND_POINTS = {1: 500, 2: 100**2, 3: 36**3}
VERTICES = 300  # sample points above three dimensions
REPLICATES = 19  # the largest of 19 is the 95 % quantile's order statistic
MOST_LABELLED = 20_000
ROWS_A_DIMENSION = 20


def levels(
    s: ArrayLike,
    masses: Sequence[float] = MASSES,
    reference: Function | ArrayLike | None = None,
    density: Density | None = None,
    seed: int = 0,
    *,
    replicates: int = REPLICATES,
    vertices: int = VERTICES,
) -> Levels:
    r"""Topology of the superlevel sets :math:`D_\alpha = \{f \ge c_\alpha\}` that hold mass alpha of the rows.

    f is the log-density of s, from :func:`analysis.fit_density`, or with a ``reference`` the log-ratio to the reference's.
    c_alpha is the (1 - alpha) quantile of f over the rows that the fit has not seen. Levels below c_.99, or below the largest
    value on the grid's border, are not looked at.

    Up to k = 3 bars come from cubical complexes on a grid, refined until both constructions (see ``cubical_bars``) have the
    same Betti numbers at all masses. Above, from the flag complex of the segments between ``vertices`` rows drawn at random,
    in degrees 0 and 1.

    **Significance.** A bar counts when it is longer than twice the band: the 95 % quantile, over ``replicates`` sets of rows
    drawn from p and the whole bag refitted to them from new starts, of the bottleneck distance between the diagrams of p* and
    p. (The supremum of abs(log p* - log p) over D_.99, which bounds that distance, is given too: ``sup_band``. On planted tori
    and spheres of 12 000 rows twice it is 2.8 nats, more than the void of either has.)

    Args:
        s: structure rows (n, k), k >= 1.
        masses: in (0, 1).
        reference: rows (m, k), or a function from points (n, k) to log-densities (n,) in nats. The log-ratio does not change
            under smooth reversible changes of coordinates; the log-density does.
        density: the rows' density where it is fitted already.
        seed: everything is drawn from it.
        replicates: refits for the band.
        vertices: rows to take above three dimensions.

    Raises:
        ValueError: masses outside (0, 1), k = 0, NaN or inf, a reference of another width.
    """
    rows = as_points(s, "structure rows")
    masses = _checked_masses(masses)
    least = ROWS_A_DIMENSION * (rows.shape[1] + 1)
    if len(rows) < least:
        return Levels.too_few(len(rows), rows.shape[1], least, masses, reference is not None, seed)
    density = density or fit_density(rows, seed)
    if density.dims != rows.shape[1]:
        raise ValueError(f"density must be on R^{rows.shape[1]}, got one on R^{density.dims}; refit it on these rows")
    height = _height(density, reference, rows, seed)
    unseen = rows[density.held_out] if density.rows == len(rows) else rows
    held = np.sort(height.at(unseen))
    cut = float(np.quantile(held, 1 - max(CUT_MASS, *masses)))
    domain, border = _domain(rows, height, cut, seed, vertices, coarse=True)
    cut = max(cut, border)
    band = bootstrap_band(height, domain, cut, density.fit_rows, replicates, seed)
    thresholds = {mass: float(np.quantile(held, 1 - mass)) for mass in masses}
    return _read(rows, height, held, thresholds, cut, band, density, seed, vertices)


def _read(
    rows: Array,
    height: Height,
    held: Array,
    thresholds: dict[float, float],
    cut: float,
    band: Band,
    density: Density,
    seed: int,
    vertices: int,
) -> Levels:
    """Bars on grids of rising fineness, until the constructions agree; then features, pieces and what was unsure."""
    k, degrees = rows.shape[1], min(rows.shape[1], 3) if rows.shape[1] <= 3 else 2
    for size in range(len(GRID_POINTS.get(k, (0,)))):
        domain, border = _domain(rows, height, cut, seed, vertices, size=size)
        values = height.on(domain)
        both = [domain.bars(values, max(cut, border), c) for c in CONSTRUCTIONS[: 2 if isinstance(domain, Grid) else 1]]
        readings = [{m: b.betti(c, 2 * band.bottleneck, degrees) for m, c in thresholds.items()} for b in both]
        if all(reading == readings[0] for reading in readings):
            break
    unsure = tuple(m for m in thresholds if any(reading[m] != readings[0][m] for reading in readings))
    bars, cut = both[0], max(cut, border)
    features = _features(bars, held, band, domain)
    return Levels(
        kind="ratio" if height.reference is not None else "density",
        masses=tuple(thresholds),
        thresholds=tuple(thresholds.values()),
        features=features,
        pieces=_pieces(rows, domain, values, thresholds, bars, features, height, seed),
        band=band.bottleneck,
        sup_band=band.supremum,
        replicates=band.replicates,
        cut=cut,
        degrees=degrees,
        domain=repr(domain),
        disagree=unsure,
        other=tuple(readings[-1][m] for m in unsure),
        rows=len(rows),
        dims=k,
        seed=seed,
        density=density,
        notes=_notes(thresholds, held, cut, degrees, k),
        held=held,
        bars=bars,
        drawn=_drawn(rows, domain, values, height, held, seed),
    )


def _checked_masses(masses: Sequence[float]) -> tuple[float, ...]:
    out = tuple(sorted({float(mass) for mass in masses}))
    if not out or not all(0 < mass < 1 for mass in out):
        raise ValueError(wrong_masses(masses))
    return out


def _height(density: Density, reference: Function | ArrayLike | None, rows: Array, seed: int) -> Height:
    if reference is None or callable(reference):
        other: Any = reference
    else:
        other = fit_density(as_points(reference, "reference rows", width=rows.shape[1]), seed + 1)
    # a ratio is only read where the rows are: their .999 level is added to the reference's density
    floor = float(np.quantile(density.log_prob(rows[density.held_out] if density.rows == len(rows) else rows), 0.001))
    return Height(density, other, floor)


def _domain(
    rows: Array, height: Height, cut: float, seed: int, vertices: int, size: int = 0, coarse: bool = False
) -> tuple[Domain, float]:
    """Where to look, and the largest value on its border."""
    k = rows.shape[1]
    if k > 3:
        rng = np.random.default_rng([seed, 3])
        return Segments(rows[np.sort(rng.choice(len(rows), min(vertices, len(rows)), replace=False))]), -np.inf
    some = _some(rows, seed)
    inside = some[height.at(some) >= cut]
    return grid_around(
        inside if len(inside) else some, height.at, cut, BAND_POINTS[k] if coarse else GRID_POINTS[k][size]
    )


def _some(rows: Array, seed: int) -> Array:
    """At most 20 000 rows, drawn at random."""
    if len(rows) <= MOST_LABELLED:
        return rows
    return rows[np.sort(np.random.default_rng([seed, 5]).choice(len(rows), MOST_LABELLED, replace=False))]


def _share_above(held: Array, level: float) -> float:
    return float(1 - np.searchsorted(held, level, side="left") / len(held))


def _features(bars: Bars, held: Array, band: Band, domain: Domain) -> tuple[Feature, ...]:
    """The bars that count, and the twenty longest of those that do not."""
    significant = bars.persistence > 2 * band.bottleneck
    listed = np.concatenate([np.flatnonzero(significant), np.flatnonzero(~significant)[:20]])
    return tuple(
        Feature(
            degree=int(bars.degree[i]),
            born=float(bars.birth[i]),
            dies=float(bars.death[i]),
            born_mass=_share_above(held, bars.birth[i]),
            dies_mass=_share_above(held, bars.death[i]) if bars.ends[i] else None,
            significant=bool(significant[i]),
            where=tuple(domain.points[bars.where[i]].tolist()) if bars.where[i] >= 0 else None,
            index=int(bars.where[i]),
        )
        for i in listed
    )


def _pieces(
    rows: Array,
    domain: Domain,
    values: Array,
    thresholds: dict[float, float],
    bars: Bars,
    features: tuple[Feature, ...],
    height: Height,
    seed: int,
) -> tuple[Piece, ...]:
    """The components that count at each mass, heaviest first, and which component of the next mass each lies in."""
    some = _some(rows, seed)
    heights, cells = height.at(some), domain.nearest(some)
    labels = {mass: domain.labels(values, level) for mass, level in thresholds.items()}
    found: dict[float, list[int]] = {}
    shares: dict[float, NDArray[np.float64]] = {}
    for mass, level in thresholds.items():
        counted = labels[mass][cells] * (heights >= level)
        shares[mass] = np.bincount(counted, minlength=labels[mass].max() + 1) / len(some)
        peaks = [f.index for f in features if f.degree == 0 and f.significant and f.alive(level)]
        here = labels[mass][peaks].tolist()
        found[mass] = sorted(dict.fromkeys(here), key=(-shares[mass]).__getitem__)
    out = []
    for mass, wider in zip(thresholds, [*list(thresholds)[1:], None], strict=True):
        level = thresholds[mass]
        for index, label in enumerate(found[mass]):
            here = [f for f in features if f.significant and f.alive(level) and f.index >= 0]
            here = [f for f in here if labels[mass][f.index] == label]
            peak = max((f for f in here if f.degree == 0), key=lambda f: f.born)
            parent = labels[wider][peak.index] if wider is not None else None
            out.append(
                Piece(
                    mass=mass,
                    index=index,
                    share=float(shares[mass][label]),
                    peak=peak.where or (),
                    loops=sum(f.degree == 1 for f in here) if isinstance(domain, Grid) else None,
                    inside=found[wider].index(parent) if wider is not None and parent in found[wider] else None,
                )
            )
    return tuple(out)


def _notes(thresholds: dict[float, float], held: Array, cut: float, degrees: int, k: int) -> tuple[str, ...]:
    out = []
    thin = [mass for mass in thresholds if (1 - mass) * len(held) < 5]
    if thin:
        out.append(
            f"fewer than 5 held-out rows lie outside mass {', '.join(f'{m:g}' for m in thin)}: its level is rough"
        )
    lost = [mass for mass, level in thresholds.items() if level < cut]
    if lost:
        out.append(f"the level of mass {', '.join(f'{m:g}' for m in lost)} lies below the border of the grid: not read")
    if k > 3:
        out.append(
            "above 3 dimensions only pieces and loops are looked for, on sample points: thin features can be missed"
        )
    return tuple(out)


def _drawn(rows: Array, domain: Domain, values: Array, height: Height, held: Array, seed: int) -> dict[str, Any]:
    """What the plot needs: at most 3000 rows with their masses, and the function on the grid where k <= 2."""
    some = _some(rows, seed)[:3000]
    out: dict[str, Any] = {"rows": some, "mass": 1 - np.searchsorted(held, height.at(some)) / len(held)}
    if isinstance(domain, Grid) and len(domain.axes) <= 2:
        out |= {"axes": domain.axes, "values": values}
    return out
