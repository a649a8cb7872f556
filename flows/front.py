"""The front: an affine map with exact log-determinant that centres, whitens and turns the activations."""

import math
import warnings

import torch
from torch import Tensor, nn

from flows.augment import row_noise
from flows.moments import Moments
from flows.rows import CHUNK, Rows

_WIDE = 128  # from here on forming R costs more than turning a batch; below, rounding is the same with gradients and without


class ColumnWarning(UserWarning):
    """Columns were set aside; the message names them."""


class Front(nn.Module):
    r"""z = R [diag(1/sd) V^T (x - mean), a]: centre, whiten by PCA, append augmented draws, rotate by a trainable R in SO(M).

    Whitening leaves every orthogonal basis equally good, while the funnel's penalty is bound to the axes; hence R.
    Augmented dimensions a ~ N(0, I_A) give the flow room to untangle what has none in the data's own dimensions.
    Directions whose sd lies below the noise floor are modelled as Gaussian at that floor and skip R and the flow;
    constant and duplicate columns are set aside and restored by :meth:`inverse`.

    Args:
        features: D, columns of the data.
        used: columns that are neither constant nor duplicate.
        dims: M, dimensions of the state: principal directions above the noise floor and augmented ones.
        augment: A, how many of them are augmented.
    """

    columns: Tensor
    twin_of: Tensor
    mean: Tensor
    basis: Tensor
    scales: Tensor
    floor: Tensor
    jittered: Tensor
    start: Tensor

    def __init__(self, features: int, used: int | None = None, dims: int | None = None, augment: int = 0):
        super().__init__()
        if augment < 0:
            raise ValueError(f"augment must not be negative, got {augment}; 0 adds no dimensions")
        used = features if used is None else used
        dims = used + augment if dims is None else dims
        self.features, self.used, self.dims, self.augment = features, used, dims, augment
        self.kept = dims - augment
        self.register_buffer("columns", torch.arange(used))
        self.register_buffer("twin_of", torch.arange(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("basis", torch.eye(used))
        self.register_buffer("scales", torch.ones(used))
        self.register_buffer("floor", torch.zeros(()))
        self.register_buffer("jittered", torch.zeros(features, dtype=torch.bool))
        self.register_buffer("start", torch.eye(dims))
        self.turn = nn.Parameter(torch.zeros(dims, dims))
        self._kept_rotation: tuple[Tensor, Tensor, Tensor] | tuple[()] = ()

    @classmethod
    def from_rows(
        cls, x: Tensor | Rows, noise_floor: float = 1e-3, columns: str = "set-aside", augment: int = 0
    ) -> "Front":
        """Moments of ``x`` (N, D), already validated, in float64 and in one pass.

        Args:
            noise_floor: smallest standard deviation that counts as signal, as a share of the largest.
            columns: ``"set-aside"`` warns about constant and duplicate columns, ``"error"`` refuses them.
            augment: A, augmented dimensions.

        Raises:
            ValueError: refused columns, no varying column, no more rows than columns, or numbers whose squares float64
                cannot hold.
        """
        if columns not in ("set-aside", "error"):
            raise ValueError(f"columns must be 'set-aside' or 'error', got {columns!r}")
        moments = Moments.of(x)
        constant, twin_of = moments.constant, moments.twin_of
        used = torch.nonzero(~constant & (twin_of == torch.arange(x.shape[1]))).squeeze(1)
        _report_columns(constant, twin_of, columns)
        if len(used) == 0:
            raise ValueError(f"all {x.shape[1]} columns of the activations are constant; pass activations that vary")
        if len(x) <= len(used):
            raise ValueError(
                f"too few rows: {len(x)} rows for {len(used)} varying columns; "
                f"at least {len(used) + 1} are needed to whiten and about {100 * len(used)} to say anything"
            )
        scales, basis = _principal(moments.covariance[used][:, used])
        floor = noise_floor * scales[0]
        front = cls(x.shape[1], len(used), int((scales > floor).sum()) + augment, augment)
        front.columns, front.twin_of, front.jittered = used, twin_of, _tied_columns(x, constant)
        front.mean, front.basis, front.scales, front.floor = moments.mean, basis, torch.maximum(scales, floor), floor
        return front.to(x.dtype)

    def set_rotation(self, unmixing: Tensor) -> None:
        """Start R at the polar factor of ``unmixing`` (M - A, M - A), a row negated where the determinant is -1.

        On the augmented dimensions it is the identity.
        """
        left, _, right = torch.linalg.svd(unmixing.double())
        rotation = torch.block_diag(left @ right, torch.eye(self.dims - len(unmixing)).double())
        if torch.linalg.det(rotation) < 0:
            rotation[-1] *= -1
        self.start = rotation.to(self.start)
        nn.init.zeros_(self.turn)

    @property
    def rotation(self) -> Tensor:
        """R (M, M): the start turned by the Cayley transform of a skew-symmetric matrix, so always in SO(M).

        Where nobody asks for gradients it is kept until the turn or the start have other values: at M = 512 forming it
        costs as much as a log-density of 1000 rows.
        """
        if self._learns():
            return self._turned(self.start)
        if not (self._kept_rotation and all(map(_same, self._kept_rotation, (self.turn, self.start)))):
            with torch.no_grad():
                self._kept_rotation = self.turn.detach().clone(), self.start.clone(), self._turned(self.start)
        return self._kept_rotation[2]

    def _learns(self) -> bool:
        return torch.is_grad_enabled() and self.turn.requires_grad

    def _turned(self, columns: Tensor) -> Tensor:
        """The Cayley transform (I + A)^-1 (I - A) of A = (turn - turn^T) / 2, times ``columns`` (M, n)."""
        skew = 0.5 * (self.turn - self.turn.T)
        eye = torch.eye(self.dims, dtype=skew.dtype, device=skew.device)
        return torch.linalg.solve(eye + skew, columns - skew @ columns)

    @property
    def ladj(self) -> Tensor:
        """log |det| of the whitening, a constant: the sum of -log sd over all used columns at their floor."""
        return -self.scales[: self.kept].log().sum()

    def whiten(self, x: Tensor) -> Tensor:
        """White coordinates (B, M - A) before the rotation: constants of the data, worth caching while training."""
        return (x[:, self.columns] - self.mean[self.columns]) @ self.basis[:, : self.kept] / self.scales[: self.kept]

    def enter(self, white: Tensor, noise: Tensor | None = None) -> Tensor:
        """States (B, M) at depth 0 of white rows (B, M - A) and augmented draws (B, A); by default the rows' own draws."""
        if self.augment:
            noise = row_noise(white, self.augment) if noise is None else noise
            white = torch.cat([white, noise.to(white)], dim=1)
        if self._learns() and self.dims >= _WIDE and len(white) < 4 * self.dims:
            return self._turned(self.start @ white.T).T
        return white @ self.rotation.T

    def floor_log_prob(self, x: Tensor) -> Tensor:
        """Log-density (B,) of the directions below the noise floor, Gaussian at the floor."""
        if self.kept == self.used:
            return x.new_zeros(len(x))
        residual = (
            (x[:, self.columns] - self.mean[self.columns]) @ self.basis[:, self.kept :] / self.scales[self.kept :]
        )
        constants = self.scales[self.kept :].log().sum() + 0.5 * (self.used - self.kept) * math.log(2 * math.pi)
        return -0.5 * residual.square().sum(1) - constants

    def forward(self, x: Tensor, draw: int = 0) -> Tensor:
        """States (B, M) at depth 0 of ``x`` (B, D), with the augmented draws number ``draw`` of each row."""
        return self.enter(self.whiten(x), row_noise(x, self.augment, draw))

    def inverse(self, z: Tensor) -> Tensor:
        """``x`` (B, D) of ``z`` (B, M); directions below the floor return to their mean, columns set aside return.

        Augmented coordinates are dropped.
        """
        white = (z @ self.rotation)[:, : self.kept] * self.scales[: self.kept]
        x = self.mean.expand(len(z), -1).clone()
        x[:, self.columns] = x[:, self.columns] + white @ self.basis[:, : self.kept].T
        return x[:, self.twin_of]

    def extra_repr(self) -> str:
        augment = f"augment={self.augment}, " if self.augment else ""
        return f"features={self.features}, used={self.used}, dims={self.dims}, {augment}floor={float(self.floor):.3g}"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _principal(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations (D,) of the principal directions, falling, and the directions (D, D) in columns."""
    if not (bool(covariance.isfinite().all()) and bool((covariance.diagonal() > 0).any())):
        raise ValueError(
            "activations are so large or so small that their squares leave the range of float64; "
            "divide them by their standard deviation first"
        )
    variances, basis = torch.linalg.eigh(covariance)
    return variances.clamp_min(0).sqrt().flip(0), basis.flip(1).contiguous()


def _tied_columns(x: Tensor | Rows, constant: Tensor, share: float = 0.01) -> Tensor:
    """Columns in which one value fills more than ``share`` of the rows: no density there without jitter.

    Counted in all rows up to 2^24 numbers, beyond in that many, evenly spread.
    """
    sample = x[:: max(1, x.shape[0] * x.shape[1] // CHUNK)]
    tied = torch.zeros(x.shape[1], dtype=torch.bool)
    for j in torch.nonzero(~constant).squeeze(1).tolist():
        tied[j] = int(torch.unique(sample[:, j], return_counts=True)[1].max()) > max(share * len(sample), 1)
    return tied


def _report_columns(constant: Tensor, twin_of: Tensor, columns: str) -> None:
    duplicate = ~constant & (twin_of != torch.arange(len(twin_of)))
    if not bool((constant | duplicate).any()):
        return
    parts = []
    if constant.any():
        parts.append(f"constant columns {constant.nonzero().squeeze(1).tolist()}")
    if duplicate.any():
        pairs = ", ".join(f"{j} (= {int(twin_of[j])})" for j in duplicate.nonzero().squeeze(1).tolist())
        parts.append(f"duplicate columns {pairs}")
    found = " and ".join(parts)
    if columns == "error":
        raise ValueError(f"activations have {found}; drop them or pass columns='set-aside'")
    warnings.warn(f"set aside {found}; inverse() restores them", ColumnWarning, stacklevel=4)
