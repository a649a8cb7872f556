"""Principal directions of rows, of many and of few: their standard deviations, and how many of them rows support."""

import torch
from torch import Tensor

ROWS_A_DIRECTION = 50


def principal_directions(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations (D,) of the principal directions, falling, and the directions (D, D) in columns."""
    if not (bool(covariance.isfinite().all()) and bool((covariance.diagonal() > 0).any())):
        raise ValueError(
            "activations are so large or so small that their squares leave the range of float64; "
            "divide them by their standard deviation first"
        )
    variances, basis = torch.linalg.eigh(covariance)
    return variances.clamp_min(0).sqrt().flip(0), basis.flip(1).contiguous()


def directions_of_few(x: Tensor, mean: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """The same of rows (N, D) no more than columns, by their N x N products; directions beyond the rows' span are left out."""
    centred = x[:, used].double() - mean[used].double()
    variances, weights = torch.linalg.eigh(centred @ centred.T / len(x))
    scales = torch.zeros(len(used), dtype=torch.float64)
    found = variances.flip(0)[: len(x) - 1].clamp_min(0).sqrt()
    scales[: len(found)] = found
    basis = centred.T @ weights.flip(1)[:, : len(x) - 1]
    return scales, basis / basis.norm(dim=0).clamp_min(1e-300)


def shrunk(scales: Tensor, rows: int) -> tuple[Tensor, int, Tensor]:
    """Sds of principal directions (D,) of few rows drawn towards their mean, how many lie in the rows' span, and the sd beyond.

    Oracle approximating shrinkage (Chen, Wiesel, Eldar, Hero 2010, eq. 23): variances (1 - rho) v_i + rho mean v.
    """
    variances, dims = scales.square(), len(scales)
    trace, squares = variances.sum(), variances.square().sum()
    above = (1 - 2 / dims) * squares + trace.square()
    below = (rows + 1 - 2 / dims) * (squares - trace.square() / dims)
    rho = (above / below.clamp_min(1e-300)).clamp(0, 1)
    shrunken = ((1 - rho) * variances + rho * trace / dims).sqrt()
    stored = max(1, min(dims, rows - 1))
    return shrunken, stored, (rho * trace / dims).sqrt().clamp_min(1e-6 * scales[0])


def supported(scales: Tensor, rows: int) -> int:
    """r, principal directions that ``rows`` support a flow in: one for every fifty rows, at least two."""
    return max(2, min(len(scales), rows // ROWS_A_DIRECTION))
