"""Intrinsic dimension at scale sigma: in how many directions the rows go on when smoothed that much, and TwoNN next to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from analysis import drawing
from analysis.progress import tracked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

# effective rows a dimension: the smallest of d unit eigenvalues stays above 1/2, (1 - sqrt(d / n))^2 > 1/2
SUPPORT = 12.0
SUPPORTED_SHARE = 2 / 3  # of the points, for a scale to be trusted
FLATNESS = 0.1  # dimensions, beyond two standard errors
NARROWEST = 1.5  # smallest hi / lo of a plateau
LARGEST_NOISE = 0.2  # mean normal eigenvalue at the plateau's lower end: sigma = 2 noise floors
LARGEST_BEND = 0.125  # what curvature adds to the normal eigenvalues at its upper end: sigma = half the radius
_GRID_STEP, _FEWEST_SCALES, _MOST_SCALES = 1.1, 12, 60
_CHUNK = 2**22  # numbers in one block of outer products


@dataclass(frozen=True, repr=False)
class IntrinsicDimension:
    """How the dimension of a cloud depends on the scale at which one looks.

    Attributes:
        sigmas: (S,) scales, rising, in the data's units.
        curve: (S,) mean number of eigenvalues above 1/2 over the points with enough effective rows; nan where none has.
        errors: (S,) its standard errors over points.
        ess: (S,) mean effective number of rows behind one point's covariance.
        supported: (S,) share of the points whose effective rows are at least 12 for each dimension they count.
        trusted: (S,) bool, supported >= 2/3 (and at least two points).
        normal: (S,) sum of the eigenvalues below 1/2, a mean over the same points.
        plateau: (lo, hi) in the data's units, or None.
        dimension: mean of the curve over the plateau, nan without one.
        error: mean standard error there, nan without one.
        noise_floor: sd f of the noise, from normal eigenvalues f^2 / (f^2 + sigma^2) on the plateau; nan without one, or
            where no direction is normal.
        reason: what was found, or why nothing is claimed.
        rows, points: distinct rows used, and points at which covariances were taken.
        duplicates: rows left out because they repeat another.
        dims: leading principal directions used.
        variance_kept: their share of the variance.
        seed: drew the rows, the points and their noise.
    """

    sigmas: Floats
    curve: Floats
    errors: Floats
    ess: Floats
    supported: Floats
    trusted: NDArray[np.bool_]
    normal: Floats
    plateau: tuple[float, float] | None
    dimension: float
    error: float
    noise_floor: float
    reason: str
    rows: int
    points: int
    duplicates: int
    dims: int
    variance_kept: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not finite as None."""
        arrays = ("sigmas", "curve", "errors", "ess", "supported", "trusted", "normal")
        record = {name: [_finite(v) for v in getattr(self, name).tolist()] for name in arrays}
        numbers = ("dimension", "error", "noise_floor", "variance_kept")
        plain = ("reason", "rows", "points", "duplicates", "dims", "seed")
        return {
            **record,
            **{name: _finite(getattr(self, name)) for name in numbers},
            **{name: getattr(self, name) for name in plain},
            "plateau": None if self.plateau is None else list(self.plateau),
        }

    def __repr__(self) -> str:
        sizes = f"{self.rows} distinct rows, {self.points} points, seed {self.seed}"
        if self.plateau is None:
            return f"Intrinsic dimension: no plateau\n  {self.reason}\n  {sizes}"
        lo, hi = self.plateau
        noise = "" if math.isnan(self.noise_floor) else f"; the noise around it has sd {self.noise_floor:.3g}"
        return (
            f"Intrinsic dimension: {self.dimension:.2f} ± {self.error:.2f} of {self.dims}\n"
            f"  seen at scales sigma {lo:.3g} to {hi:.3g} (units of the data){noise}\n  {sizes}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Dimension against sigma; scales with too few effective rows hollow, the plateau shaded, the noise floor dotted."""
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        ax = drawing.axes(ax)
        known = np.isfinite(self.curve)
        thin = known & ~self.trusted
        ax.plot(
            self.sigmas[thin], self.curve[thin], "o", mfc="none", color=drawing.GREY, label="too few effective rows"
        )
        sure = known & self.trusted
        bars = 2 * self.errors[sure]
        ax.errorbar(
            self.sigmas[sure], self.curve[sure], bars, fmt="o-", color=drawing.COLOURS[0], capsize=3, label="± 2 s.e."
        )
        if self.plateau is not None:
            ax.axvspan(*self.plateau, color=drawing.COLOURS[4], alpha=0.3, lw=0, label=f"plateau: {self.dimension:.2f}")
        if math.isfinite(self.noise_floor) and self.noise_floor > 0:
            ax.axvline(self.noise_floor, color=drawing.COLOURS[1], ls=":", label=f"noise floor {self.noise_floor:.3g}")
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel="sigma (units of the data)", ylabel="dimension (eigenvalues above 1/2)")
        ax.set_title("Intrinsic dimension by scale" + ("" if self.plateau else ": no plateau"))
        ax.set_ylim(-0.1, max([1.0, *self.curve[known].tolist()]) + 0.5)
        if known.any():
            ax.legend(fontsize=8)
        drawing.corner(ax, f"n = {self.rows}, {self.points} points, seed {self.seed}")
        return ax


def intrinsic_dimension(
    x: object,
    sigmas: ArrayLike | None = None,
    seed: int = 0,
    points: int = 300,
    most_rows: int = 20_000,
    most_dims: int = 100,
) -> IntrinsicDimension:
    r"""Count the directions in which a cloud goes on at scale sigma, in the data's own units, not whitened.

    p_sigma is the cloud smoothed by N(0, sigma^2 I). At a point x_sigma = row + sigma * noise the eigenvalues of

    .. math:: I + \sigma^2 \nabla^2 \log p_\sigma = \mathrm{Cov}(x \mid x_\sigma) / \sigma^2

    are 1 along a flat manifold and f^2 / (f^2 + sigma^2) across it, f the sd of the noise around it; those above 1/2 are
    counted. The covariance weighs rows by N(x_sigma; row, sigma^2 I) and leaves out the row that made x_sigma. A point
    counts where its effective rows, (sum w)^2 / sum w^2, are at least 12 for each dimension found; few effective rows mean
    a low rank, never a low dimension. A scale is trusted where two points in three count.

    The plateau is the widest range of trusted scales, by a factor of 1.5 at least, in which the curve stays within .1 (and
    two standard errors), with sigma >= 2 f and sigma <= half the radius of curvature, both read from the normal
    eigenvalues: curvature adds sigma^2 / (2 radius^2) to their sum. A range below full dimension is preferred to one at full
    dimension; a range at dimension 0 counts where the dimension rises again at a larger scale, as for tight clusters:
    otherwise it only says that sigma is larger than the cloud. No plateau is a legal answer.

    Args:
        x: rows (n, D). Exact duplicates are left out; above ``most_rows`` distinct rows a random ``most_rows`` are used.
        sigmas: scales; default from half the median distance to the nearest row up to the largest principal sd, by 1.1.
        seed: draws rows, points and noise.
        points: points x_sigma, the same rows and noise at every scale. Cost is points * rows * dims^2 / 2 a scale.
        most_rows: most rows that are used.
        most_dims: most principal directions that are used; the result says which share of the variance they hold.

    Raises:
        ValueError: rows or scales that are not finite, scales that are not positive, points below 1.

    Example:
        >>> import numpy as np
        >>> from analysis.dimension.intrinsic import intrinsic_dimension
        >>> turn = np.random.default_rng(0).uniform(0, 2 * np.pi, 500)
        >>> round(intrinsic_dimension(np.c_[np.cos(turn), np.sin(turn), 0 * turn]).dimension, 1)
        1.0
    """
    if points < 1 or most_rows < 1 or most_dims < 1:
        raise ValueError(f"points, most_rows and most_dims must be 1 or more, got {points}, {most_rows}, {most_dims}")
    generator = np.random.default_rng(seed)
    used, duplicates = _distinct(x)
    if len(used) > most_rows:
        used = used[np.sort(generator.choice(len(used), most_rows, replace=False))]
    used, kept = _leading(used, most_dims)
    chosen = generator.choice(len(used), min(points, len(used)), replace=False)
    scales = _scales(used, chosen, sigmas)
    noise = generator.normal(size=(len(chosen), used.shape[1]))
    spectra = [
        _spectrum(used, chosen, noise, float(sigma)) for sigma in tracked(scales, "intrinsic dimension", "scale")
    ]
    curve, errors, ess, supported, normal = (np.array(column) for column in _columns(spectra))
    trusted = (supported >= SUPPORTED_SHARE) & np.isfinite(errors)
    dims = used.shape[1]
    found = find_plateau(scales, curve, errors, trusted, normal, dims)
    inside = slice(*found) if found else slice(0)
    floors = noise_floors(scales, curve, normal, dims)[inside]
    return IntrinsicDimension(
        scales, curve, errors, ess, supported, trusted, normal,
        plateau=(float(scales[inside][0]), float(scales[inside][-1])) if found else None,
        dimension=float(curve[inside].mean()) if found else math.nan,
        error=float(errors[inside].mean()) if found else math.nan,
        noise_floor=float(floors.min()) if found else math.nan,
        reason=_reason(scales, curve, trusted, dims, found is not None),
        rows=len(used), points=len(chosen), duplicates=duplicates, dims=dims, variance_kept=kept, seed=seed,
    )  # fmt: skip


def find_plateau(
    sigmas: Floats, curve: Floats, errors: Floats, trusted: NDArray[np.bool_], normal: Floats, dims: int
) -> tuple[int, int] | None:
    """First and past-the-last index of the plateau of a curve, None without one; see :func:`intrinsic_dimension`."""
    floors = noise_floors(sigmas, curve, normal, dims)
    best, best_key = None, (False, 0.0)
    for i in range(len(sigmas)):
        for j in range(i + 3, len(sigmas) + 1):
            width = float(sigmas[j - 1] / sigmas[i])
            if not trusted[i:j].all() or np.ptp(curve[i:j]) > FLATNESS + 2 * errors[i:j].max():
                break
            level = float(curve[i:j].mean())
            key = (level < dims - 0.5, width)
            if width < NARROWEST or key <= best_key or not _is_between(sigmas, normal, floors, i, j, dims - level):
                continue
            if level < 0.5 and not (curve[j:][trusted[j:]] > level + FLATNESS).any():
                continue  # sigma is larger than the whole cloud
            best, best_key = (i, j), key
    return best


def noise_floors(sigmas: Floats, curve: Floats, normal: Floats, dims: int) -> Floats:
    """(S,) f that solves mean normal eigenvalue = f^2 / (f^2 + sigma^2); nan where no direction is normal."""
    across = dims - curve
    e = np.divide(normal, across, out=np.full_like(normal, np.nan), where=across > 0.5)
    return sigmas * np.sqrt(e / (1 - e))


def two_nn(x: object, discard: float = 0.1) -> float:
    """TwoNN: the slope of -log(1 - F) against log(r_2 / r_1), through the origin, the last ``discard`` left out.

    r_1 and r_2 are the distances to a row's first and second neighbours. Facco, d'Errico, Rodriguez and Laio, Estimating
    the intrinsic dimension of datasets by a minimal neighborhood information, Scientific Reports 2017. It sees the scale of
    the rows' spacing only, where noise fills every direction. Exact duplicates are left out.

    Raises:
        ValueError: fewer than 3 distinct rows, or discard outside [0, 1).
    """
    if not 0 <= discard < 1:
        raise ValueError(f"discard must lie in [0, 1), got {discard}; 0.1 is the paper's")
    rows, _ = _distinct(x)
    if len(rows) < 3:
        raise ValueError(f"two_nn needs at least 3 distinct rows, got {len(rows)}; pass more rows")
    distances = cKDTree(rows).query(rows, 3)[0]
    mu = np.sort(np.log(distances[:, 2] / distances[:, 1]))[: max(1, math.floor(len(rows) * (1 - discard)))]
    empirical = -np.log1p(-np.arange(1, len(mu) + 1) / (len(rows) + 1))
    return float(mu @ empirical / (mu @ mu)) if mu.any() else math.inf


def _distinct(x: object) -> tuple[Floats, int]:
    """Rows without their repetitions, in the order of their first appearance, float64; and how many were left out."""
    from flows.io.inputs import as_rows

    rows = as_rows(x).detach().cpu().double().numpy()
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    return rows[first], len(rows) - len(first)


def _leading(rows: Floats, most: int) -> tuple[Floats, float]:
    """Centred rows in their leading principal directions, at most ``most``; and the share of the variance they hold."""
    rows = rows - rows.mean(0)
    if rows.shape[1] <= most:
        return rows, 1.0
    variances, basis = np.linalg.eigh(rows.T @ rows)
    return rows @ basis[:, : -most - 1 : -1], float(variances[-most:].sum() / variances.sum())


def _scales(rows: Floats, chosen: NDArray[np.intp], sigmas: ArrayLike | None) -> Floats:
    if sigmas is not None:
        scales = np.unique(np.asarray(sigmas, dtype=np.float64))
        if scales.ndim != 1 or not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError(f"sigmas must be finite and above 0, got {sigmas}; they are in the data's units")
        return scales if len(rows) > 2 else scales[:0]
    if len(rows) < 3:
        return np.empty(0)
    low = 0.5 * float(np.median(cKDTree(rows).query(rows[chosen], 2)[0][:, 1]))
    high = math.sqrt(float(np.linalg.eigvalsh(rows.T @ rows / len(rows))[-1]))
    low = min(max(low, 1e-6 * high), high / 4)
    count = round(math.log(high / low) / math.log(_GRID_STEP)) + 1
    return np.geomspace(low, high, min(max(count, _FEWEST_SCALES), _MOST_SCALES))


def _spectrum(rows: Floats, chosen: NDArray[np.intp], noise: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Effective rows (Q,) at the points rows[chosen] + sigma * noise, and where they are enough for one dimension the
    eigenvalues (P, D) of Cov(x | x_sigma) / sigma^2."""
    x_sigma = rows[chosen] + sigma * noise
    log_w = (x_sigma @ rows.T - 0.5 * np.square(rows).sum(1)) / sigma**2
    log_w[np.arange(len(chosen)), chosen] = -np.inf
    w = np.exp(log_w - log_w.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    ess = 1 / np.square(w).sum(1)
    w, n = w[ess >= SUPPORT], ess[ess >= SUPPORT]
    mean = w @ rows
    covariance = _second_moments(w, rows) - mean[:, :, None] * mean[:, None]
    unbiased = sigma**2 * (1 - 1 / n)  # of a weighted covariance around its own mean
    return ess, np.linalg.eigvalsh(covariance / unbiased[:, None, None])


def _second_moments(w: Floats, rows: Floats) -> Floats:
    """sum_j w_qj x_j x_j^T (Q, D, D), a block of rows at a time."""
    dims = rows.shape[1]
    i, j = np.triu_indices(dims)
    upper = np.zeros((len(w), len(i)))
    step = max(1, _CHUNK // len(i))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        upper += w[:, start : start + step] @ (block[:, i] * block[:, j])
    full = np.empty((len(w), dims, dims))
    full[:, i, j] = full[:, j, i] = upper
    return full


def _columns(spectra: list[tuple[Floats, Floats]]) -> list[list[float]]:
    """Curve, standard errors, mean effective rows, supported share, normal sum: one number a scale each."""
    columns: list[list[float]] = [[], [], [], [], []]
    for ess, eigenvalues in spectra:
        counts = (eigenvalues > 0.5).sum(1)
        enough = ess[ess >= SUPPORT] >= SUPPORT * np.maximum(counts, 1)
        n = int(enough.sum())
        across = np.where(eigenvalues > 0.5, 0.0, eigenvalues.clip(0)).sum(1)[enough]
        error = math.sqrt(float(counts[enough].var()) / (n - 1)) if n > 1 else math.nan
        curve, normal = (counts[enough].mean(), across.mean()) if n else (math.nan, math.nan)
        row = (curve, error, ess.mean(), n / len(ess), normal)
        for column, value in zip(columns, row, strict=True):
            column.append(float(value))
    return columns


def _is_between(sigmas: Floats, normal: Floats, floors: Floats, i: int, j: int, across: float) -> bool:
    """Whether sigmas[i:j] lies above twice the noise floor and below half the radius of curvature."""
    if across <= 0.5:
        return True
    f = float(np.nanmin(floors[i:j]))
    noise = f**2 / (f**2 + sigmas[i:j] ** 2)
    return bool(noise[0] <= LARGEST_NOISE and normal[j - 1] - across * noise[-1] <= LARGEST_BEND)


def _reason(sigmas: Floats, curve: Floats, trusted: NDArray[np.bool_], dims: int, found: bool) -> str:
    if found:
        return "a plateau"
    if not len(sigmas):
        return "fewer than 3 distinct rows, too few for a claim"
    if not trusted.any():
        return "too few effective rows at every scale; pass more rows or larger sigmas"
    low, high = curve[trusted][[0, -1]]
    return (
        f"the dimension is nowhere flat over a factor of {NARROWEST:g} in sigma; "
        f"it goes from {low:.2f} to {high:.2f} of {dims} where there are enough effective rows, "
        f"sigma {sigmas[trusted][0]:.3g} to {sigmas[trusted][-1]:.3g}; more rows reach smaller scales"
    )


def _finite(value: float | bool) -> float | bool | None:
    return value if math.isfinite(value) else None
