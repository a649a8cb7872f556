"""A start for the rotation of wide layers: the few directions that are not Gaussian among hundreds that are.

FastICA of all M dimensions costs M^2 a row and iteration and, begun at random, finds less and less beyond some sixty dimensions.
Here a spectral method narrows the search, FastICA works in what is left, and its fixed point goes on in all dimensions:

1. *Narrow*: eigenvectors of E[|x|^2 x x^T] (Cardoso 1989), the half whose eigenvalues lie farthest from their median, again and
   again until few dimensions are left. M dimensions of noise blur the eigenvalues by 2 M (2 / rows)^(1/2), and a circle's lie 2
   away: so it takes the order of M^2 rows, whatever comes after.
2. *FastICA* in those, then its parallel fixed point (Hyvarinen 1999) with tanh in all M dimensions.
3. *Company*: what is found tells of what depends on it. For the least Gaussian y found so far the eigenvectors of
   E[(y^2 - 1) x x^T] join (a circle's other axis is blurred there by the root of M / rows alone), and the fixed point goes on.
"""

import warnings

import torch
from torch import Tensor

from flows.io.rows import Rows

CANDIDATES = 40
_LEADERS, _COMPANIONS = 6, 5
_ITERATIONS = 30
_MOST_NUMBERS = 2**26  # a quarter GiB of float32 for the moments, a quarter of that for the fixed point
_LOG_COSH_OF_NORMAL = 0.37457


def pursued_rotation(white: Tensor | Rows, seed: int) -> Tensor:
    """An orthogonal matrix (M, M) whose first ``CANDIDATES`` rows are the least Gaussian directions found, least Gaussian first.

    Args:
        white: whitened rows (N, M), M > ``CANDIDATES``; read once, at most 2^26 numbers of them, evenly spread.
        seed: draws FastICA's start.
    """
    rows = white[:: -(-len(white) * white.shape[1] // _MOST_NUMBERS)].float()
    few = rows[:: -(-len(rows) * rows.shape[1] * 4 // _MOST_NUMBERS)]
    basis = _narrowed(rows)
    within = _polar(fast_ica(few @ basis, seed).float())
    found = _fixed_point(few, within @ basis.T)
    order = _distance_to_gaussian(few @ found.T).argsort(descending=True)
    joined = torch.cat(
        [found[order[: CANDIDATES // 4]], _company(rows, found[order[:_LEADERS]]), found[order[CANDIDATES // 4 :]]]
    )
    basis, _ = torch.linalg.qr(joined.T)
    found = _fixed_point(few, basis[:, :CANDIDATES].T)
    found = found[_distance_to_gaussian(few @ found.T).argsort(descending=True)]
    completed, _ = torch.linalg.qr(found.T, mode="complete")
    return torch.cat([found, completed[:, CANDIDATES:].T]).double()


def fast_ica(rows: Tensor, seed: int) -> Tensor:
    """FastICA's unmixing (M, M) of rows (N, M); with two Gaussian dimensions it never converges, which is fine."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica = FastICA(whiten="unit-variance", max_iter=200, random_state=seed).fit(rows.double().numpy())
    return torch.from_numpy(ica.components_)


def _weighted_moment(x: Tensor, weights: Tensor) -> Tensor:
    """E[w x x^T] (M, M) of rows (N, M) and centred weights (N,)."""
    return (x * (weights - weights.mean())[:, None]).T @ x / len(x)


def _farthest(moment: Tensor, count: int) -> Tensor:
    """The eigenvectors (M, count) of a symmetric matrix whose eigenvalues lie farthest from their median."""
    values, vectors = torch.linalg.eigh(moment)
    return vectors[:, (values - values.median()).abs().argsort(descending=True)[:count]]


def _narrowed(x: Tensor) -> Tensor:
    """An orthonormal basis (M, CANDIDATES) of where |x|^2 is least like a Gaussian's, by halves."""
    basis = torch.eye(x.shape[1])
    while basis.shape[1] > CANDIDATES:
        inside = x @ basis if basis.shape[1] < x.shape[1] else x
        moment = _weighted_moment(inside, inside.square().sum(1))
        basis = basis @ _farthest(moment, max(basis.shape[1] // 2, CANDIDATES))
    return basis


def _company(x: Tensor, leaders: Tensor) -> Tensor:
    """Directions (leaders * _COMPANIONS, M) that depend most on each of the leaders (j, M)."""
    return torch.cat([_farthest(_weighted_moment(x, (x @ w).square()), _COMPANIONS).T for w in leaders])


def _fixed_point(x: Tensor, found: Tensor) -> Tensor:
    """FastICA's parallel iteration for orthonormal rows (m, M), as many as given, in all M dimensions."""
    for _ in range(_ITERATIONS):
        g = torch.tanh(x @ found.T)
        found = _polar(g.T @ x / len(x) - (1 - g.square()).mean(0)[:, None] * found)
    return found


def _polar(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _distance_to_gaussian(y: Tensor) -> Tensor:
    """|E log cosh y - E log cosh N(0, 1)| of each column, FastICA's measure."""
    return ((y.abs() + torch.log1p((-2 * y.abs()).exp())).mean(0) - 0.693147 - _LOG_COSH_OF_NORMAL).abs()
