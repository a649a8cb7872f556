"""What is known of rows besides their structure: labels, a second function, a few pairs; as columns that no map may change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from analysis.alignment.rigid import Floats

MOST_LANDMARKS = 8


@dataclass(frozen=True)
class Evidence:
    """Shared columns of both sides, and the cross-covariance of known pairs.

    Attributes:
        a, b: (n_a, q), (n_b, q).
        anchor: (k_a, k_b), or None without pairs.
        kinds: what it was made from, in words.
    """

    a: Floats
    b: Floats
    anchor: Floats | None
    kinds: tuple[str, ...]


def evidence(
    s_a: Floats,
    s_b: Floats,
    pairs: ArrayLike | None = None,
    labels: tuple[ArrayLike, ArrayLike] | None = None,
    values: tuple[ArrayLike, ArrayLike] | None = None,
) -> Evidence:
    r"""Turn what is known into columns, in units in which rows that disagree are as far apart as two random rows.

    * a class: one column each, so that two classes are :math:`\sqrt 2` spreads apart;
    * a function: its columns, scaled to the spread in all;
    * a pair (i, j): the distances :math:`|s - s_i|` and :math:`|s - s_j|`, which a rigid map that takes i to j keeps.

    Args:
        s_a, s_b: structure blocks (n_a, k_a), (n_b, k_b).
        pairs: (p, 2) row numbers, one of a and one of b.
        labels: a class per row of either side.
        values: (n_a, q) and (n_b, q), the same q functions on either side.

    Raises:
        ValueError: shapes that do not fit, rows out of range, NaN or inf, or no class that both sides have.
    """
    spread = float(np.sqrt((s_a.var(0).sum() + s_b.var(0).sum()) / 2))
    columns: list[tuple[Floats, Floats]] = []
    anchor, kinds = None, []
    if labels is not None:
        columns.append(_of_labels(*labels, len(s_a), len(s_b), spread))
        kinds.append("labels")
    if values is not None:
        columns.append(_of_values(*values, len(s_a), len(s_b), spread))
        kinds.append("a shared function")
    if pairs is not None:
        rows = _checked_pairs(pairs, len(s_a), len(s_b))
        if len(rows):
            columns.append(_of_pairs(s_a, s_b, rows))
            anchor = (s_a[rows[:, 0]] - s_a.mean(0)).T @ (s_b[rows[:, 1]] - s_b.mean(0)) / len(rows)
            kinds.append(f"{len(rows)} pair{'s' * (len(rows) > 1)}")
    a = np.hstack([np.zeros((len(s_a), 0)), *(c[0] for c in columns)])
    b = np.hstack([np.zeros((len(s_b), 0)), *(c[1] for c in columns)])
    return Evidence(a, b, anchor, tuple(kinds))


def _of_labels(a: ArrayLike, b: ArrayLike, count_a: int, count_b: int, spread: float) -> tuple[Floats, Floats]:
    sides = np.asarray(a), np.asarray(b)
    for side, count in zip(sides, (count_a, count_b), strict=True):
        if side.shape != (count,):
            raise ValueError(f"labels must have one class per row, shape ({count},), got {side.shape}")
        unknown = int((side != side).sum())  # NaN alone is unlike itself
        if unknown:
            raise ValueError(
                f"labels contain NaN in {unknown} of {count} rows; leave those rows out, or give them a class of their own"
            )
    both = np.intersect1d(sides[0], sides[1])
    if not len(both):
        raise ValueError(
            f"labels of the two sides have no class in common: {_some(sides[0])} and {_some(sides[1])}; use the same names"
        )
    names = np.union1d(sides[0], sides[1])
    one_hot = [spread * (side[:, None] == names).astype(np.float64) for side in sides]
    return one_hot[0], one_hot[1]


def _of_values(a: ArrayLike, b: ArrayLike, count_a: int, count_b: int, spread: float) -> tuple[Floats, Floats]:
    sides = []
    for side, count in ((a, count_a), (b, count_b)):
        array = np.asarray(side, dtype=np.float64)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or len(array) != count:
            raise ValueError(
                f"values must have shape ({count}, functions), got {np.shape(side)}; pass one row per row of s"
            )
        if not np.isfinite(array).all():
            raise ValueError("values contain NaN or inf; leave those rows out on both arguments")
        sides.append(array)
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(
            f"values must be the same functions on both sides, got {sides[0].shape[1]} and {sides[1].shape[1]} columns"
        )
    both = np.vstack(sides)
    scale = spread / max(float(np.sqrt(both.var(0).sum())), 1e-12)
    return sides[0] * scale, sides[1] * scale


def _of_pairs(s_a: Floats, s_b: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_LANDMARKS)).round().astype(int)]
    scale = 1 / np.sqrt(len(chosen))
    return scale * cdist(s_a, s_a[chosen[:, 0]]), scale * cdist(s_b, s_b[chosen[:, 1]])


def _checked_pairs(pairs: ArrayLike, count_a: int, count_b: int) -> NDArray[np.intp]:
    rows = np.asarray(pairs)
    if rows.size == 0:
        return np.zeros((0, 2), dtype=np.intp)
    if rows.ndim != 2 or rows.shape[1] != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"pairs must be integers of shape (p, 2), a row number of a and one of b, got {rows.dtype} of shape {rows.shape}"
        )
    if (rows < 0).any() or (rows >= [count_a, count_b]).any():
        raise ValueError(
            f"pairs must lie within {count_a} rows of a and {count_b} of b, got up to {rows.max(0).tolist()}"
        )
    return rows.astype(np.intp)


def _some(values: NDArray) -> str:  # type: ignore[type-arg]
    names = np.unique(values)
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")
