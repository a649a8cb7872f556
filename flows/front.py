"""The front: an affine map with exact log-determinant that centres, whitens, chooses directions and turns the activations."""

import math
import warnings

import torch
from torch import Tensor, nn

from flows.augment import row_noise
from flows.geometry.directions import directions_of_few, principal_directions, shrunk, supported
from flows.geometry.moments import Moments
from flows.io.inputs import nearest
from flows.io.rows import CHUNK, Rows

FRONTS = ("whiten", "principal", "relevance")
_AMPLE = 5  # rows a column from which on sds are taken as they are
_WIDE = 128  # from here on forming R costs more than turning a batch; below, rounding is the same with gradients and without


class ColumnWarning(UserWarning):
    """Columns were set aside; the message names them."""


class Front(nn.Module):
    r"""z = R [y_1 .. y_r, a] with y = U^T diag(1/sd) V^T (x - mean): centre, whiten, choose, append draws, rotate by R in SO(M).

    Whitening leaves every orthogonal basis equally good, while the funnel's penalty is bound to the axes; hence R.
    Augmented dimensions a ~ N(0, I_A) give the flow room to untangle what has none in the data's own dimensions.
    The first r coordinates enter the flow. The others are *idle*: N(0, I), which is Gaussian given the kept ones, for y is white.
    Which r come first is the front's kind:

    - ``"whiten"``: principal directions (U = I), all whose sd lies above the noise floor; those below have the floor's sd.
    - ``"principal"``: the r principal directions of largest sd; beyond the S that the rows support one sd for all.
    - ``"relevance"``: U are eigenvectors of diag(sd) V^T G V diag(sd), G the Fisher information of a net's answer: the r
      directions that carry most of the answer (:mod:`flows.nets.relevance`). x -> Ax + b leaves y as it is.

    Constant and duplicate columns are set aside and restored by :meth:`inverse`.

    Args:
        features: D, columns of the data.
        used: columns that are neither constant nor duplicate.
        dims: M = r + A, dimensions of the state.
        augment: A, how many of them are augmented.
        kind: one of ``FRONTS``.
        stored: S, principal directions with an sd of their own (default all ``used``).
    """

    columns: Tensor
    twin_of: Tensor
    mean: Tensor
    basis: Tensor
    scales: Tensor
    floor: Tensor
    jittered: Tensor
    start: Tensor
    mix: Tensor
    rest: Tensor

    def __init__(
        self,
        features: int,
        used: int | None = None,
        dims: int | None = None,
        augment: int = 0,
        kind: str = "whiten",
        stored: int | None = None,
    ):
        super().__init__()
        if augment < 0:
            raise ValueError(f"augment must not be negative, got {augment}; 0 adds no dimensions")
        if kind not in FRONTS:
            raise ValueError(f"unknown front {kind!r}; {nearest(str(kind), FRONTS)}")
        used = features if used is None else used
        stored = used if stored is None else stored
        if not 0 < stored <= used:
            raise ValueError(f"stored must lie in 1 to used = {used}, got {stored}")
        dims = stored + augment if dims is None else dims
        self.features, self.used, self.stored, self.dims, self.augment, self.kind = (
            features, used, stored, dims, augment, kind
        )  # fmt: skip
        self.kept = dims - augment
        self.register_buffer("columns", torch.arange(used))
        self.register_buffer("twin_of", torch.arange(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("basis", torch.eye(used)[:, :stored].contiguous())
        self.register_buffer("scales", torch.ones(stored))
        self.register_buffer("floor", torch.zeros(()))
        self.register_buffer("jittered", torch.zeros(features, dtype=torch.bool))
        self.register_buffer("start", torch.eye(dims))
        if kind == "relevance":
            self.register_buffer("mix", torch.eye(stored))
        if stored < used:
            self.register_buffer("rest", torch.ones(()))
        self.turn = nn.Parameter(torch.zeros(dims, dims))
        self._kept_rotation: tuple[Tensor, Tensor, Tensor] | tuple[()] = ()

    @classmethod
    def from_rows(
        cls,
        x: Tensor | Rows,
        noise_floor: float = 1e-3,
        columns: str = "set-aside",
        augment: int = 0,
        kind: str = "whiten",
        metric: Tensor | None = None,
        keep: int | None = None,
    ) -> "Front":
        """Moments of ``x`` (N, D), already validated, in float64 and in one pass.

        Args:
            noise_floor: smallest standard deviation that counts as signal, as a share of the largest.
            columns: ``"set-aside"`` warns about constant and duplicate columns, ``"error"`` refuses them.
            augment: A, augmented dimensions.
            kind: which directions are kept.
            metric: G (D, D), nats per squared unit, of ``kind="relevance"``.
            keep: r; by default all above the floor, of ``"principal"`` as many as :func:`supported` says.

        Raises:
            ValueError: refused columns, no varying column, no more rows than columns where all are whitened, a metric that does
                not fit, or numbers whose squares float64 cannot hold.
        """
        if columns not in ("set-aside", "error"):
            raise ValueError(f"columns must be 'set-aside' or 'error', got {columns!r}")
        moments = Moments.of(x)
        constant, twin_of = moments.constant, moments.twin_of
        used = torch.nonzero(~constant & (twin_of == torch.arange(x.shape[1]))).squeeze(1)
        _report_columns(constant, twin_of, columns)
        if len(used) == 0:
            raise ValueError(f"all {x.shape[1]} columns of the activations are constant; pass activations that vary")
        if len(x) <= len(used) and kind == "whiten":
            raise ValueError(
                f"too few rows: {len(x)} rows for {len(used)} varying columns; "
                f"at least {len(used) + 1} are needed to whiten and about {100 * len(used)} to say anything; "
                "front='principal' keeps as many directions as the rows support"
            )
        few = len(x) <= len(used)
        scales, basis = (
            directions_of_few(x[:], moments.mean, used)
            if few
            else principal_directions(moments.covariance[used][:, used])
        )
        floor = noise_floor * scales[0]
        stored, rest = len(used), None
        if kind != "whiten" and len(x) < _AMPLE * len(used):
            rank = int((scales > 1e-6 * scales[0]).sum())  # what rounding alone spans has no direction of its own
            scales, stored, rest = shrunk(scales, len(x))
            stored = min(stored, rank)
            scales, basis = scales[:stored], basis[:, :stored].contiguous()
        scales = torch.maximum(scales, floor if kind == "whiten" else 1e-3 * floor)
        if keep is None:
            keep = supported(scales, len(x)) if kind == "principal" else int((scales > floor).sum())
        front = cls(x.shape[1], len(used), min(keep, stored) + augment, augment, kind, stored)
        front.columns, front.twin_of, front.jittered = used, twin_of, _tied_columns(x, constant)
        front.mean, front.basis, front.scales, front.floor = moments.mean, basis, scales, floor
        if stored < len(used):
            front.rest = rest if rest is not None else floor
        front = front.to(x.dtype)
        return front.by_relevance(metric, keep) if kind == "relevance" else front

    def by_relevance(self, metric: Tensor | None, keep: int) -> "Front":
        """The same directions turned and sorted by what they carry of an answer of metric G (D, D); the first ``keep`` enter."""

        front = Front(
            self.features, self.used, min(keep, self.stored) + self.augment, self.augment, "relevance", self.stored
        )
        own = {name: value for name, value in self.state_dict().items() if name not in ("start", "turn", "mix")}
        front.to(self.scales.dtype).load_state_dict(own, strict=False)
        front.mix = front._sorted_by(checked_metric(metric, self.features)).to(self.scales.dtype)
        return front

    def _sorted_by(self, metric: Tensor) -> Tensor:
        """U (S, S): eigenvectors of diag(sd) V^T G V diag(sd), largest eigenvalue first, G taken to the used columns."""
        pulled = metric.new_zeros(self.used, self.features, dtype=torch.float64)
        place = torch.full((self.features,), -1)
        place[self.columns] = torch.arange(self.used)
        rows = place[self.twin_of]  # a duplicate moves with its twin; a constant column does not move
        moves = (rows >= 0).nonzero().squeeze(1)
        pulled.index_add_(0, rows[moves], metric.double()[moves])
        both = pulled.new_zeros(self.used, self.used).index_add_(1, rows[moves], pulled[:, moves])
        root = self.basis.double() * self.scales.double()
        values, vectors = torch.linalg.eigh(root.T @ both @ root)
        return vectors.flip(1).contiguous()

    def keeping(self, count: int) -> "Front":
        """The same coordinates of which the first ``count`` enter the flow."""
        if not 1 <= count <= self.stored:
            raise ValueError(f"a front of {self.stored} directions can keep 1 to {self.stored}, got {count}")
        front = Front(self.features, self.used, count + self.augment, self.augment, self.kind, self.stored)
        own = {name: value for name, value in self.state_dict().items() if name not in ("start", "turn")}
        front.to(self.scales.dtype).load_state_dict(own, strict=False)
        return front

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
        """log |det dy/dx| over all used columns, a constant: the sum of -log sd."""
        beyond = self.used - self.stored
        return -self.scales.log().sum() - (beyond * self.rest.log() if beyond else 0.0)

    def coordinates(self, x: Tensor) -> Tensor:
        """y (B, S) of ``x`` (B, D), the kept ones first: mean 0 and covariance I on the rows that the front was fitted to."""
        white = (x[:, self.columns] - self.mean[self.columns]) @ self.basis / self.scales
        return white @ self.mix if self.kind == "relevance" else white

    def displacement(self, y: Tensor, first: int = 0) -> Tensor:
        """How far x moves (B, D) where coordinates ``first``, ``first`` + 1, ... move by ``y`` (B, j)."""
        last = first + y.shape[1]
        if self.kind == "relevance":
            white = y @ self.mix[:, first:last].T
            moved = (white * self.scales) @ self.basis.T
        else:
            moved = (y * self.scales[first:last]) @ self.basis[:, first:last].T
        x = y.new_zeros(len(y), self.features)
        x[:, self.columns] = moved
        return x[:, self.twin_of]

    def energy_root(self) -> Tensor:
        """L (M, M) with |v L|^2 how far x moves, squared, at velocity v (B, M), in the kept directions' mean variance.

        L = R [Gram matrix of the directions]^(1/2); augmented dimensions count as whitened ones.
        """
        if self.kind == "relevance":
            moves = self.displacement(torch.eye(self.kept, dtype=self.scales.dtype, device=self.scales.device))
            gram = moves[:, self.columns] @ moves[:, self.columns].T
            values, vectors = torch.linalg.eigh(gram / gram.diagonal().mean())
            own = vectors * values.clamp_min(0).sqrt() @ vectors.T
        else:
            own = (self.scales[: self.kept] / self.scales[: self.kept].square().mean().sqrt()).diag()
        return self.rotation @ torch.block_diag(own, torch.eye(self.augment, dtype=own.dtype, device=own.device))

    def whiten(self, x: Tensor) -> Tensor:
        """The kept y (B, M - A), before the rotation: constants of the data, worth caching while training."""
        if self.kind == "relevance":
            white = (x[:, self.columns] - self.mean[self.columns]) @ self.basis / self.scales
            return white @ self.mix[:, : self.kept]
        return (x[:, self.columns] - self.mean[self.columns]) @ self.basis[:, : self.kept] / self.scales[: self.kept]

    def enter(self, white: Tensor, noise: Tensor | None = None) -> Tensor:
        """States (B, M) at depth 0 of white rows (B, M - A) and augmented draws (B, A); by default the rows' own draws."""
        if self.augment:
            noise = row_noise(white, self.augment) if noise is None else noise
            white = torch.cat([white, noise.to(white)], dim=1)
        if self._learns() and self.dims >= _WIDE and len(white) < 4 * self.dims:
            return self._turned(self.start @ white.T).T
        return white @ self.rotation.T

    def idle_log_prob(self, x: Tensor) -> Tensor:
        """Log-density (B,) of what does not enter the flow, in its own sd: idle coordinates and what lies beyond S."""
        if self.kept == self.used:
            return x.new_zeros(len(x))
        y = self.coordinates(x)
        squares = y[:, self.kept :].square().sum(1)
        if self.stored < self.used:
            beyond = (x - self.mean)[:, self.columns] - self.displacement(y)[:, self.columns]
            squares = squares + (beyond / self.rest).square().sum(1)
        return -0.5 * (squares + (self.used - self.kept) * math.log(2 * math.pi))

    def forward(self, x: Tensor, draw: int = 0) -> Tensor:
        """States (B, M) at depth 0 of ``x`` (B, D), with the augmented draws number ``draw`` of each row."""
        return self.enter(self.whiten(x), row_noise(x, self.augment, draw))

    def inverse(self, z: Tensor, idle: Tensor | None = None) -> Tensor:
        """``x`` (B, D) of ``z`` (B, M); idle coordinates are 0 or ``idle`` (B, S - r), columns set aside return.

        Augmented coordinates are dropped.
        """
        y = (z @ self.rotation)[:, : self.kept]
        x = self.mean[self.twin_of] + self.displacement(y)
        return x if idle is None else x + self.displacement(idle, self.kept)

    def idle_draw(self, count: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Idle coordinates (count, S - r) drawn from N(0, I); None where they are at the noise floor, which is no data."""
        if self.kind == "whiten" or self.kept == self.stored:
            return None
        like = self.scales
        return torch.randn(count, self.stored - self.kept, generator=generator, dtype=like.dtype, device=like.device)

    def extra_repr(self) -> str:
        augment = f"augment={self.augment}, " if self.augment else ""
        kind = f"kind={self.kind!r}, stored={self.stored}, " if self.kind != "whiten" else ""
        return f"features={self.features}, used={self.used}, dims={self.dims}, {augment}{kind}floor={float(self.floor):.3g}"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def checked_metric(metric: Tensor | None, features: int) -> Tensor:
    """G (D, D) for a front of D columns.

    Raises:
        ValueError: none, of another width, not finite, or 0.
    """
    if metric is None:
        raise ValueError(
            "front='relevance' needs a head or a metric G; pass head=, or activations that carry relevance"
        )
    if metric.shape != (features, features):
        raise ValueError(
            f"the relevance metric must be ({features}, {features}) for activations of {features} columns, "
            f"got {tuple(metric.shape)}; measure it on the same layer"
        )
    if not bool(metric.isfinite().all()) or not bool(metric.diagonal().max() > 0):
        raise ValueError(
            "the relevance metric must be finite and not 0: the net's answer does not depend on this layer"
        )
    return metric


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
