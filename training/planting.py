"""Planted clouds: a known structure times Gaussian noise, seen through a random diffeomorphism."""

import difflib
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["PLANTED_NAMES", "Planted", "RandomDiffeo", "planted"]

TORUS_TUBE = 0.45  # the tube's radius; the torus' other radius is 1
LEAST_UNEXPLAINED = 0.05


@dataclass(frozen=True, eq=False)
class Planted:
    """A planted cloud and the truth about it.

    Attributes:
        x: (rows, D) float32, what the user sees.
        structure: (rows, k) float32, the structure with its thickness before the diffeomorphism, whitened.
        labels: (rows,) int64, index of the piece.
        angles: (rows, j) float32 radians in [0, 2 pi), before thickness: circle j = 1, torus j = 2, else j = 0.
        structure_dim: true k at kappa = 1, the dimension of the planted embedding.
        intrinsic_dim: dimension of the structure without thickness.
        betti: Betti numbers of the structure without thickness, from degree 0 on.
        kind: a plain word for the structure.
        scored: whether structure_dim counts as a truth to be found.
    """

    x: Tensor = field(repr=False)
    structure: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    angles: Tensor = field(repr=False)
    structure_dim: int
    intrinsic_dim: int
    betti: tuple[int, ...]
    kind: str
    scored: bool


class RandomDiffeo:
    """A random diffeomorphism of R^dims: `rounds` of rotation and shear, then a last rotation.

    A shear adds strength * tanh(u)^2 to each coordinate of one half, u being its partner in the other half: a random
    linear form of the input, by the rotation before. An even function of a Gaussian is uncorrelated with it, so no
    linear map undoes any of it; one partner each makes the effect per dimension the same in every dimension.

    Args:
        dims: dimension, at least 2.
        seed: the rotations are drawn from it, uniformly (Haar); global random state is not touched.
        strength: height of the shear, in units of the input; its slope is at most .77 * strength. The default hides about
            5 percent of the variance of whitened rows from every linear map back, whatever dims. A share r puts
            -1/2 log(1 - r) nats a dimension into bent noise, of which kappa = 1 leaves about half: .013 at the default;
            at strength 1 (12 percent) it is .03 and bent noise is structure by the path's own measure.
        rounds: number of rotations each followed by a shear.

    Raises:
        ValueError: dims below 2.
    """

    def __init__(self, dims: int, seed: int, strength: float = 0.65, rounds: int = 3) -> None:
        if dims < 2:
            raise ValueError(f"a shear needs two coordinates, got dims={dims}; add noise_dims, or pass diffeo=False")
        generator = torch.Generator().manual_seed(seed)
        self.rotations = [_random_rotation(dims, generator) for _ in range(rounds + 1)]
        self.half = dims // 2
        # where dims is odd one coordinate stays put: the others make up for it
        self.strength = strength * math.sqrt(dims / (2 * self.half))

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (rows, dims), in its own floating dtype."""
        for rotation in self.rotations[:-1]:
            x = self._shear(x @ rotation.to(x), self.strength)
        return x @ self.rotations[-1].to(x)

    def inverse(self, y: Tensor) -> Tensor:
        """The exact inverse, up to rounding, of `__call__`."""
        y = y @ self.rotations[-1].to(y).T
        for rotation in reversed(self.rotations[:-1]):
            y = self._shear(y, -self.strength) @ rotation.to(y).T
        return y

    def _shear(self, x: Tensor, strength: float) -> Tensor:
        partner, sheared, rest = x[:, : self.half], x[:, self.half : 2 * self.half], x[:, 2 * self.half :]
        return torch.cat([partner, sheared + strength * partner.tanh().square(), rest], dim=1)


def planted(name: str, rows: int = 12000, noise_dims: int = 3, seed: int = 0, diffeo: bool = True) -> Planted:
    """Draw a planted cloud: structure (whitened) x N(0, I), pushed through a random diffeomorphism.

    Structures have unit size and are thickened by a Gaussian of sd .08 (clusters .25) before whitening. The same
    (name, rows, noise_dims, seed) has the same structure, labels and angles with and without `diffeo`.

    Args:
        name: one of `PLANTED_NAMES`.
        rows: number of independent rows, at least 4 D.
        noise_dims: number of N(0, 1) columns beside the structure; `gaussian`, which has no structure, gets 2 more.
        seed: everything is drawn from it; global random state is not touched.
        diffeo: False gives the columns (structure, noise) themselves.

    Raises:
        ValueError: unknown name, negative noise_dims, too few rows, or one dimension to bend.
    """
    if name not in _SHAPES:
        near = difflib.get_close_matches(name, PLANTED_NAMES, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(f"no planted set is called {name!r}; {hint}Expected one of: {', '.join(PLANTED_NAMES)}")
    shape = _SHAPES[name]
    rows, noise_dims = operator.index(rows), operator.index(noise_dims)
    if noise_dims < 0:
        raise ValueError(f"noise_dims must be 0 or more, got {noise_dims}; pass 0 for the bare structure")
    if shape.structure_dim == 0:
        noise_dims += 2
    dims = shape.structure_dim + noise_dims
    if rows < 4 * dims:
        raise ValueError(f"rows must be at least 4 D = {4 * dims}, got {rows}; draw more rows or fewer noise_dims")

    generator = torch.Generator().manual_seed(seed)
    diffeo_seed = int(torch.randint(2**62, (), generator=generator))  # the same for every set
    which, *turns = torch.rand(3, rows, generator=generator, dtype=torch.float64)
    labels = (which * shape.betti[0]).long()
    angles = 2 * math.pi * torch.stack(turns, dim=1)
    points = shape.embed(labels, *angles.T)
    thick = points + shape.thickness * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    structure = _whiten(thick)
    noise = torch.randn(rows, noise_dims, generator=generator, dtype=torch.float64)
    clean = torch.cat([structure, noise], dim=1)
    return Planted(
        x=(_bend(clean, diffeo_seed) if diffeo else clean).float(),
        structure=structure.float(),
        labels=labels,
        angles=angles[:, : shape.angles].float(),
        structure_dim=shape.structure_dim,
        intrinsic_dim=shape.intrinsic_dim,
        betti=shape.betti,
        kind=shape.kind,
        scored=shape.scored,
    )


def _bend(clean: Tensor, seed: int) -> Tensor:
    """Bend clean (rows, D) by the first random diffeomorphism that no linear map undoes (mostly the very first)."""
    for attempt in range(64):
        x = RandomDiffeo(clean.shape[1], seed + attempt)(clean)
        share = _unexplained_share(x, clean)
        if share >= LEAST_UNEXPLAINED:
            return x
    raise AssertionError(f"64 diffeomorphisms were nearly linear; the last left {share:.3f} of the variance")


def _random_rotation(dims: int, generator: torch.Generator) -> Tensor:
    """A rotation (dims, dims), float64, uniform on SO(dims)."""
    q, r = torch.linalg.qr(torch.randn(dims, dims, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    q[:, 0] *= torch.linalg.det(q).sign()
    return q


def _whiten(points: Tensor) -> Tensor:
    """Zero mean and identity covariance by the symmetric map, the one that moves the points least."""
    centred = points - points.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / (len(points) - 1))
    return centred @ (axes * variances.rsqrt()) @ axes.T


def _unexplained_share(x: Tensor, target: Tensor) -> float:
    """Share of the variance of `target` (rows, D) that the best affine map of x leaves, corrected for its freedom."""
    x, target = x - x.mean(0), target - target.mean(0)
    residual = target - x @ torch.linalg.lstsq(x, target).solution
    freedom = (len(x) - 1) / (len(x) - 1 - x.shape[1])
    return float((residual.square().sum(0) / target.square().sum(0)).mean() * freedom)


@dataclass(frozen=True)
class _Shape:
    """embed(piece, t, p) -> (rows, structure_dim): the bare structure, t and p uniform in [0, 2 pi)."""

    embed: Callable[[Tensor, Tensor, Tensor], Tensor]
    structure_dim: int
    intrinsic_dim: int
    betti: tuple[int, ...]
    kind: str
    angles: int = 0
    thickness: float = 0.08
    scored: bool = True


def _columns(*columns: Tensor) -> Tensor:
    return torch.stack(columns, dim=1)


def _nothing(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return t.new_empty(len(t), 0)


def _two(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(2.0 * piece - 1).to(t)


def _three(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    corner = 2 * math.pi / 3 * piece.to(t)
    return 2 / math.sqrt(3) * _columns(corner.cos(), corner.sin())  # side 2, as between the two clusters


def _circle(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(t.cos(), t.sin())


def _figure_eight(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(t.sin(), t.sin() * t.cos())


def _torus(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    radius = 1 + TORUS_TUBE * p.cos()
    return _columns(radius * t.cos(), radius * t.sin(), TORUS_TUBE * p.sin())


def _sphere(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    height = p / math.pi - 1  # uniform in [-1, 1): so is every coordinate of a uniform point of the sphere
    radius = (1 - height.square()).sqrt()
    return _columns(radius * t.cos(), radius * t.sin(), height)


def _linked_circles(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    centre = piece - 0.5  # each circle passes through the other's centre
    return _columns(centre + t.cos(), (1 - piece) * t.sin(), piece * t.sin())


def _trefoil(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(t.sin() + 2 * (2 * t).sin(), t.cos() - 2 * (2 * t).cos(), -(3 * t).sin()) / 3


def _swiss_roll(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    turn = 1.5 * math.pi + 1.5 * t
    return _columns(turn * turn.cos(), 4.5 * (p - math.pi), turn * turn.sin()) / (4.5 * math.pi)


_SHAPES = {
    "gaussian": _Shape(_nothing, 0, 0, (1,), "noise"),
    "two": _Shape(_two, 1, 0, (2,), "clusters", thickness=0.25),
    "three": _Shape(_three, 2, 0, (3,), "clusters", thickness=0.25),
    "circle": _Shape(_circle, 2, 1, (1, 1), "loop", angles=1),
    "figure_eight": _Shape(_figure_eight, 2, 1, (1, 2), "loops"),
    "torus": _Shape(_torus, 3, 2, (1, 2, 1), "torus", angles=2),
    "sphere": _Shape(_sphere, 3, 2, (1, 0, 1), "sphere"),
    "linked_circles": _Shape(_linked_circles, 3, 1, (2, 2), "link"),
    "trefoil": _Shape(_trefoil, 3, 1, (1, 1), "knot"),
    "swiss_roll": _Shape(_swiss_roll, 3, 2, (1,), "sheet", scored=False),
}
PLANTED_NAMES: tuple[str, ...] = tuple(_SHAPES)
